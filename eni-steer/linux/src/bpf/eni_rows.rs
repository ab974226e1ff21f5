//! Reads and writes the rows of ENIs. The number of a row is the ENI's slot.

use eni_steer_common::{EniRow, names};
use eni_steer_core::model::{Direction, IfIndex};

use super::{batch, error::BpfError, handles::Maps};

impl Maps {
    /// The slot and row of an interface; `None` if the maps have no row for it.
    pub(super) fn find_eni_row(&self, ifindex: IfIndex) -> Result<Option<(u16, EniRow)>, BpfError> {
        Ok(self
            .eni_rows()?
            .into_iter()
            .find(|(_, row)| row.taken != 0 && row.home == ifindex.get()))
    }

    /// The slot and row of an interface; an error if the maps have no row for it.
    pub(super) fn require_eni_row(&self, ifindex: IfIndex) -> Result<(u16, EniRow), BpfError> {
        self.find_eni_row(ifindex)?.ok_or(BpfError::UnknownEni {
            ifindex: ifindex.get(),
        })
    }

    /// All rows with their slots, also the unused ones.
    pub(super) fn eni_rows(&self) -> Result<Vec<(u16, EniRow)>, BpfError> {
        Ok((0..).zip(batch::array(&self.enis, names::ENIS)?).collect())
    }

    /// The row of a slot.
    pub(super) fn eni_row(&self, slot: u16) -> Result<EniRow, BpfError> {
        self.enis
            .get(&u32::from(slot), 0)
            .map_err(|cause| BpfError::map(format!("read {} {slot}", names::ENIS), cause))
    }

    /// Writes the row of a slot.
    pub(super) fn set_eni_row(&mut self, slot: u16, row: EniRow) -> Result<(), BpfError> {
        self.enis
            .set(u32::from(slot), row, 0)
            .map_err(|cause| BpfError::map(format!("write {} {slot}", names::ENIS), cause))
    }

    /// Records which build of eni-steer's program is attached in a direction; 0 stands for none.
    pub(super) fn set_program(
        &mut self,
        ifindex: IfIndex,
        direction: Direction,
        build: u64,
        log_level: u8,
    ) -> Result<(), BpfError> {
        let (slot, mut row) = self.require_eni_row(ifindex)?;
        row.build[direction as usize] = build;
        row.log_level[direction as usize] = log_level;
        self.set_eni_row(slot, row)
    }

    /// Forgets which programs are attached, so that eni-steer attaches all of them again.
    pub(super) fn forget_programs(&mut self) -> Result<(), BpfError> {
        for (slot, mut row) in self.eni_rows()? {
            if row.build != [0; 2] {
                row.build = [0; 2];
                self.set_eni_row(slot, row)?;
            }
        }
        Ok(())
    }
}
