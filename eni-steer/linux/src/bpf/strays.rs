//! Entries of strays: packets of an owned address on an ENI that does not own it.

use aya::maps::IterableMap;
use eni_steer_common::{StrayKey, StrayValue, names};

use super::{batch, error::BpfError, handles::Maps, values::removed};

impl Maps {
    /// All entries, each with the values of all CPUs.
    pub(super) fn stray_entries(&self) -> Result<Vec<(StrayKey, Vec<StrayValue>)>, BpfError> {
        batch::all(self.strays.map(), self.cpus, names::STRAYS)
    }

    /// Removes the entries whose keys satisfy `which`.
    pub(super) fn remove_strays(
        &mut self,
        which: impl Fn(&StrayKey) -> bool,
    ) -> Result<(), BpfError> {
        for (key, _) in self.stray_entries()? {
            if which(&key) {
                removed(self.strays.remove(&key)).map_err(|cause| {
                    BpfError::map(format!("remove an entry of {}", names::STRAYS), cause)
                })?;
            }
        }
        Ok(())
    }
}
