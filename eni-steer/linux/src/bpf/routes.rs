//! Writes each ENI's table of next hops: into a trie, and into a short copy that the programs
//! search first.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use eni_steer_common::{NextHop, SHORT, ShortRoute, ShortTable, names};
use ipnet::IpNet;

use super::{
    convert,
    error::BpfError,
    handles::Maps,
    values::{inserted, map_write_error, removed, trie_entries},
};
use eni_steer_core::model::{self, Family, IfIndex, link_local};

impl Maps {
    /// Sets the next hop of an ENI for a destination; `None` removes it.
    ///
    /// # Errors
    /// The maps have no row for the ENI, the map of next hops is full, or a map cannot be read or
    /// written.
    pub fn set_next_hop(
        &mut self,
        ifindex: IfIndex,
        destination: IpNet,
        hop: Option<model::NextHop>,
    ) -> Result<(), BpfError> {
        let destination = destination.trunc();
        let slot = match (self.find_eni_row(ifindex)?, hop) {
            (Some((slot, _)), _) => slot,
            // The ENI was released, and its next hops with it.
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                return Err(BpfError::UnknownEni {
                    ifindex: ifindex.get(),
                });
            }
        };
        let hop = hop.map(convert::next_hop);
        let family = Family::of_net(destination);
        if self.table(slot, family)?.get(&destination) == hop.as_ref() {
            return Ok(());
        }
        // Switch the short table off while the trie changes, so that the programs search a complete
        // table at every moment.
        self.use_short_table(slot, family, 0)?;
        let key = convert::destination_key(slot, destination);
        match hop {
            Some(hop) => {
                let result = self.next_hops.insert(&key, hop, 0);
                let capacity = self.capacity(names::NEXTHOPS);
                inserted("next hops", capacity, destination, result)?;
                self.table(slot, family)?.insert(destination, hop);
            }
            None => {
                removed(self.next_hops.remove(&key))
                    .map_err(|cause| map_write_error(names::NEXTHOPS, destination, cause))?;
                self.table(slot, family)?.remove(&destination);
            }
        }
        self.write_short_table(slot, family)
    }

    /// Removes all next hops of an ENI slot.
    pub(super) fn remove_table(&mut self, slot: u16) -> Result<(), BpfError> {
        for family in Family::BOTH {
            self.use_short_table(slot, family, 0)?;
            self.writer.tables.remove(&(slot, family));
        }
        let read = |cause| BpfError::map(format!("read {}", names::NEXTHOPS), cause);
        for (key, _) in trie_entries(&self.next_hops).map_err(read)? {
            if let Some((eni, net)) = convert::destination(&key)
                && eni == slot
            {
                removed(self.next_hops.remove(&key))
                    .map_err(|cause| map_write_error(names::NEXTHOPS, net, cause))?;
            }
        }
        Ok(())
    }

    /// The table of an ENI slot, as the trie holds it.
    fn table(
        &mut self,
        slot: u16,
        family: Family,
    ) -> Result<&mut BTreeMap<IpNet, NextHop>, BpfError> {
        if !self.writer.tables.contains_key(&(slot, family)) {
            let read = |cause| BpfError::map(format!("read {}", names::NEXTHOPS), cause);
            let table = trie_entries(&self.next_hops)
                .map_err(read)?
                .into_iter()
                .filter_map(|(key, hop)| Some((convert::destination(&key)?, hop)))
                .filter(|((eni, net), _)| *eni == slot && Family::of_net(*net) == family)
                .map(|((_, net), hop)| (net, hop))
                .collect();
            self.writer.tables.insert((slot, family), table);
        }
        Ok(self.writer.tables.entry((slot, family)).or_default())
    }

    /// Writes the one of the two short tables that is not in use, and makes the programs use it.
    /// Does nothing if the table is too long.
    fn write_short_table(&mut self, slot: u16, family: Family) -> Result<(), BpfError> {
        let Some(short) = short_copy(self.table(slot, family)?) else {
            return Ok(());
        };
        let families = convert::common_family(family);
        let last = self.writer.last_short.entry((slot, family)).or_insert(2);
        *last = 3 - *last;
        let which = *last;
        let index = ShortTable::index(slot, families, which);
        let result = self.short_tables.set(index, short, 0);
        result.map_err(|cause| map_write_error(names::SHORT_TABLES, slot, cause))?;
        self.use_short_table(slot, family, which)
    }

    /// Makes the programs use one of the two short tables (1 or 2), or none (0).
    fn use_short_table(&mut self, slot: u16, family: Family, which: u8) -> Result<(), BpfError> {
        let mut row = self.eni_row(slot)?;
        let short = &mut row.short[convert::common_family(family).index()];
        if *short == which {
            return Ok(());
        }
        if *short != 0 {
            self.writer.last_short.insert((slot, family), *short);
        }
        *short = which;
        self.set_eni_row(slot, row)
    }
}

/// The short copy of a table, sorted by prefix length, the longest first; `None` if the table is
/// too long. Destinations that are never steered (link-local, multicast) are left out.
fn short_copy(table: &BTreeMap<IpNet, NextHop>) -> Option<ShortTable> {
    let mut routes: Vec<_> = table
        .iter()
        .filter(|(net, _)| !is_within(net, link_local) && !is_within(net, |a| a.is_multicast()))
        .collect();
    if routes.len() > SHORT {
        return None;
    }
    routes.sort_by_key(|(net, _)| Reverse(net.prefix_len()));
    let mut short = ShortTable::empty();
    for (place, (net, hop)) in short.routes.iter_mut().zip(routes) {
        *place = ShortRoute {
            destination: convert::address(net.addr()),
            mask: convert::mask(convert::family_of(net.addr()), net.prefix_len()),
            hop: *hop,
        };
    }
    Some(short)
}

/// Returns whether all addresses of a prefix are of a kind. The kind must be one range of
/// addresses, so that it is enough to check the first and the last address.
fn is_within(net: &IpNet, kind: impl Fn(IpAddr) -> bool) -> bool {
    kind(net.network()) && kind(net.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, u32)]) -> BTreeMap<IpNet, NextHop> {
        routes
            .iter()
            .map(|(net, mtu)| {
                let hop = convert::next_hop(model::NextHop::OnLink { mtu: Some(*mtu) });
                (net.parse().expect("a prefix"), hop)
            })
            .collect()
    }

    fn mtu(short: &ShortTable, address: &str) -> Option<u32> {
        let address: IpAddr = address.parse().expect("an address");
        let family = convert::family_of(address);
        short
            .find(family, convert::address(address))
            .map(|hop| hop.mtu)
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let table = table(&[("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.1.0.0/16", 3)]);
        let short = short_copy(&table).expect("short enough");
        assert_eq!(mtu(&short, "10.1.2.3"), Some(3));
        assert_eq!(mtu(&short, "10.2.2.3"), Some(2));
        assert_eq!(mtu(&short, "192.0.2.1"), Some(1));
    }

    #[test]
    fn without_a_default_route_other_destinations_have_no_next_hop() {
        let table = table(&[("fd00:20::/64", 1), ("fe80::/64", 9), ("ff00::/8", 9)]);
        let short = short_copy(&table).expect("short enough");
        assert_eq!(mtu(&short, "fd00:20::1"), Some(1));
        assert_eq!(mtu(&short, "fd00:21::1"), None);
    }

    #[test]
    fn a_prefix_that_is_only_partly_never_steered_is_in_the_copy() {
        let table = table(&[("169.254.0.0/15", 1), ("224.0.0.0/3", 2), ("fe80::/9", 3)]);
        let short = short_copy(&table).expect("short enough");
        assert_eq!(mtu(&short, "169.255.0.1"), Some(1));
        assert_eq!(mtu(&short, "240.0.0.1"), Some(2));
        assert_eq!(mtu(&short, "fec0::1"), Some(3));
    }

    #[test]
    fn a_long_table_has_no_short_copy() {
        let nets = [
            "10.0.0.0/8",
            "11.0.0.0/8",
            "12.0.0.0/8",
            "13.0.0.0/8",
            "14.0.0.0/8",
        ];
        let routes: Vec<_> = nets.iter().map(|net| (*net, 1)).collect();
        assert!(short_copy(&table(&routes[..4])).is_some());
        assert!(short_copy(&table(&routes)).is_none());
    }
}
