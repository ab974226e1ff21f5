//! The directories in bpffs in which eni-steer pins maps and links.
//!
//! ```text
//! <bpffs>/eni-steer/<network namespace>/v<layout>/maps/<map>
//!                                                /links/<ifindex>-<mac>-{in,out}
//! ```
//!
//! Each network namespace has its own directory ([`namespace`]), because all namespaces share the
//! bpffs, while interface indexes and addresses are valid in one namespace only. The name of a link
//! contains index and MAC address, because an interface that is removed and added again under the
//! same name is another interface.
//!
//! Where others can write the bpffs, they can make these directories before eni-steer does. So each
//! of them is checked before anything in it is opened, pinned or deleted ([`OwnDir`]), and only
//! files with names that eni-steer gives are deleted.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use eni_steer_common::names;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::BpfError;
use crate::{
    namespace::{self, Namespace},
    own_dir::{On, OwnDir, OwnDirError},
};
use eni_steer_core::model::{Direction, IfIndex, Mac};

/// Name of eni-steer's directory in a bpffs.
const DIRECTORY: &str = "eni-steer";
const MAPS: &str = "maps";
const LINKS: &str = "links";

/// Recognises the names that eni-steer gives to pins.
type IsOurs = fn(&OsStr) -> bool;

/// The directory with the pins of one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRoot {
    bpffs: PathBuf,
    /// Name of the namespace's directory.
    namespace: String,
    layout: u32,
}

/// Returns whether a bpffs is mounted at a path.
fn bpffs_ready(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts a bpffs at a path, unless one is mounted there already.
///
/// # Errors
/// The directory does not exist or is not empty, or the bpffs cannot be mounted.
pub fn ensure_bpffs(path: &Path) -> Result<(), BpfError> {
    if bpffs_ready(path) {
        return Ok(());
    }
    let missing = |cause: io::Error| BpfError::BpffsMissing {
        path: path.to_owned(),
        cause: Some(cause),
    };
    // A mount would hide what is in the directory.
    if fs::read_dir(path).map_err(missing)?.next().is_some() {
        return Err(BpfError::NotEmpty {
            path: path.to_owned(),
        });
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
        let here = Namespace::here()
            .map_err(|cause| BpfError::io(format!("read {}", namespace::FILE), cause))?;
        Ok(Self {
            bpffs: bpffs.to_owned(),
            namespace: here.name_in(&Self::all(bpffs)),
            layout: names::LAYOUT,
        })
    }

    /// The directory with the pins of all namespaces.
    pub(crate) fn all(bpffs: &Path) -> PathBuf {
        bpffs.join(DIRECTORY)
    }

    /// The directory of another namespace, by its name.
    pub(crate) fn of(bpffs: &Path, namespace: &str) -> Self {
        Self {
            bpffs: bpffs.to_owned(),
            namespace: namespace.to_owned(),
            layout: names::LAYOUT,
        }
    }

    /// Opens the directory with the pins of all namespaces. `None`: there is none.
    pub(crate) fn open_all(bpffs: &Path) -> Result<Option<OwnDir>, OwnDirError> {
        OwnDir::open(bpffs, &[DIRECTORY], On::Bpffs)
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

    /// The names of the directories from the bpffs to the layout's.
    fn names(&self) -> [String; 3] {
        let layout = format!("v{}", self.layout);
        [DIRECTORY.to_owned(), self.namespace.clone(), layout]
    }

    /// The names of the directories from the bpffs to one of the layout's two.
    fn names_to(&self, last: &str) -> Vec<String> {
        let names = self.names().into_iter();
        names.chain([last.to_owned()]).collect()
    }

    /// The path of the layout's directory, for messages.
    fn layout_dir(&self) -> PathBuf {
        self.names()
            .iter()
            .fold(self.bpffs.clone(), |path, name| path.join(name))
    }

    /// The path at which a map is pinned, for messages.
    pub fn map(&self, name: &str) -> PathBuf {
        self.layout_dir().join(MAPS).join(name)
    }

    /// Opens the directory of the pinned maps. Returns `None` if there is none.
    pub(super) fn open_maps(&self) -> Result<Option<OwnDir>, BpfError> {
        Ok(OwnDir::open(&self.bpffs, &self.names_to(MAPS), On::Bpffs)?)
    }

    /// Opens the directory of the pinned TCX links. Returns `None` if there is none.
    pub(super) fn open_links(&self) -> Result<Option<OwnDir>, BpfError> {
        Ok(OwnDir::open(&self.bpffs, &self.names_to(LINKS), On::Bpffs)?)
    }

    /// Opens the directory of the pinned maps, and creates all directories that are missing. Only
    /// root may read them, because the maps contain addresses.
    pub(super) fn create_dirs(&self) -> Result<OwnDir, BpfError> {
        OwnDir::create(&self.bpffs, &self.names_to(LINKS), On::Bpffs)?;
        Ok(OwnDir::create(
            &self.bpffs,
            &self.names_to(MAPS),
            On::Bpffs,
        )?)
    }

    /// Deletes the directories that are empty, the innermost first.
    pub(super) fn remove_dirs(&self) -> Result<(), BpfError> {
        let above = self.names();
        let mut below = vec![MAPS, LINKS];
        for depth in (0..=above.len()).rev() {
            if let Some(directory) = OwnDir::open(&self.bpffs, &above[..depth], On::Bpffs)? {
                for name in below {
                    // Another namespace or another layout has pins there.
                    if !directory.remove_dir(name)? {
                        return Ok(());
                    }
                }
            }
            below = match depth {
                0 => Vec::new(),
                depth => vec![above[depth - 1].as_str()],
            };
        }
        Ok(())
    }

    /// Lists the layouts of other versions of eni-steer that have pins in this namespace.
    pub(crate) fn other_layouts(&self) -> Result<BTreeSet<u32>, BpfError> {
        let mut layouts = BTreeSet::new();
        for layout in self.layouts()? {
            if layout != self.layout && self.with_layout(layout).is_removable()? {
                layouts.insert(layout);
            }
        }
        Ok(layouts)
    }

    /// Whether [`PinRoot::remove_all`] would remove something: a pin, or a directory without a file
    /// of anybody else.
    fn is_removable(&self) -> Result<bool, BpfError> {
        let mut of_others = false;
        for (directory, is_ours) in self.directories()? {
            for name in directory.names()? {
                if is_ours(&name) {
                    return Ok(true);
                }
                of_others = true;
            }
        }
        Ok(!of_others)
    }

    /// The directories of this layout that exist, each with what recognises the names of its pins.
    fn directories(&self) -> Result<Vec<(OwnDir, IsOurs)>, BpfError> {
        let links = self.open_links()?.map(|links| (links, is_link_name as _));
        let maps = self.open_maps()?.map(|maps| (maps, is_map_name as _));
        Ok(links.into_iter().chain(maps).collect())
    }

    /// Lists all layouts that have pins in this namespace.
    pub(super) fn layouts(&self) -> Result<BTreeSet<u32>, BpfError> {
        let above = self.names();
        let Some(directory) = OwnDir::open(&self.bpffs, &above[..2], On::Bpffs)? else {
            return Ok(BTreeSet::new());
        };
        let number = |name: &OsStr| name.to_str()?.strip_prefix('v')?.parse::<u32>().ok();
        let names = directory.names()?;
        Ok(names.iter().filter_map(|name| number(name)).collect())
    }

    /// The same namespace's pins of another layout.
    pub(super) fn with_layout(&self, layout: u32) -> Self {
        Self {
            layout,
            ..self.clone()
        }
    }

    /// Deletes the pins of another layout. That also detaches the programs of its TCX links. Clsact
    /// filters have the same priority and handle in every layout, so this version's have replaced
    /// them.
    pub(crate) fn remove_layout(&self, layout: u32) -> Result<(), BpfError> {
        self.with_layout(layout).remove_all()
    }

    /// Deletes all pins of this layout, whichever version made them.
    pub(super) fn remove_all(&self) -> Result<(), BpfError> {
        for (directory, is_ours) in self.directories()? {
            for name in directory.names()?.iter().filter(|name| is_ours(name)) {
                // Nothing but its pin keeps a link attached.
                directory.remove_file(name)?;
            }
        }
        self.remove_dirs()
    }
}

/// The name of the pin of a hook's link.
pub(super) fn link_name(ifindex: IfIndex, mac: Mac, direction: Direction) -> String {
    let mac: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let way = match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    format!("{ifindex}-{mac}-{way}")
}

/// Whether eni-steer gives such a name to the pin of a link.
pub(super) fn is_link_name(name: &OsStr) -> bool {
    let parts = name
        .to_str()
        .map(|name| name.split('-').collect::<Vec<_>>());
    let Some([index, mac, way]) = parts.as_deref() else {
        return false;
    };
    index.parse::<u32>().is_ok()
        && mac.len() == 12
        && mac.bytes().all(|byte| byte.is_ascii_hexdigit())
        && ["in", "out"].contains(way)
}

/// Whether some version of eni-steer gives such a name to the pin of a map.
fn is_map_name(name: &OsStr) -> bool {
    let letters = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    !name.is_empty() && name.as_encoded_bytes().iter().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_pins_are_recognised_and_no_others() {
        let index = IfIndex::new(12).expect("not zero");
        for direction in Direction::BOTH {
            let name = link_name(index, Mac([0, 1, 2, 0xab, 0xcd, 0xef]), direction);
            assert!(is_link_name(OsStr::new(&name)), "{name}");
        }
        for name in names::PINNED {
            assert!(is_map_name(OsStr::new(name)), "{name}");
        }
        for name in [
            "",
            "shadow",
            "12-000102abcdef",
            "12-000102abcdeg-in",
            "x-000102abcdef-in",
        ] {
            assert!(!is_link_name(OsStr::new(name)), "{name}");
            assert!(!is_map_name(OsStr::new(name)), "{name}");
        }
    }
}
