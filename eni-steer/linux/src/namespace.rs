//! The network namespace of the calling thread, and the name of its directories in bpffs and in the
//! run directory.
//!
//! The kernel gives the inode number of a dead namespace to a new one, so the number alone would let
//! the new one inherit pins and saved values. The cookie of a namespace (since Linux 5.14) is never
//! given away again before the next boot, which also empties both directories. The name has both:
//! `<inode>-<cookie>`. Without a cookie it is the inode number alone: the times of the inode do not
//! help, because the kernel makes a new inode each time nobody has had the namespace's file open.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io, mem,
    os::{
        fd::{AsRawFd, RawFd},
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::Path,
};

use crate::{
    bpf::{self, PinRoot},
    lock,
    own_dir::{On, OwnDir, OwnDirError},
    paths::Paths,
    run_files::{self, StateError},
};

/// `SO_NETNS_COOKIE` of <asm-generic/socket.h>, which x86-64 and arm64 use.
const SO_NETNS_COOKIE: libc::c_int = 71;
/// The file that stands for the namespace of the calling thread.
pub(crate) const FILE: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    inode: u64,
    /// `None`: the kernel is older than 5.14.
    cookie: Option<u64>,
}

impl Namespace {
    /// The network namespace of the calling thread.
    ///
    /// # Errors
    /// /proc is not mounted, or no socket can be opened.
    pub fn here() -> io::Result<Self> {
        Ok(Self {
            inode: fs::metadata(FILE)?.ino(),
            cookie: cookie(UnixDatagram::unbound()?.as_raw_fd())?,
        })
    }

    /// The name of a directory with this namespace's files.
    pub fn name(self) -> String {
        match self.cookie {
            Some(cookie) => format!("{}-{cookie}", self.inode),
            None => self.inode.to_string(),
        }
    }

    /// The name that versions without the cookie gave it.
    pub(crate) fn old_name(self) -> String {
        self.inode.to_string()
    }

    /// The name of its directory in `parent`. As long as only the directory of an older version is
    /// there, that one counts, so that an upgrade keeps counters and saved values. A process that
    /// changes the host renames it ([`Namespace::rename_old`]).
    pub(crate) fn name_in(self, parent: &Path) -> String {
        let (name, old) = (self.name(), self.old_name());
        let is_there = |name: &str| fs::symlink_metadata(parent.join(name)).is_ok();
        match !is_there(&name) && is_there(&old) {
            true => old,
            false => name,
        }
    }

    /// Gives the directory of an older version in `parent` its new name.
    pub(crate) fn rename_old(self, parent: &Path) -> io::Result<()> {
        let old = self.name_in(parent);
        match old == self.name() {
            true => Ok(()),
            false => fs::rename(parent.join(old), parent.join(self.name())),
        }
    }

    /// The namespace that a directory's name stands for: its inode, and its cookie if the name has
    /// one. `None`: the directory is not one of ours.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let number = |text: &str| {
            let canonical = text.parse::<u64>().ok()?;
            (canonical.to_string() == text).then_some(canonical)
        };
        match name.split_once('-') {
            Some((inode, cookie)) => Some(Self {
                inode: number(inode)?,
                cookie: Some(number(cookie)?),
            }),
            None => Some(Self {
                inode: number(name)?,
                cookie: None,
            }),
        }
    }

    /// Whether `other`, which is not this namespace, has this one's inode number: it must have
    /// ended before this one began.
    pub(crate) fn replaced(self, other: Self) -> bool {
        let known = self.cookie.is_some() && other.cookie.is_some();
        known && self.inode == other.inode && self.cookie != other.cookie
    }
}

/// Gives the directories that an older version made for this namespace their new names, unless a
/// process of that version still uses them.
pub(crate) fn rename_old(paths: &Paths) -> Result<(), SweepError> {
    let here = Namespace::here()?;
    if lock::is_held_in(&paths.run.join(here.old_name())) {
        return Ok(());
    }
    if run_files::open_all(paths)?.is_some() {
        here.rename_old(&paths.run)?;
    }
    if PinRoot::open_all(&paths.bpffs)?.is_some() {
        here.rename_old(&PinRoot::all(&paths.bpffs))?;
    }
    Ok(())
}

/// Why the files of other namespaces were left alone.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The namespaces that exist, or a directory, cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The pins cannot be read or removed.
    #[error(transparent)]
    Bpf(#[from] bpf::BpfError),
    /// The run directory cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A directory is not eni-steer's.
    #[error(transparent)]
    Directory(#[from] OwnDirError),
}

/// Removes pins and saved values of network namespaces that have ended: no process that is visible
/// here has them open, no mount holds them, no attached program uses their pins, and nobody holds a
/// lock of theirs. Where not all processes may be examined, pinned links that have lost their
/// interfaces must show it too.
///
/// # Errors
/// What is there cannot be read or removed. The rest stays.
pub fn sweep(paths: &Paths) -> Result<(), SweepError> {
    let here = Namespace::here()?;
    let own = [
        here.name_in(&paths.run),
        here.name_in(&PinRoot::all(&paths.bpffs)),
    ];
    let alive = alive()?;
    let life = |name: &str| {
        let Some(other) = Namespace::of_name(name) else {
            return Life::Goes;
        };
        if own.iter().any(|own| own == name) || lock::is_held_in(&paths.run.join(name)) {
            return Life::Goes;
        }
        match &alive {
            _ if here.replaced(other) => Life::Ended,
            Some(alive) if alive.contains(&other.inode) => Life::Goes,
            Some(_) => Life::Ended,
            None => Life::Unknown,
        }
    };
    let swept = bpf::sweep(&paths.bpffs, life)?;
    for name in &swept {
        tracing::info!("removed the pins of network namespace {name}, which has ended");
    }
    let Some(run) = run_files::open_all(paths)? else {
        return Ok(());
    };
    let pins = PinRoot::open_all(&paths.bpffs)?;
    let pins = pins.map_or(Ok(Vec::new()), |pins| pins.names())?;
    for name in run.names()? {
        let Some(text) = name.to_str() else { continue };
        // Where a program is still attached, the saved values stay too.
        let ended = life(text) == Life::Ended && !pins.contains(&name);
        if !ended && !swept.iter().any(|swept| swept == text) {
            continue;
        }
        if let Some(directory) = OwnDir::open(run.path(), &[&name], On::Any)? {
            for file in directory.names()? {
                directory.remove_file(&file)?;
            }
        }
        run.remove_dir(&name)?;
    }
    Ok(())
}

/// What is known about a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It exists, or the name is not one of a namespace.
    Goes,
    /// It has ended.
    Ended,
    /// Not all processes may be examined, and none of the others has it.
    Unknown,
}

/// The inode numbers of the network namespaces that a process is in or has open, or that are mounted
/// somewhere; `None`: a process may not be examined, so there may be others.
fn alive() -> io::Result<Option<BTreeSet<u64>>> {
    let mut inodes = BTreeSet::new();
    let is_number = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if !is_number(&entry.file_name()) {
            continue;
        }
        // Each of its threads may be in another namespace, and a descriptor keeps one alive too.
        for part in ["task", "fd"] {
            let inside = match fs::read_dir(entry.path().join(part)) {
                Ok(inside) => inside,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
                // The process has ended.
                Err(_ended) => continue,
            };
            for inside in inside.flatten() {
                let path = match part {
                    "task" => inside.path().join("ns/net"),
                    _ => inside.path(),
                };
                match fs::read_link(path) {
                    Ok(target) => inodes.extend(inode_of(&target.to_string_lossy())),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        return Ok(None);
                    }
                    Err(_ended) => {}
                }
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // The root of a mount of nsfs names its namespace (proc_pid_mountinfo(5), field 4).
    let roots = mounts.lines().filter_map(|line| line.split(' ').nth(3));
    inodes.extend(roots.filter_map(inode_of));
    Ok(Some(inodes))
}

/// The inode number in `net:[4026531840]`.
fn inode_of(target: &str) -> Option<u64> {
    let number = target.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// The cookie of a socket's network namespace; `None`: the kernel does not know the option.
fn cookie(socket: RawFd) -> io::Result<Option<u64>> {
    let mut cookie = 0u64;
    let mut length = mem::size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `cookie`, which has that size.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        return Ok(Some(cookie));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EINVAL) => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_inode_and_cookie_and_is_recognised() {
        let here = Namespace::here().expect("a namespace");
        assert_eq!(here, Namespace::here().expect("the same"));
        assert_eq!(Namespace::of_name(&here.name()), Some(here));
        assert!(here.cookie.is_some(), "this kernel is 5.14 or later");
        for other in ["", "v6", "1-", "-1", "1-2-3", "01", "1-02", "4026531840x"] {
            assert_eq!(Namespace::of_name(other), None, "{other}");
        }
    }

    #[test]
    fn the_directory_of_an_older_version_counts_until_it_is_renamed() {
        let parent = tempfile::tempdir().expect("a directory");
        let parent = parent.path();
        let here = Namespace::here().expect("a namespace");
        assert_eq!(here.name_in(parent), here.name());
        fs::create_dir(parent.join(here.old_name())).expect("it is made");
        assert_eq!(here.name_in(parent), here.old_name());
        here.rename_old(parent).expect("it is renamed");
        here.rename_old(parent).expect("nothing is left to do");
        assert_eq!(here.name_in(parent), here.name());
        assert!(!parent.join(here.old_name()).exists());
        // A new namespace with the number of a dead one has another name.
        let next = Namespace {
            cookie: here.cookie.map(|cookie| cookie + 1),
            ..here
        };
        assert_eq!(next.name_in(parent), next.name());
        assert!(next.replaced(here) && !here.replaced(here));
    }
}
