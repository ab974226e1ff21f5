//! What the programs are told, one item at a time.

use aya::maps::MapError;
use eni_steer_common::{ExemptFilter, Family, NO_ENI, Owner, names};
use ipnet::IpNet;

use super::{
    convert,
    error::BpfError,
    maps::{Maps, removed, trie_entries},
};
use eni_steer_core::model;

/// Nanoseconds of CLOCK_BOOTTIME: they go on while the machine sleeps, and start anew with
/// bpffs.
pub(super) fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map(std::time::Duration::from)
        .unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn map_write_error(
    name: &'static str,
    object: impl std::fmt::Display,
    result: Result<(), MapError>,
) -> Result<(), BpfError> {
    result.map_err(|cause| BpfError::map(format!("write {object} to {name}"), cause))
}

impl Maps {
    /// Sets what holds for all ENIs.
    pub fn set_settings(&mut self, wanted: &model::Settings) -> Result<(), BpfError> {
        let mut settings = self.raw_settings()?;
        let (mark, mask) = wanted.exempt_mark.unwrap_or_default();
        settings.exempt_mark = mark;
        settings.exempt_mask = mask;
        settings.events_per_second = wanted.events_per_second;
        settings.source_mask4 = convert::mask(Family::V4, wanted.source_length4);
        settings.source_mask6 = convert::mask(Family::V6, wanted.source_length6);
        self.set_raw_settings(settings)
    }

    /// Sets who owns an address (a host prefix) or a delegated prefix; `None`: nobody.
    pub fn set_owner(&mut self, net: IpNet, owner: Option<model::Owner>) -> Result<(), BpfError> {
        let net = net.trunc();
        let eni = match owner {
            None => return self.remove_owner(net),
            Some(model::Owner::Ambiguous) => NO_ENI,
            Some(model::Owner::Eni(ifindex)) => self.known_slot(ifindex)?.0,
        };
        let old = self.owner(net)?;
        if old.is_some_and(|old| old.eni == eni) {
            return Ok(());
        }
        let new = Owner::new(self.address_slot(net, eni)?, eni);
        if is_host(net) {
            let result = match net {
                IpNet::V4(net) => self.owners4.insert(net.addr().octets(), new, 0),
                IpNet::V6(net) => self.owners6.insert(net.addr().octets(), new, 0),
            };
            full("addresses", self.capacity(names::OWNERS4), result, net)?;
        } else {
            // First the flag: an entry that is not looked up would be a silent hole.
            let mut settings = self.raw_settings()?;
            settings.prefixes = 1;
            self.set_raw_settings(settings)?;
            let result = self.prefixes.insert(&convert::prefix_key(net), new, 0);
            full("prefixes", self.capacity(names::PREFIXES), result, net)?;
        }
        match old {
            Some(old) => self.release_address(old),
            None => Ok(()),
        }
    }

    pub(super) fn remove_owner(&mut self, net: IpNet) -> Result<(), BpfError> {
        let Some(old) = self.owner(net)? else {
            return Ok(());
        };
        let result = if is_host(net) {
            match net {
                IpNet::V4(net) => self.owners4.remove(&net.addr().octets()),
                IpNet::V6(net) => self.owners6.remove(&net.addr().octets()),
            }
        } else {
            self.prefixes.remove(&convert::prefix_key(net))
        };
        map_write_error("the owners", net, removed(result))?;
        self.release_address(old)?;
        if is_host(net) {
            Ok(())
        } else {
            self.refresh_flags()
        }
    }

    /// Sets whether packets to a destination are never touched.
    pub fn set_exempt(&mut self, destination: IpNet, exempt: bool) -> Result<(), BpfError> {
        let destination = destination.trunc();
        let key = convert::prefix_key(destination);
        if exempt {
            // First the filter: an entry that is not looked up would be a silent hole.
            let mut settings = self.raw_settings()?;
            settings.exempt.add(
                convert::family_of(destination.addr()),
                convert::address(destination.addr()),
                destination.prefix_len(),
            );
            self.set_raw_settings(settings)?;
            let result = self.exempt.insert(&key, 1u32, 0);
            full(
                "exemptions",
                self.capacity(names::EXEMPT),
                result,
                destination,
            )
        } else {
            map_write_error(
                names::EXEMPT,
                destination,
                removed(self.exempt.remove(&key)),
            )?;
            self.refresh_flags()
        }
    }

    /// The owner entry of exactly this address or prefix.
    pub(super) fn owner(&self, net: IpNet) -> Result<Option<Owner>, BpfError> {
        let found = if is_host(net) {
            match net {
                IpNet::V4(net) => self.owners4.get(&net.addr().octets(), 0),
                IpNet::V6(net) => self.owners6.get(&net.addr().octets(), 0),
            }
        } else {
            // A look-up would find a shorter prefix as well.
            let wanted = convert::prefix_key(net);
            let entry = self.prefixes.iter().find(|entry| match entry {
                Ok((key, _)) => {
                    key.prefix_len() == wanted.prefix_len() && key.data() == wanted.data()
                }
                Err(_) => true,
            });
            entry.map_or(Err(MapError::KeyNotFound), |entry| {
                entry.map(|(_, owner)| owner)
            })
        };
        match found {
            Ok(owner) => Ok(Some(owner)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(cause) => Err(BpfError::map(format!("read the owner of {net}"), cause)),
        }
    }

    pub(super) fn raw_settings(&self) -> Result<eni_steer_common::Settings, BpfError> {
        self.settings
            .get(&0, 0)
            .map_err(|cause| BpfError::map(format!("read {}", names::SETTINGS), cause))
    }

    fn set_raw_settings(&mut self, new: eni_steer_common::Settings) -> Result<(), BpfError> {
        if self.raw_settings()? == new {
            return Ok(());
        }
        self.settings
            .set(0, new, 0)
            .map_err(|cause| BpfError::map(format!("write {}", names::SETTINGS), cause))
    }

    /// Brings what saves the programs a look-up into accord with the tables.
    pub(super) fn refresh_flags(&mut self) -> Result<(), BpfError> {
        let read = |name| move |cause| BpfError::map(format!("read {name}"), cause);
        let mut settings = self.raw_settings()?;
        settings.prefixes = u32::from(self.prefixes.keys().next().is_some());
        settings.exempt = ExemptFilter::default();
        for (key, _) in trie_entries(&self.exempt).map_err(read(names::EXEMPT))? {
            if let Some(net) = convert::prefix(&key) {
                let (family, address) = (convert::family_of(net.addr()), net.addr());
                settings
                    .exempt
                    .add(family, convert::address(address), net.prefix_len());
            }
        }
        self.set_raw_settings(settings)
    }
}

/// An address rather than a prefix.
pub(super) fn is_host(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// Tells a full table from other failures.
pub(super) fn full(
    what: &'static str,
    capacity: u32,
    result: Result<(), MapError>,
    object: impl std::fmt::Display,
) -> Result<(), BpfError> {
    match result {
        Err(MapError::SyscallError(e))
            if matches!(e.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) =>
        {
            Err(BpfError::Full { what, capacity })
        }
        other => map_write_error(what, object, other),
    }
}
