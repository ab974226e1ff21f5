//! Notices files that change what the daemon does: leases of DHCP clients, and the file `off`.
//!
//! Only directories that exist can be watched. Call [`FileWatch::refresh`] now and then to watch
//! those that have appeared since.

use std::{io, os::fd::AsFd, path::PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{leases, off, paths::Paths};

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// A DHCP client wrote or deleted a file.
    Lease,
    /// The file `off` has appeared or gone.
    Off,
}

/// The descriptor of inotify, as the tokio runtime wants it.
#[derive(Debug)]
struct Descriptor(Inotify);

impl std::os::fd::AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A subscription to changes of files.
#[derive(Debug)]
pub struct FileWatch {
    inotify: AsyncFd<Descriptor>,
    leases: Vec<PathBuf>,
    run: PathBuf,
    run_watch: Option<WatchDescriptor>,
}

impl FileWatch {
    /// Subscribes. Needs a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(paths: &Paths) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // SAFETY: the value owns its descriptor, always returns the same one, and is dropped together
        // with the AsyncFd.
        let inotify =
            unsafe { AsyncFd::register_with_interest(Descriptor(inotify), Interest::READABLE) };
        let inotify = inotify.map_err(io::Error::from)?;
        let mut watch = Self {
            inotify,
            leases: leases::directories(&paths.root).collect(),
            run: paths.run.clone(),
            run_watch: None,
        };
        watch.refresh();
        Ok(watch)
    }

    /// Watches directories that have appeared. What is watched already stays so.
    pub fn refresh(&mut self) {
        // dhclient keeps its file open, so that closing it tells nothing.
        let written = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
        let names = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO;
        let inotify = &self.inotify.get_ref().0;
        for directory in &self.leases {
            // A directory that cannot be watched is read at least once a minute.
            if let Err(error) = inotify.add_watch(directory, written | names) {
                tracing::trace!("cannot watch {}: {error}", directory.display());
            }
        }
        match inotify.add_watch(&self.run, names) {
            Ok(watch) => self.run_watch = Some(watch),
            Err(error) => tracing::debug!("cannot watch {}: {error}", self.run.display()),
        }
    }

    /// Waits for the next change. Cancelling the call loses none.
    ///
    /// # Errors
    /// The subscription broke.
    pub async fn next(&mut self) -> io::Result<FileEvent> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let events = match ready.get_inner().0.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            let of_run =
                |event: &&nix::sys::inotify::InotifyEvent| Some(event.wd) == self.run_watch;
            let is_off = events
                .iter()
                .filter(of_run)
                .any(|event| event.name.as_deref() == Some(off::FILE.as_ref()));
            if is_off {
                return Ok(FileEvent::Off);
            }
            if events.iter().any(|event| Some(event.wd) != self.run_watch) {
                return Ok(FileEvent::Lease);
            }
        }
    }
}
