//! Writes the settings that all programs share, and the destinations that are never steered.

use eni_steer_common::{ExemptFilter, Family, Settings, names};
use eni_steer_core::model;
use ipnet::IpNet;

use super::{
    convert,
    error::BpfError,
    handles::Maps,
    values::{inserted, map_write_error, removed, trie_entries},
};

impl Maps {
    /// Sets the settings that hold for all ENIs.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn set_settings(&mut self, wanted: &model::Settings) -> Result<(), BpfError> {
        let mut settings = self.settings()?;
        let (mark, mask) = wanted.exempt_mark.unwrap_or_default();
        settings.exempt_mark = mark;
        settings.exempt_mask = mask;
        settings.events_per_second = wanted.events_per_second;
        settings.source_mask4 = convert::mask(Family::V4, wanted.source_length4);
        settings.source_mask6 = convert::mask(Family::V6, wanted.source_length6);
        self.write_settings(settings)
    }

    /// Sets whether a destination is exempt: packets to it are never steered or dropped.
    ///
    /// # Errors
    /// The map of exempt destinations is full, or a map cannot be read or written.
    pub fn set_exempt(&mut self, destination: IpNet, exempt: bool) -> Result<(), BpfError> {
        let destination = destination.trunc();
        let key = convert::prefix_key(destination);
        if !exempt {
            removed(self.exempt.remove(&key))
                .map_err(|cause| map_write_error(names::EXEMPT, destination, cause))?;
            return self.refresh_lookup_filters();
        }
        // First the filter that makes programs look up the destination: without it they would
        // ignore the new entry.
        let mut settings = self.settings()?;
        settings.exempt.add(
            convert::family_of(destination.addr()),
            convert::address(destination.addr()),
            destination.prefix_len(),
        );
        self.write_settings(settings)?;
        let result = self.exempt.insert(&key, 1u32, 0);
        let capacity = self.capacity(names::EXEMPT);
        inserted("exemptions", capacity, destination, result)
    }

    /// The settings as the programs read them.
    pub(super) fn settings(&self) -> Result<Settings, BpfError> {
        self.settings
            .get(&0, 0)
            .map_err(|cause| BpfError::map(format!("read {}", names::SETTINGS), cause))
    }

    /// Makes programs look up the prefixes.
    pub(super) fn enable_prefixes(&mut self) -> Result<(), BpfError> {
        let mut settings = self.settings()?;
        settings.prefixes = 1;
        self.write_settings(settings)
    }

    /// Sets the flags with which the programs skip lookups that would find nothing, from what the
    /// maps contain now.
    pub(super) fn refresh_lookup_filters(&mut self) -> Result<(), BpfError> {
        let mut settings = self.settings()?;
        settings.prefixes = u32::from(self.prefixes.keys().next().is_some());
        settings.exempt = ExemptFilter::default();
        let exempt = trie_entries(&self.exempt)
            .map_err(|cause| BpfError::map(format!("read {}", names::EXEMPT), cause))?;
        for (key, _) in exempt {
            if let Some(net) = convert::prefix(&key) {
                let (family, address) = (convert::family_of(net.addr()), net.addr());
                settings
                    .exempt
                    .add(family, convert::address(address), net.prefix_len());
            }
        }
        self.write_settings(settings)
    }

    fn write_settings(&mut self, new: Settings) -> Result<(), BpfError> {
        if self.settings()? == new {
            return Ok(());
        }
        self.settings
            .set(0, new, 0)
            .map_err(|cause| BpfError::map(format!("write {}", names::SETTINGS), cause))
    }
}
