//! Clears counters, when another ENI or address gets the slot they belong to.

use eni_steer_common::{AddressCell, EniCounters, FirstStray, StrayKey, names};

use super::{
    batch::{per_cpu, set_per_cpu},
    error::BpfError,
    handles::Maps,
};

impl Maps {
    /// Clears the counters of an address slot.
    pub(super) fn clear_address_counters(&mut self, slot: u32) -> Result<(), BpfError> {
        let zero = vec![AddressCell::default(); self.cpus as usize];
        set_per_cpu(&mut self.cells, slot, zero, names::CELLS)?;
        self.remove_strays(|key| key.address == slot)
    }

    /// Clears the counters of an ENI slot. Packets of other ENIs' addresses that pass at the same
    /// time may go uncounted. This happens only when a host gets its 65th ENI, counting former
    /// ones.
    pub(super) fn clear_eni_counters(&mut self, slot: u16) -> Result<(), BpfError> {
        let zero = vec![EniCounters::default(); self.cpus as usize];
        set_per_cpu(&mut self.counters, slot.into(), zero, names::COUNTERS)?;
        let of_slot = |place| StrayKey::at(0, place).is_some_and(|key| key.eni == slot);
        for address in 0..self.addresses.len() {
            let mut values = per_cpu(&self.cells, address, names::CELLS)?.to_vec();
            if values.iter().any(|cell| of_slot(cell.first.place)) {
                for cell in values.iter_mut().filter(|cell| of_slot(cell.first.place)) {
                    cell.first = FirstStray::default();
                }
                set_per_cpu(&mut self.cells, address, values, names::CELLS)?;
            }
        }
        self.remove_strays(|key| key.eni == slot)?;
        self.clear_sources(slot)
    }
}
