//! What a writer of the maps keeps in memory, so that it need not read the maps for each change.

use std::collections::{BTreeMap, BTreeSet};

use eni_steer_common::NextHop;
use eni_steer_core::model::Family;
use ipnet::IpNet;

/// The part of the maps' content that the writer has read or written. Another writer makes it
/// stale: see [`super::Maps`].
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The slots of addresses; `None` until they are needed for the first time.
    pub index: Option<AddressIndex>,
    /// The tables written so far, by ENI slot and family.
    pub tables: BTreeMap<(u16, Family), BTreeMap<IpNet, NextHop>>,
    /// Which of its two short tables an ENI used last, by ENI slot and family. The next one to be
    /// written is the other.
    pub last_short: BTreeMap<(u16, Family), u8>,
}

/// Which slot counts the packets of which address.
#[derive(Debug, Default)]
pub(super) struct AddressIndex {
    /// Slots by address and owner: an ENI slot, or [`eni_steer_common::NO_ENI`].
    pub slots: BTreeMap<(IpNet, u16), u32>,
    /// Slots that no address has.
    pub free: BTreeSet<u32>,
}
