//! Slots of ENIs.

use eni_steer_common::{EniRow, MAX_ENIS, NO_ENI, names};
use ipnet::IpNet;

use super::{batch, error::BpfError, maps::Maps, write::now};
use eni_steer_core::model::{self, Direction, IfIndex};

/// What becomes of a slot's owner.
fn is_here(ifindex: u32) -> bool {
    // SAFETY: the buffer has the size that if_indextoname(3) demands.
    unsafe {
        let mut name = [0; libc::IF_NAMESIZE];
        !libc::if_indextoname(ifindex, name.as_mut_ptr()).is_null()
    }
}

impl Maps {
    /// Takes an ENI in, or changes its row, or (`None`) lets it go with its owners and next
    /// hops. Its counters stay, for when it comes back.
    pub fn set_eni(
        &mut self,
        ifindex: IfIndex,
        row: Option<&model::EniRow>,
    ) -> Result<(), BpfError> {
        let Some(row) = row else {
            return match self.slot_of(ifindex)? {
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
                now()
            },
            ..old
        };
        if new == old {
            return Ok(());
        }
        self.set_eni_row(slot, new)
    }

    /// The slot and row of an interface.
    pub(super) fn slot_of(&self, ifindex: IfIndex) -> Result<Option<(u16, EniRow)>, BpfError> {
        Ok(self
            .eni_rows()?
            .into_iter()
            .find(|(_, row)| row.taken != 0 && row.home == ifindex.get()))
    }

    /// The same, where the interface must have been taken in.
    pub(super) fn known_slot(&self, ifindex: IfIndex) -> Result<(u16, EniRow), BpfError> {
        self.slot_of(ifindex)?.ok_or(BpfError::UnknownEni {
            ifindex: ifindex.get(),
        })
    }

    /// All rows with their slots.
    pub(super) fn eni_rows(&self) -> Result<Vec<(u16, EniRow)>, BpfError> {
        Ok((0..).zip(batch::array(&self.enis, names::ENIS)?).collect())
    }

    pub(super) fn eni_row(&self, slot: u16) -> Result<EniRow, BpfError> {
        self.enis
            .get(&u32::from(slot), 0)
            .map_err(|cause| BpfError::map(format!("read {} {slot}", names::ENIS), cause))
    }

    pub(super) fn set_eni_row(&mut self, slot: u16, row: EniRow) -> Result<(), BpfError> {
        self.enis
            .set(u32::from(slot), row, 0)
            .map_err(|cause| BpfError::map(format!("write {} {slot}", names::ENIS), cause))
    }

    /// Remembers which program is attached in a direction; a build of 0: none of ours.
    pub(super) fn set_program(
        &mut self,
        ifindex: IfIndex,
        direction: Direction,
        build: u64,
        log_level: u8,
    ) -> Result<(), BpfError> {
        let (slot, mut row) = self.known_slot(ifindex)?;
        row.build[direction as usize] = build;
        row.log_level[direction as usize] = log_level;
        self.set_eni_row(slot, row)
    }

    /// Forgets which programs are attached, so that all are attached anew.
    pub(super) fn forget_programs(&mut self) -> Result<(), BpfError> {
        for (slot, mut row) in self.eni_rows()? {
            if row.build != [0; 2] {
                row.build = [0; 2];
                self.set_eni_row(slot, row)?;
            }
        }
        Ok(())
    }

    /// The slot an ENI has, or had under another index, or gets.
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
            // The same interface with another MAC address is another ENI.
            self.release_eni(*slot, *row)?;
        }
        if let Some(known) = rows
            .iter()
            .find(|(_, row)| same_mac(row) && (row.home == 0 || !is_here(row.home)))
        {
            return Ok(*known);
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
        // Its addresses first: if we are interrupted, the slot is still known as the old ENI's.
        self.forget_addresses_of(*slot)?;
        self.clear_eni_counters(*slot)?;
        Ok((*slot, EniRow::default()))
    }

    /// Lets an ENI go: nothing may be steered to it or owned by it any more.
    fn release_eni(&mut self, slot: u16, old: EniRow) -> Result<(), BpfError> {
        self.set_eni_row(
            slot,
            EniRow {
                ifindex: 0,
                mode: 0,
                build: [0; 2],
                log_level: [0; 2],
                home: 0,
                since: now(),
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
