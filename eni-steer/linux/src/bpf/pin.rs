//! Where things are pinned.
//!
//! ```text
//! <bpffs>/eni-steer/<network namespace>/v<layout>/maps/<map>
//!                                                /links/<ifindex>-<mac>-{in,out}
//! ```
//!
//! Interface indexes and addresses mean something in one network namespace only, and bpffs is
//! shared by all: hence a directory for each. A link is named by index and MAC address, because
//! a device that is made again under the same name is another device.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use eni_steer_common::names;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{
    error::BpfError,
    sys::{self, TcxLink},
};
use eni_steer_core::model::{Direction, IfIndex, Mac};

/// Our directory in a bpffs.
const DIRECTORY: &str = "eni-steer";

/// The pins of one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRoot {
    bpffs: PathBuf,
    namespace: u64,
    layout: u32,
}

/// Whether a bpffs is mounted at a path.
pub fn bpffs_ready(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Makes sure that a bpffs is mounted at a path, and mounts one if the directory is there.
pub fn ensure_bpffs(path: &Path) -> Result<(), BpfError> {
    if bpffs_ready(path) {
        return Ok(());
    }
    let missing = |cause: io::Error| BpfError::BpffsMissing {
        path: path.to_owned(),
        cause: Some(cause),
    };
    if !path.is_dir() {
        return Err(missing(io::Error::from_raw_os_error(libc::ENOENT)));
    }
    // Flags and mode as systemd mounts it.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| missing(errno.into()))
}

impl PinRoot {
    /// The pins, below the bpffs at a path, of the network namespace of the calling thread.
    pub fn here(bpffs: &Path) -> Result<Self, BpfError> {
        let path = "/proc/thread-self/ns/net";
        let status = nix::sys::stat::stat(path)
            .map_err(|errno| BpfError::io(format!("look at {path}"), errno.into()))?;
        Ok(Self {
            bpffs: bpffs.to_owned(),
            namespace: status.st_ino,
            layout: names::LAYOUT,
        })
    }

    /// The bpffs.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// An error that names the bpffs, if none is mounted.
    pub fn require_bpffs(&self) -> Result<(), BpfError> {
        if bpffs_ready(&self.bpffs) {
            return Ok(());
        }
        Err(BpfError::BpffsMissing {
            path: self.bpffs.clone(),
            cause: None,
        })
    }

    fn namespace_dir(&self) -> PathBuf {
        self.bpffs.join(DIRECTORY).join(self.namespace.to_string())
    }

    fn layout_dir(&self) -> PathBuf {
        self.namespace_dir().join(format!("v{}", self.layout))
    }

    fn maps_dir(&self) -> PathBuf {
        self.layout_dir().join("maps")
    }

    fn links_dir(&self) -> PathBuf {
        self.layout_dir().join("links")
    }

    /// Where a map is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps_dir().join(name)
    }

    /// Whether there may be pins of maps: their directory is there, or can not be looked at.
    pub(super) fn may_have_maps(&self) -> bool {
        let looked = fs::metadata(self.maps_dir());
        !matches!(looked, Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Where a link is to be pinned.
    pub(super) fn link(&self, ifindex: IfIndex, mac: Mac, direction: Direction) -> PathBuf {
        let mac: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let way = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        self.links_dir().join(format!("{ifindex}-{mac}-{way}"))
    }

    /// Makes the directories, readable by nobody else: addresses are nobody's business.
    pub(super) fn create_dirs(&self) -> Result<(), BpfError> {
        for dir in [self.maps_dir(), self.links_dir()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|cause| BpfError::io(format!("create {}", dir.display()), cause))?;
        }
        Ok(())
    }

    /// Removes the directories that are empty, from the inside out.
    pub(super) fn remove_dirs(&self) -> Result<(), BpfError> {
        for dir in [
            self.maps_dir(),
            self.links_dir(),
            self.layout_dir(),
            self.namespace_dir(),
            self.bpffs.join(DIRECTORY),
        ] {
            match fs::remove_dir(&dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // Another namespace, or another layout, still has pins there.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                Err(cause) => {
                    return Err(BpfError::io(format!("remove {}", dir.display()), cause));
                }
            }
        }
        Ok(())
    }

    /// Layouts of other versions that have pins in this namespace.
    pub fn other_layouts(&self) -> Result<BTreeSet<u32>, BpfError> {
        let dir = self.namespace_dir();
        let what = || format!("list {}", dir.display());
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(cause) => return Err(BpfError::io(what(), cause)),
        };
        let mut layouts = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(|cause| BpfError::io(what(), cause))?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix('v'));
            layouts.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        layouts.remove(&self.layout);
        Ok(layouts)
    }

    /// Takes away the pins of another layout, and with its links the programs. Filters of
    /// clsact stand in the same place in every layout: attaching has replaced them.
    pub fn remove_layout(&self, layout: u32) -> Result<(), BpfError> {
        let other = Self {
            layout,
            ..self.clone()
        };
        for dir in [other.links_dir(), other.maps_dir()] {
            let what = || format!("empty {}", dir.display());
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(BpfError::io(what(), cause)),
            };
            for entry in entries {
                // The pin is the last thing that holds a link to its hook.
                unpin(&entry.map_err(|cause| BpfError::io(what(), cause))?.path())?;
            }
        }
        other.remove_dirs()
    }

    /// Every pinned TCX link, whatever it is attached to by now.
    pub(super) fn links(&self) -> Result<Vec<PinnedLink>, BpfError> {
        let dir = self.links_dir();
        let what = || format!("list {}", dir.display());
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(BpfError::io(what(), cause)),
        };
        let mut links = Vec::new();
        for entry in entries {
            let path = entry.map_err(|cause| BpfError::io(what(), cause))?.path();
            let opened = sys::open_pin(&path)
                .and_then(|link| Ok((sys::tcx_link(std::os::fd::AsFd::as_fd(&link))?, link)));
            match opened {
                Ok((Some(tcx), link)) => links.push(PinnedLink { path, link, tcx }),
                Ok((None, _)) => {
                    return Err(BpfError::LayoutMismatch {
                        pin: path,
                        what: "it is no TCX link".to_owned(),
                    });
                }
                // Unpinned since the directory was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => {
                    return Err(BpfError::io(format!("open {}", path.display()), cause));
                }
            }
        }
        links.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(links)
    }
}

/// A TCX link and its pin.
#[derive(Debug)]
pub(super) struct PinnedLink {
    pub path: PathBuf,
    pub link: OwnedFd,
    pub tcx: TcxLink,
}

impl PinnedLink {
    /// Whether this link holds a program to the hook.
    pub fn is_on(&self, ifindex: IfIndex, direction: Direction) -> bool {
        self.tcx.ifindex == Some(ifindex) && self.tcx.direction == direction
    }

    /// Takes the program off its hook and the pin away.
    pub fn remove(self) -> Result<(), BpfError> {
        match sys::detach_link(std::os::fd::AsFd::as_fd(&self.link)) {
            Ok(()) => {}
            Err(cause) => {
                return Err(BpfError::io(
                    format!("detach {}", self.path.display()),
                    cause,
                ));
            }
        }
        unpin(&self.path)
    }
}

/// Removes a pin; one that is gone is removed already.
pub(super) fn unpin(path: &Path) -> Result<(), BpfError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(BpfError::io(format!("unpin {}", path.display()), cause)),
    }
}
