//! Files in the run directory. Each network namespace has its own directory there. Files are
//! replaced atomically.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::paths::Paths;

/// Files with a verifier's log have names that begin with this.
pub(crate) const VERIFIER_LOG: &str = "verifier-";

/// A file in the run directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct StateError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl StateError {
    pub(crate) fn reading(path: PathBuf, cause: io::Error) -> Self {
        Self {
            verb: "read",
            path,
            cause,
        }
    }

    pub(crate) fn writing(path: PathBuf, cause: io::Error) -> Self {
        Self {
            verb: "write",
            path,
            cause,
        }
    }
}

/// Returns the directory for the network namespace of the calling thread.
///
/// # Errors
/// The network namespace cannot be determined.
pub fn directory(paths: &Paths) -> Result<PathBuf, StateError> {
    let namespace = Path::new("/proc/thread-self/ns/net");
    let inode = fs::metadata(namespace)
        .map_err(|cause| StateError::reading(namespace.into(), cause))?
        .ino();
    Ok(paths.run.join(inode.to_string()))
}

/// Replaces a file atomically: writes a new file beside it and renames that. A crash leaves either
/// the old or the new content. Creates the directory if it is missing.
///
/// # Errors
/// The directory or the file cannot be written.
pub fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let beside = beside(path);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// Deletes a file, and the new content that a killed process may have left beside it. Does nothing
/// if they do not exist.
///
/// # Errors
/// A file exists and cannot be deleted.
pub fn remove_file(path: &Path) -> io::Result<()> {
    for path in [path, &beside(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Deletes the verifier's logs that a failed apply left in a directory. Does nothing if the
/// directory does not exist.
///
/// # Errors
/// The directory cannot be read, or a log cannot be deleted.
pub fn remove_verifier_logs(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(VERIFIER_LOG.as_bytes()) && name.ends_with(b".log") {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Deletes directories that are empty.
pub(crate) fn remove_empty<const N: usize>(directories: [&Path; N]) -> io::Result<()> {
    for directory in directories {
        match fs::remove_dir(directory) {
            Ok(()) => {}
            // Files of other namespaces, a pending confirmation or a mount keep the directory.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::ResourceBusy
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The path to which [`replace`] writes the new content.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}
