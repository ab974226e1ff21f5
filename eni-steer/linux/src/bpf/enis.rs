//! Adds, changes and releases ENIs.

use eni_steer_common::{EniRow, MAX_ENIS, NO_ENI};
use ipnet::IpNet;

use super::{
    error::BpfError,
    handles::Maps,
    values::{boot_nanoseconds, interface_name},
};
use eni_steer_core::model::{self, IfIndex};

impl Maps {
    /// Adds an ENI or changes its row. `None` releases the ENI: its owners and next hops are
    /// removed, but its slot keeps the counters in case the ENI comes back.
    ///
    /// # Errors
    /// All slots are in use, or a map cannot be read or written.
    pub fn set_eni(
        &mut self,
        ifindex: IfIndex,
        row: Option<&model::EniRow>,
    ) -> Result<(), BpfError> {
        let Some(row) = row else {
            return match self.find_eni_row(ifindex)? {
                Some((slot, old)) => self.release_eni(slot, old),
                None => Ok(()),
            };
        };
        let (slot, old) = self.slot_for(ifindex, row)?;
        let new = EniRow {
            ifindex: if row.up { ifindex.get() } else { 0 },
            mtu: row.mtu,
            mode: row.mode as u8,
            taken: 1,
            mac: row.mac.0,
            home: ifindex.get(),
            since: if old.home == ifindex.get() {
                old.since
            } else {
                boot_nanoseconds()
            },
            ..old
        };
        if new == old {
            return Ok(());
        }
        self.set_eni_row(slot, new)
    }

    /// Finds a slot for an ENI: the one it has, else the one it had under another index, else a
    /// free one, else the one that was released the longest time ago.
    fn slot_for(
        &mut self,
        ifindex: IfIndex,
        wanted: &model::EniRow,
    ) -> Result<(u16, EniRow), BpfError> {
        let rows = self.eni_rows()?;
        let same_mac = |row: &EniRow| row.taken != 0 && row.mac == wanted.mac.0;
        if let Some((slot, row)) = rows
            .iter()
            .find(|(_, row)| row.taken != 0 && row.home == ifindex.get())
        {
            if same_mac(row) {
                return Ok((*slot, *row));
            }
            // An interface with another MAC address than before is another ENI.
            self.release_eni(*slot, *row)?;
        }
        let no_interface = |ifindex| ifindex == 0 || interface_name(ifindex).is_none();
        if let Some(former) = rows
            .iter()
            .find(|(_, row)| same_mac(row) && no_interface(row.home))
        {
            return Ok(*former);
        }
        if let Some(free) = rows.iter().find(|(_, row)| row.taken == 0) {
            return Ok(*free);
        }
        let Some((slot, _)) = rows
            .iter()
            .filter(|(_, row)| row.home == 0)
            .min_by_key(|(_, row)| row.since)
        else {
            return Err(BpfError::Full {
                what: "ENIs",
                capacity: u32::from(MAX_ENIS),
            });
        };
        // Its addresses first: if eni-steer is interrupted here, the row still names the old ENI.
        self.free_addresses_of(*slot)?;
        self.clear_eni_counters(*slot)?;
        Ok((*slot, EniRow::default()))
    }

    /// Releases an ENI: from now on it owns nothing and no packet is steered to it.
    fn release_eni(&mut self, slot: u16, old: EniRow) -> Result<(), BpfError> {
        self.set_eni_row(
            slot,
            EniRow {
                ifindex: 0,
                mode: 0,
                build: [0; 2],
                log_level: [0; 2],
                home: 0,
                since: boot_nanoseconds(),
                ..old
            },
        )?;
        let owned: Vec<IpNet> = self
            .all_owners()?
            .into_iter()
            .filter(|(_, owner)| owner.eni != NO_ENI && owner.eni == slot)
            .map(|(net, _)| net)
            .collect();
        for net in owned {
            self.remove_owner(net)?;
        }
        self.remove_table(slot)
    }
}
