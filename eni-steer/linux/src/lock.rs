//! Locks between processes of eni-steer: one process at a time changes the host, and one daemon
//! runs in a network namespace.
//!
//! A lock is a file in the run directory with an advisory lock (flock(2)), which the kernel releases
//! when the process ends, however it ends. The file names its holder. Whoever releases a lock
//! deletes the file, so that nothing remains of a command that changed nothing; whoever obtains a
//! lock therefore checks that the file is still the one at this path.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    namespace,
    paths::Paths,
    run_files::{StateError, create, directory, remove_empty},
};

/// How often a waiting process looks again.
const INTERVAL: Duration = Duration::from_millis(20);
/// After this time a waiting process names the holder.
const SHORT: Duration = Duration::from_millis(300);

/// What a lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Changes of the host: held while a command or a pass of the daemon reads, plans and applies.
    Changes,
    /// The daemon: held as long as it runs.
    Daemon,
    /// The process that undoes a change unless it is confirmed: held as long as it runs.
    Guard,
}

impl Scope {
    fn file(self) -> &'static str {
        match self {
            Self::Changes => "changes.lock",
            Self::Daemon => "daemon.lock",
            Self::Guard => "guard.lock",
        }
    }
}

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Command of eni-steer, for example `apply`.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'eni-steer {}' (pid {})", self.command, self.pid)
    }
}

/// Why a lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is at work on this host", .0.as_ref().map_or("another eni-steer process".to_owned(), Holder::to_string))]
    Held(Option<Holder>),
    /// The file could not be used.
    #[error(transparent)]
    File(#[from] StateError),
}

/// A lock. Dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    run: PathBuf,
}

impl Lock {
    /// Obtains a lock for `command`, in the network namespace of the calling thread. Waits up to
    /// `patience`; if that takes a while, calls `waiting` once with the holder.
    ///
    /// # Errors
    /// Another process still holds it, or the file cannot be used.
    pub fn obtain(
        paths: &Paths,
        scope: Scope,
        command: &str,
        patience: Duration,
        mut waiting: impl FnMut(&LockError),
    ) -> Result<Self, LockError> {
        if let Err(error) = namespace::rename_old(paths) {
            // Then the directories keep the names that the older version gave them.
            tracing::debug!("cannot rename the directories of an older version: {error}");
        }
        let directory = directory(paths)?;
        let path = directory.join(scope.file());
        let began = Instant::now();
        let mut announced = false;
        loop {
            let failed = |cause| StateError::writing(path.clone(), cause);
            let mut file = match open(&directory, &path) {
                Ok(file) => file,
                // Another process has just deleted the directory.
                Err(cause)
                    if cause.kind() == io::ErrorKind::NotFound && began.elapsed() < SHORT =>
                {
                    continue;
                }
                Err(cause) => return Err(failed(cause).into()),
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let holder = Holder {
                        pid: std::process::id(),
                        command: command.to_owned(),
                    };
                    // The lock holds all the same, for example where the disk is full.
                    if let Err(error) = write(&mut file, &holder) {
                        tracing::debug!("cannot name the holder of {}: {error}", path.display());
                    }
                    return Ok(Self {
                        file,
                        path,
                        run: paths.run.clone(),
                    });
                }
                // The last holder has deleted the file meanwhile.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(cause)) => return Err(failed(cause).into()),
            }
            let holder = read(&mut file);
            // A process that has just obtained it is about to write its name.
            let is_unnamed = holder.is_none() && began.elapsed() < patience + SHORT;
            let held = LockError::Held(holder);
            if began.elapsed() >= patience && !is_unnamed {
                return Err(held);
            }
            if !announced && began.elapsed() >= SHORT {
                announced = true;
                waiting(&held);
            }
            thread::sleep(INTERVAL);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Deleted while it is still locked, so that nobody else can have obtained this file.
        if is_at(&self.file, &self.path)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!("cannot delete {}: {error}", self.path.display());
        }
        let directory = self.path.parent().unwrap_or(&self.path);
        if let Err(error) = remove_empty([directory, &self.run]) {
            tracing::debug!("cannot delete {}: {error}", directory.display());
        }
    }
}

/// The process that holds a lock now; `None`: nobody does.
pub fn holder(paths: &Paths, scope: Scope) -> Option<Holder> {
    let path = directory(paths).ok()?.join(scope.file());
    let mut file = open_existing(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read(&mut file),
        _ => None,
    }
}

/// Whether a process holds a lock of the namespace whose files are in a directory.
pub(crate) fn is_held_in(directory: &Path) -> bool {
    let scopes = [Scope::Changes, Scope::Daemon, Scope::Guard];
    scopes.iter().any(|scope| {
        let file = open_existing(&directory.join(scope.file()));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    })
}

/// Opens the file for reading.
fn open_existing(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Opens the file, and creates it if it is missing.
fn open(directory: &Path, path: &Path) -> io::Result<File> {
    create(directory)?;
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |data: fs::Metadata| (data.dev(), data.ino());
    let open = file.metadata().map(identity).ok();
    open.is_some() && open == fs::symlink_metadata(path).map(identity).ok()
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(holder)?)
}

/// The holder that the file names; `None` for one that has not written its name yet.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(4096).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(run: &Path) -> Paths {
        Paths {
            run: run.join("eni-steer"),
            ..Paths::default()
        }
    }

    fn obtain(paths: &Paths, scope: Scope, patience: u64) -> Result<Lock, LockError> {
        let patience = Duration::from_millis(patience);
        Lock::obtain(paths, scope, "apply", patience, |_| {})
    }

    #[test]
    fn a_lock_has_one_holder_and_leaves_nothing_behind() {
        let run = tempfile::tempdir().expect("a directory");
        let paths = paths(run.path());
        assert_eq!(holder(&paths, Scope::Changes), None);
        let lock = obtain(&paths, Scope::Changes, 0).expect("nobody holds it");
        let mine = Holder {
            pid: std::process::id(),
            command: "apply".to_owned(),
        };
        assert_eq!(holder(&paths, Scope::Changes), Some(mine.clone()));
        assert_eq!(holder(&paths, Scope::Daemon), None, "another lock");
        let daemon = obtain(&paths, Scope::Daemon, 0).expect("it is another lock");
        let error = obtain(&paths, Scope::Changes, 0).expect_err("it is held");
        assert_eq!(error.to_string(), format!("{mine} is at work on this host"));
        drop((lock, daemon));
        assert_eq!(holder(&paths, Scope::Changes), None);
        assert!(!paths.run.exists(), "not even the directory");
    }

    #[test]
    fn many_at_once_hold_it_one_after_the_other() {
        let run = tempfile::tempdir().expect("a directory");
        let paths = paths(run.path());
        let inside = std::sync::atomic::AtomicU32::new(0);
        let held = std::sync::atomic::AtomicU32::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = obtain(&paths, Scope::Changes, 60_000).expect("in the end");
                        assert_eq!(inside.fetch_add(1, order), 0, "two at once");
                        held.fetch_add(1, order);
                        inside.fetch_sub(1, order);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(held.load(order), 400);
        assert!(!paths.run.exists());
    }

    #[test]
    fn a_file_of_a_process_that_was_killed_holds_nothing() {
        let run = tempfile::tempdir().expect("a directory");
        let paths = paths(run.path());
        let directory = directory(&paths).expect("a namespace");
        fs::create_dir_all(&directory).expect("it is made");
        fs::write(
            directory.join("changes.lock"),
            r#"{"pid":1,"command":"apply"}"#,
        )
        .expect("");
        assert_eq!(holder(&paths, Scope::Changes), None);
        obtain(&paths, Scope::Changes, 0).expect("nobody holds it");
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let run = tempfile::tempdir().expect("a directory");
        let paths = paths(run.path());
        let directory = directory(&paths).expect("a namespace");
        fs::create_dir_all(&directory).expect("it is made");
        let target = run.path().join("target");
        fs::write(&target, "precious").expect("it is written");
        std::os::unix::fs::symlink(&target, directory.join("changes.lock")).expect("a link");
        assert!(matches!(
            obtain(&paths, Scope::Changes, 0),
            Err(LockError::File(_))
        ));
        assert_eq!(
            fs::read_to_string(&target).expect("it is there"),
            "precious"
        );
    }
}
