//! Files in the run directory. Each network namespace has its own directory there. Files are
//! replaced atomically.
//!
//! Root acts on what these files say, so the directories must be root's and writable by nobody else
//! ([`crate::own_dir`]), and so must each file that is read.

use std::{
    fs::{self, DirBuilder},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{
    files,
    namespace::{self, Namespace},
    own_dir::{On, OwnDir, OwnDirError, check_base},
    paths::Paths,
};

/// Files with a verifier's log have names that begin with this.
pub(crate) const VERIFIER_LOG: &str = "verifier-";
/// More than any file of eni-steer's holds.
const LARGEST: u64 = 64 << 20;

/// A file in the run directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file operation failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        cause: io::Error,
    },
    /// The state file cannot be understood.
    #[error(
        "{} is damaged, so it is lost which values sysctls and interface groups had before \
         eni-steer changed them, which clsact qdiscs eni-steer added, and which policy was applied",
        path.display()
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: io::Error,
    },
    /// The directory is not eni-steer's.
    #[error(transparent)]
    Directory(#[from] OwnDirError),
}

impl StateError {
    pub(crate) fn reading(path: PathBuf, cause: io::Error) -> Self {
        Self::Io {
            verb: "read",
            path,
            cause,
        }
    }

    pub(crate) fn writing(path: PathBuf, cause: io::Error) -> Self {
        Self::Io {
            verb: "write",
            path,
            cause,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Damaged { .. } => "'eni-steer apply' and 'eni-steer remove' set the file aside \
                                     and do everything else; compare sysctls and interface groups \
                                     with what you want"
                .to_owned(),
            Self::Directory(error) if error.hint().is_some() => error.hint().unwrap_or_default(),
            Self::Io { .. } | Self::Directory(_) => {
                "eni-steer saves the values it changes there, so the directory must be writable; \
                 --run-dir names another directory"
                    .to_owned()
            }
        }
    }
}

/// The directory that contains the run directory, and the run directory's name in it.
fn parts(paths: &Paths) -> (PathBuf, PathBuf) {
    let parent = match paths.run.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let name = paths.run.file_name().unwrap_or_default();
    (parent, name.into())
}

/// Returns the directory for the network namespace of the calling thread. If it exists, it belongs
/// to root, and so do the directories above it.
///
/// # Errors
/// The network namespace cannot be determined, or the directory is not eni-steer's.
pub fn directory(paths: &Paths) -> Result<PathBuf, StateError> {
    let here =
        Namespace::here().map_err(|cause| StateError::reading(namespace::FILE.into(), cause))?;
    let (parent, name) = parts(paths);
    check_base(&parent)?;
    let own = PathBuf::from(here.name_in(&paths.run));
    OwnDir::open(&parent, &[&name, &own], On::Any)?;
    Ok(paths.run.join(own))
}

/// Opens the run directory itself, which holds the directories of all namespaces. `None`: there is
/// none.
///
/// # Errors
/// It is not eni-steer's.
pub(crate) fn open_all(paths: &Paths) -> Result<Option<OwnDir>, StateError> {
    let (parent, name) = parts(paths);
    check_base(&parent)?;
    Ok(OwnDir::open(&parent, &[&name], On::Any)?)
}

/// Creates a directory of the run directory, and those above it.
pub(crate) fn create(directory: &Path) -> io::Result<()> {
    let create = || {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
    };
    // Another process may delete the directory while it is empty, between two steps of this.
    let is_race = |error: &io::Error| {
        use io::ErrorKind::{AlreadyExists, NotFound};
        matches!(error.kind(), AlreadyExists | NotFound)
    };
    for _ in 0..10 {
        match create() {
            Err(error) if is_race(&error) => std::thread::yield_now(),
            result => return result,
        }
    }
    create()
}

/// Reads a file in the run directory. Only a regular file is read that nobody but root can write.
///
/// # Errors
/// The file does not exist, cannot be read, or is not to be trusted.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = files::open(path)?;
    let data = file.metadata()?;
    let why = match data.is_file() {
        true => files::distrust(&data, &[]),
        false => Some("is not a regular file".to_owned()),
    };
    if let Some(why) = why {
        let what = format!("it {why}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file atomically ([`files::replace`]). Creates the directory if it is missing.
///
/// # Errors
/// The directory or the file cannot be written. Nothing is left of the new file then.
pub fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(directory)?;
    files::replace(path, bytes, 0o600)
}

/// Deletes a file, and the new content that a killed process may have left beside it. Does nothing
/// if they do not exist.
///
/// # Errors
/// A file exists and cannot be deleted.
pub fn remove_file(path: &Path) -> io::Result<()> {
    files::delete(path)?;
    files::delete(&files::beside(path))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it_also_after_a_failure() {
        let base = tempfile::tempdir().expect("a directory");
        let directory = base.path().join("a/b");
        let path = directory.join("state.json");
        replace(&directory, &path, b"1").expect("it is written");
        // A killed process left a temporary file, and somebody a link in its place.
        let precious = base.path().join("precious");
        fs::write(&precious, "precious").expect("it is written");
        symlink(&precious, directory.join("state.new")).expect("a link");
        replace(&directory, &path, b"2").expect("it is written");
        assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
        assert_eq!(read(&path).expect("it is there"), b"2");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        // A directory in its place: the rename fails.
        let taken = directory.join("taken");
        fs::create_dir(&taken).expect("it is made");
        replace(&directory, &taken, b"3").expect_err("it is a directory");
        let names = fs::read_dir(&directory).expect("it is there").count();
        assert_eq!(names, 2, "state.json and the directory");
    }

    #[test]
    fn only_a_regular_file_is_read_that_nobody_else_can_write() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("state.json");
        let fifo = base.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
        let error = read(&fifo).expect_err("and it does not wait");
        assert!(error.to_string().contains("not a regular file"), "{error}");
        fs::write(&path, "1").expect("it is written");
        symlink(&path, base.path().join("link")).expect("a link");
        read(&base.path().join("link")).expect_err("it is a link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("it is ours");
        let error = read(&path).expect_err("others can write it");
        assert!(error.to_string().contains("mode 0622"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert_eq!(read(&path).expect("others only read it"), b"1");
    }

    #[test]
    fn a_run_directory_that_others_could_replace_is_refused() {
        let base = tempfile::tempdir().expect("a directory");
        let paths = Paths {
            run: base.path().join("eni-steer"),
            ..Paths::default()
        };
        let own = directory(&paths).expect("it need not exist");
        create(&own).expect("it is made");
        assert_eq!(directory(&paths).expect("it is ours"), own);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        for path in [base.path(), &paths.run, &own] {
            mode(path, 0o777);
            let error = directory(&paths).expect_err("others can write it");
            let text = error.to_string();
            assert!(text.starts_with(&path.display().to_string()), "{text}");
            mode(path, 0o700);
        }
        // As /tmp: only the owner of an entry can replace it.
        mode(base.path(), 0o1777);
        assert_eq!(directory(&paths).expect("it is ours"), own);
    }
}
