//! The directories in bpffs in which eni-steer pins maps and links.
//!
//! ```text
//! <bpffs>/eni-steer/<network namespace>/v<layout>/maps/<map>
//!                                                /links/<ifindex>-<mac>-{in,out}
//! ```
//!
//! Each network namespace has its own directory, because all namespaces share the bpffs, while
//! interface indexes and addresses are valid in one namespace only. The name of a link contains
//! index and MAC address, because an interface that is removed and added again under the same name
//! is another interface.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use eni_steer_common::names;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::BpfError;
use eni_steer_core::model::{Direction, IfIndex, Mac};

/// Name of eni-steer's directory in a bpffs.
const DIRECTORY: &str = "eni-steer";

/// The directory with the pins of one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRoot {
    bpffs: PathBuf,
    namespace: u64,
    layout: u32,
}

/// Returns whether a bpffs is mounted at a path.
fn bpffs_ready(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts a bpffs at a path, unless one is mounted there already.
///
/// # Errors
/// The directory does not exist, or the bpffs cannot be mounted.
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
    // The same flags and mode as systemd uses.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| missing(errno.into()))
}

impl PinRoot {
    /// The directory for the network namespace of the calling thread, below the bpffs at a path.
    ///
    /// # Errors
    /// The network namespace cannot be determined.
    pub fn here(bpffs: &Path) -> Result<Self, BpfError> {
        let path = "/proc/thread-self/ns/net";
        let status = nix::sys::stat::stat(path)
            .map_err(|errno| BpfError::io(format!("read {path}"), errno.into()))?;
        Ok(Self {
            bpffs: bpffs.to_owned(),
            namespace: status.st_ino,
            layout: names::LAYOUT,
        })
    }

    /// Returns an error if no bpffs is mounted.
    pub(super) fn require_bpffs(&self) -> Result<(), BpfError> {
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

    /// The directory of the pinned TCX links.
    pub(super) fn links_dir(&self) -> PathBuf {
        self.layout_dir().join("links")
    }

    /// The path at which a map is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps_dir().join(name)
    }

    /// Returns whether maps may be pinned: their directory exists, or cannot be examined.
    pub(super) fn may_have_maps(&self) -> bool {
        let metadata = fs::metadata(self.maps_dir());
        !matches!(metadata, Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// The path at which to pin the link of a hook.
    pub(super) fn link(&self, ifindex: IfIndex, mac: Mac, direction: Direction) -> PathBuf {
        let mac: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let way = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        self.links_dir().join(format!("{ifindex}-{mac}-{way}"))
    }

    /// Creates the directories. Only root may read them, because the maps contain addresses.
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

    /// Deletes the directories that are empty, the innermost first.
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
                // Another namespace or another layout has pins there.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                Err(cause) => {
                    return Err(BpfError::io(format!("remove {}", dir.display()), cause));
                }
            }
        }
        Ok(())
    }

    /// Lists the layouts of other versions of eni-steer that have pins in this namespace.
    pub(crate) fn other_layouts(&self) -> Result<BTreeSet<u32>, BpfError> {
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

    /// Deletes the pins of another layout. That also detaches the programs of its TCX links. Clsact
    /// filters have the same priority and handle in every layout, so this version's have replaced
    /// them.
    pub(crate) fn remove_layout(&self, layout: u32) -> Result<(), BpfError> {
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
                // Nothing but its pin keeps a link attached.
                unpin(&entry.map_err(|cause| BpfError::io(what(), cause))?.path())?;
            }
        }
        other.remove_dirs()
    }
}

/// Deletes a pin; does nothing if it does not exist.
pub(super) fn unpin(path: &Path) -> Result<(), BpfError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(BpfError::io(format!("unpin {}", path.display()), cause)),
    }
}
