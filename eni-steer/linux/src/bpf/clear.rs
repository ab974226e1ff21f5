//! Removes pins that cannot be read: some of the maps are missing, or maps of another version are
//! pinned under the same names.

use std::collections::BTreeSet;

use super::{error::BpfError, handles::Maps, hooks, pin::PinRoot};
use crate::netlink::Netlink;
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
