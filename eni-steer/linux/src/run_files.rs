//! Files of a network namespace in the run directory: replaced atomically, and removed with
//! whatever a process that was killed left of them.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{paths::Paths, state::StateError};

/// What the names of files with a verifier's log begin with.
pub const VERIFIER_LOG: &str = "verifier-";

/// Directory of the files of the calling thread's network namespace.
pub fn directory(paths: &Paths) -> Result<PathBuf, StateError> {
    let namespace = Path::new("/proc/thread-self/ns/net");
    let inode = fs::metadata(namespace)
        .map_err(|cause| StateError::reading(namespace.into(), cause))?
        .ino();
    Ok(paths.run.join(inode.to_string()))
}

/// Writes beside the file and renames: a crash leaves the old one or the new one.
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

/// Removes the file, and what a writer that was killed left beside it. Absent ones are fine.
pub fn remove_file(path: &Path) -> io::Result<()> {
    for path in [path, &beside(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the logs of verifiers that a failed apply has left in a directory. A missing directory
/// is fine.
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

/// Removes directories that hold nothing any more.
pub(crate) fn remove_empty<const N: usize>(directories: [&Path; N]) -> io::Result<()> {
    for directory in directories {
        match fs::remove_dir(directory) {
            Ok(()) => {}
            // Other namespaces' files, a confirmation under way, a mount: the directory stays.
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

/// Where the file's next content is written.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}
