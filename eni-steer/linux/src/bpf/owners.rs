//! Writes which ENI owns an address or a delegated prefix.

use aya::maps::MapError;
use eni_steer_common::{NO_ENI, Owner, names};
use eni_steer_core::model;
use ipnet::IpNet;

use super::{
    convert,
    error::BpfError,
    handles::Maps,
    values::{inserted, map_write_error, removed},
};

impl Maps {
    /// Sets the owner of an address (a prefix of full length) or of a delegated prefix; `None`
    /// removes it.
    ///
    /// # Errors
    /// The maps have no row for the owning ENI, a map is full, or it cannot be read or written.
    pub fn set_owner(&mut self, net: IpNet, owner: Option<model::Owner>) -> Result<(), BpfError> {
        let net = net.trunc();
        let eni = match owner {
            None => return self.remove_owner(net),
            Some(model::Owner::Ambiguous) => NO_ENI,
            Some(model::Owner::Eni(ifindex)) => self.require_eni_row(ifindex)?.0,
        };
        let old = self.owner(net)?;
        if old.is_some_and(|old| old.eni == eni) {
            return Ok(());
        }
        let new = Owner::new(self.address_slot(net, eni)?, eni);
        if is_address(net) {
            let result = match net {
                IpNet::V4(net) => self.owners4.insert(net.addr().octets(), new, 0),
                IpNet::V6(net) => self.owners6.insert(net.addr().octets(), new, 0),
            };
            inserted("addresses", self.capacity(names::OWNERS4), net, result)?;
        } else {
            // First the flag that makes programs look up prefixes: without it they would ignore the
            // new entry.
            self.enable_prefixes()?;
            let result = self.prefixes.insert(&convert::prefix_key(net), new, 0);
            inserted("prefixes", self.capacity(names::PREFIXES), net, result)?;
        }
        match old {
            Some(old) => self.release_address(old),
            None => Ok(()),
        }
    }

    /// Removes the owner of an address or prefix; does nothing if it has none.
    pub(super) fn remove_owner(&mut self, net: IpNet) -> Result<(), BpfError> {
        let Some(old) = self.owner(net)? else {
            return Ok(());
        };
        let result = if is_address(net) {
            match net {
                IpNet::V4(net) => self.owners4.remove(&net.addr().octets()),
                IpNet::V6(net) => self.owners6.remove(&net.addr().octets()),
            }
        } else {
            self.prefixes.remove(&convert::prefix_key(net))
        };
        removed(result).map_err(|cause| map_write_error("the owners", net, cause))?;
        self.release_address(old)?;
        if is_address(net) {
            Ok(())
        } else {
            self.refresh_lookup_filters()
        }
    }

    /// The owner entry of exactly this address or prefix.
    fn owner(&self, net: IpNet) -> Result<Option<Owner>, BpfError> {
        let owner = if is_address(net) {
            match net {
                IpNet::V4(net) => self.owners4.get(&net.addr().octets(), 0),
                IpNet::V6(net) => self.owners6.get(&net.addr().octets(), 0),
            }
        } else {
            // A lookup in the trie would also return the entry of a shorter prefix.
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
        match owner {
            Ok(owner) => Ok(Some(owner)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(cause) => Err(BpfError::map(format!("read the owner of {net}"), cause)),
        }
    }
}

/// Returns whether a prefix is a single address.
fn is_address(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}
