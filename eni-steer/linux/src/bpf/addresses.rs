//! Assigns slots to addresses. The slot of an address and its owner says where its packets are
//! counted.

use std::collections::BTreeSet;

use aya::maps::MapError;
use eni_steer_common::{AddressRow, Owner, names};
use ipnet::IpNet;

use super::{
    batch, convert, error::BpfError, handles::Maps, values::boot_nanoseconds, writer::AddressIndex,
};

impl Maps {
    /// Returns the slot of an address with this owner (an ENI slot or
    /// [`eni_steer_common::NO_ENI`]): the slot it had before, else a free one, else the one that
    /// was released the longest time ago.
    pub(super) fn address_slot(&mut self, net: IpNet, eni: u16) -> Result<u32, BpfError> {
        if self.writer.index.is_none() {
            self.writer.index = Some(self.read_index()?);
        }
        if let Some(slot) = self
            .writer
            .index
            .as_ref()
            .and_then(|index| index.slots.get(&(net, eni)))
        {
            return Ok(*slot);
        }
        let free = self
            .writer
            .index
            .as_mut()
            .and_then(|index| index.free.pop_first());
        let slot = match free {
            Some(slot) => slot,
            None => self.reclaim_address()?,
        };
        let row = AddressRow {
            since: boot_nanoseconds(),
            address: convert::address(net.addr()),
            family: convert::family_of(net.addr()) as u8,
            length: net.prefix_len(),
            eni,
            zero: 0,
        };
        self.set_address(slot, row)?;
        if let Some(index) = &mut self.writer.index {
            index.slots.insert((net, eni), slot);
        }
        Ok(slot)
    }

    /// Records when an address lost its owner. The slots that were released first are reused first.
    pub(super) fn release_address(&mut self, owner: Owner) -> Result<(), BpfError> {
        let mut row = self.address(owner.address)?;
        row.since = boot_nanoseconds();
        self.set_address(owner.address, row)
    }

    /// Frees all address slots of an ENI slot, before another ENI gets the ENI slot.
    pub(super) fn free_addresses_of(&mut self, eni: u16) -> Result<(), BpfError> {
        for slot in 0..self.addresses.len() {
            let row = self.address(slot)?;
            if row.family != 0 && row.eni == eni {
                self.clear_address_counters(slot)?;
                self.set_address(slot, AddressRow::default())?;
            }
        }
        self.writer.index = None;
        Ok(())
    }

    /// The row of an address slot.
    pub(super) fn address(&self, slot: u32) -> Result<AddressRow, BpfError> {
        self.addresses
            .get(&slot, 0)
            .map_err(|cause| BpfError::map(format!("read {} {slot}", names::ADDRESSES), cause))
    }

    fn set_address(&mut self, slot: u32, row: AddressRow) -> Result<(), BpfError> {
        self.addresses
            .set(slot, row, 0)
            .map_err(|cause| BpfError::map(format!("write {} {slot}", names::ADDRESSES), cause))
    }

    /// Reads the slots of all addresses from the map.
    fn read_index(&self) -> Result<AddressIndex, BpfError> {
        let mut index = AddressIndex::default();
        let rows = batch::array(&self.addresses, names::ADDRESSES)?;
        for (slot, row) in (0..).zip(rows) {
            match convert::row_net(&row) {
                Some(net) => {
                    index.slots.insert((net, row.eni), slot);
                }
                None => {
                    index.free.insert(slot);
                }
            }
        }
        Ok(index)
    }

    /// Frees the slot that was released the longest time ago, and clears its counters.
    fn reclaim_address(&mut self) -> Result<u32, BpfError> {
        let used: BTreeSet<u32> = self
            .all_owners()?
            .iter()
            .map(|(_, owner)| owner.address)
            .collect();
        let mut oldest: Option<(u64, u32, IpNet, u16)> = None;
        for slot in (0..self.addresses.len()).filter(|slot| !used.contains(slot)) {
            let row = self.address(slot)?;
            if let Some(net) = convert::row_net(&row)
                && oldest.is_none_or(|(since, ..)| row.since < since)
            {
                oldest = Some((row.since, slot, net, row.eni));
            }
        }
        let Some((_, slot, net, eni)) = oldest else {
            return Err(BpfError::Full {
                what: "addresses",
                capacity: self.addresses.len(),
            });
        };
        self.clear_address_counters(slot)?;
        if let Some(index) = &mut self.writer.index {
            index.slots.remove(&(net, eni));
        }
        Ok(slot)
    }

    /// All owner entries, of addresses and of prefixes.
    pub(super) fn all_owners(&self) -> Result<Vec<(IpNet, Owner)>, BpfError> {
        let read = |what: &str, cause: MapError| BpfError::map(format!("read {what}"), cause);
        let mut all = Vec::new();
        for entry in self.owners4.iter() {
            let (key, owner) = entry.map_err(|cause| read(names::OWNERS4, cause))?;
            all.push((IpNet::from(std::net::IpAddr::from(key)), owner));
        }
        for entry in self.owners6.iter() {
            let (key, owner) = entry.map_err(|cause| read(names::OWNERS6, cause))?;
            all.push((IpNet::from(std::net::IpAddr::from(key)), owner));
        }
        for entry in self.prefixes.iter() {
            let (key, owner) = entry.map_err(|cause| read(names::PREFIXES, cause))?;
            if let Some(net) = convert::prefix(&key) {
                all.push((net, owner));
            }
        }
        Ok(all)
    }
}
