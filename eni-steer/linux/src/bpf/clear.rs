//! Taking away what can not be read: maps of which some pins are missing, or maps of another
//! version under our names.

use std::collections::BTreeSet;

use super::{BpfError, Maps, PinRoot, attach::detach};
use crate::netlink::Netlink;
use eni_steer_core::model::{Direction, IfIndex};

/// Takes our programs off these interfaces and our pins away, if the pins are there and can not
/// be read; says whether it did. Pins that can be read are left to the plan.
///
/// `qdiscs`: interfaces whose clsact qdisc was made by us.
pub fn clear_unreadable(
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
            let ours = qdiscs.contains(&ifindex);
            detach(root, netlink, ifindex, direction, ours)?;
        }
    }
    root.clear()?;
    Ok(true)
}
