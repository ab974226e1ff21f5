//! A network namespace that exists for as long as a file descriptor is open.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use crate::require_root;

/// A network namespace without a name in the file system.
///
/// Threads that enter it with setns(2) do the work in it; the calling thread never changes its
/// own namespace. A child process inherits the namespace of the thread that starts it. Clones are
/// handles of the same namespace. The kernel removes it, with every device in it, after the last
/// handle, socket and process is gone.
#[derive(Clone)]
pub struct NetNs {
    name: Arc<str>,
    fd: Arc<OwnedFd>,
}

impl NetNs {
    /// Makes a new, empty namespace with only a `lo` that is down. The name is used in messages.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        require_root();
        let opened = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    File::open("/proc/thread-self/ns/net")
                })
                .join()
                .expect("the thread that makes a namespace does not panic")
        });
        match opened {
            Ok(file) => Self {
                name: name.into(),
                fd: Arc::new(file.into()),
            },
            Err(e) => panic!("no network namespace for {name}: {e}"),
        }
    }

    /// Returns the name of this namespace in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a path by which `ip link ... netns PATH` finds this namespace while the calling
    /// process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs `work` in this namespace on its own thread and waits for it. If `work` panics, this
    /// call panics. Calls may be nested.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let handle = thread::Builder::new()
                .name(format!("in {}", self.name))
                .spawn_scoped(scope, || {
                    self.enter();
                    work()
                })
                .expect("a thread can be started");
            match handle.join() {
                Ok(value) => value,
                Err(panic) => resume_unwind(panic),
            }
        })
    }

    /// Starts a thread in this namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.clone();
        thread::Builder::new()
            .name(format!("in {}", self.name))
            .spawn(move || {
                namespace.enter();
                // The thread is in the namespace now. The descriptor would only keep the
                // namespace alive a second time.
                drop(namespace);
                work()
            })
            .expect("a thread can be started")
    }

    /// Moves the calling thread into this namespace for good. The threads above end afterwards,
    /// so this affects nothing else.
    fn enter(&self) {
        if let Err(e) = setns(&*self.fd, CloneFlags::CLONE_NEWNET) {
            panic!("can not enter the namespace {}: {e}", self.name);
        }
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetNs({})", self.name)
    }
}
