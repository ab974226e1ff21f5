//! Removes pins that cannot be read: some of the maps are missing, or maps of another version are
//! pinned under the same names.

use std::{collections::BTreeSet, path::Path};

use aya::{maps::MapData, programs::loaded_programs};

use super::{error::BpfError, handles::Maps, hooks, pin::PinRoot};
use crate::{namespace::Life, netlink::Netlink};
use eni_steer_core::model::{Direction, IfIndex};

impl PinRoot {
    /// Removes all pins, complete or not: first the links with their programs, then the maps.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn clear(&self) -> Result<(), BpfError> {
        hooks::tcx::remove_links(self, |_| true)?;
        Maps::remove_pins(self)
    }
}

/// Detaches eni-steer's programs from these interfaces and removes all pins, if there are pins that
/// cannot be read. Returns whether it did. It leaves readable pins alone, because a plan can remove
/// them.
///
/// `qdiscs` are the interfaces to which eni-steer added a clsact qdisc.
pub(crate) fn clear_unreadable(
    root: &PinRoot,
    netlink: &Netlink,
    interfaces: &BTreeSet<IfIndex>,
    qdiscs: &BTreeSet<IfIndex>,
) -> Result<bool, BpfError> {
    match Maps::open(root) {
        Err(BpfError::LayoutMismatch { .. }) => {}
        other => return other.map(|_readable| false),
    }
    for ifindex in interfaces.iter().copied() {
        for direction in Direction::BOTH {
            let added = qdiscs.contains(&ifindex);
            hooks::detach(root, netlink, ifindex, direction, added)?;
        }
    }
    root.clear()?;
    Ok(true)
}

/// Removes the pins of network namespaces that have ended, whichever version made them. `life`
/// answers for the name of a namespace's directory as far as it can see; pins that an attached
/// program uses stay all the same. Returns the names of the namespaces whose pins are gone.
///
/// # Errors
/// The pins or the programs of the kernel cannot be read.
pub(crate) fn sweep(bpffs: &Path, life: impl Fn(&str) -> Life) -> Result<Vec<String>, BpfError> {
    let Some(all) = PinRoot::open_all(bpffs)? else {
        return Ok(Vec::new());
    };
    let names = all.names()?.into_iter();
    let names = names.filter_map(|name| name.into_string().ok());
    let mut removed = Vec::new();
    for name in names {
        let life = life(&name);
        if life == Life::Goes {
            continue;
        }
        let root = PinRoot::of(bpffs, &name);
        let layouts = root.layouts()?;
        let layouts: Vec<PinRoot> = layouts.iter().map(|n| root.with_layout(*n)).collect();
        let uses = layouts.iter().map(use_of);
        let uses = uses.collect::<Result<Vec<_>, _>>()?;
        let lost_all = uses.contains(&Use::LostInterfaces);
        if uses.contains(&Use::Attached) || (life == Life::Unknown && !lost_all) {
            continue;
        }
        for layout in &layouts {
            layout.remove_all()?;
        }
        root.remove_dirs()?;
        removed.push(name);
    }
    Ok(removed)
}

/// Who uses pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// A program that is attached to an interface.
    Attached,
    /// Programs whose interfaces have been removed.
    LostInterfaces,
    /// No program.
    Nobody,
}

fn use_of(root: &PinRoot) -> Result<Use, BpfError> {
    let links = hooks::tcx::links(root)?;
    if links.iter().any(hooks::tcx::PinnedLink::is_attached) {
        return Ok(Use::Attached);
    }
    // Links without an interface keep their programs in memory, but these see no packets.
    let idle: BTreeSet<u32> = links.iter().map(|link| link.program()).collect();
    let mut maps = BTreeSet::new();
    if let Some(directory) = root.open_maps()? {
        for name in directory.names()? {
            let map = MapData::from_pin(directory.entry(&name));
            let map = map.and_then(|map| Ok(map.info()?.id()));
            maps.insert(map.map_err(|cause| BpfError::map("open a pinned map", cause))?);
        }
    }
    for program in loaded_programs() {
        let program = program.map_err(|cause| BpfError::load("of another program", cause))?;
        let ids = program.map_ids();
        let ids = ids.map_err(|cause| BpfError::load("of another program", cause))?;
        let uses = ids.is_some_and(|ids| ids.iter().any(|id| maps.contains(id)));
        if uses && !idle.contains(&program.id()) {
            return Ok(Use::Attached);
        }
    }
    Ok(match idle.is_empty() {
        true => Use::Nobody,
        false => Use::LostInterfaces,
    })
}
