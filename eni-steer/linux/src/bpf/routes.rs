//! Each ENI's table: the trie, and the short copy that the programs ask first.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use eni_steer_common::{NextHop, SHORT, ShortRoute, ShortTable, names};
use ipnet::IpNet;

use super::{
    convert,
    error::BpfError,
    maps::{Maps, removed, trie_entries},
    write::{full, map_write_error},
};
use eni_steer_core::model::{self, Family, IfIndex, link_local};

impl Maps {
    /// Sets how an ENI's table reaches a destination; `None`: it does not.
    pub fn set_next_hop(
        &mut self,
        ifindex: IfIndex,
        destination: IpNet,
        hop: Option<model::NextHop>,
    ) -> Result<(), BpfError> {
        let destination = destination.trunc();
        let slot = match (self.slot_of(ifindex)?, hop) {
            (Some((slot, _)), _) => slot,
            // The ENI is gone, and its next hops with it.
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
        // The trie first, with nothing else in force meanwhile: at every moment the programs
        // ask a table that is whole.
        self.use_short_table(slot, family, 0)?;
        let key = convert::destination_key(slot, destination);
        match hop {
            Some(hop) => {
                let result = self.next_hops.insert(&key, hop, 0);
                full(
                    "next hops",
                    self.capacity(names::NEXTHOPS),
                    result,
                    destination,
                )?;
                self.table(slot, family)?.insert(destination, hop);
            }
            None => {
                let result = removed(self.next_hops.remove(&key));
                map_write_error(names::NEXTHOPS, destination, result)?;
                self.table(slot, family)?.remove(&destination);
            }
        }
        self.write_short_table(slot, family)
    }

    /// Removes the table of an ENI slot.
    pub(super) fn remove_table(&mut self, slot: u16) -> Result<(), BpfError> {
        for family in Family::BOTH {
            self.use_short_table(slot, family, 0)?;
            self.routes.remove(&(slot, family));
        }
        let read = |cause| BpfError::map(format!("read {}", names::NEXTHOPS), cause);
        for (key, _) in trie_entries(&self.next_hops).map_err(read)? {
            if let Some((eni, net)) = convert::destination(&key)
                && eni == slot
            {
                map_write_error(names::NEXTHOPS, net, removed(self.next_hops.remove(&key)))?;
            }
        }
        Ok(())
    }

    /// The table of an ENI slot as it is in the trie.
    fn table(
        &mut self,
        slot: u16,
        family: Family,
    ) -> Result<&mut BTreeMap<IpNet, NextHop>, BpfError> {
        if !self.routes.contains_key(&(slot, family)) {
            let read = |cause| BpfError::map(format!("read {}", names::NEXTHOPS), cause);
            let table = trie_entries(&self.next_hops)
                .map_err(read)?
                .into_iter()
                .filter_map(|(key, hop)| Some((convert::destination(&key)?, hop)))
                .filter(|((eni, net), _)| *eni == slot && Family::of_net(*net) == family)
                .map(|((_, net), hop)| (net, hop))
                .collect();
            self.routes.insert((slot, family), table);
        }
        Ok(self.routes.entry((slot, family)).or_default())
    }

    /// Writes the short table that is not in force, and puts it in force; none if the table
    /// is too long.
    fn write_short_table(&mut self, slot: u16, family: Family) -> Result<(), BpfError> {
        let Some(short) = short(self.table(slot, family)?) else {
            return Ok(());
        };
        let families = convert::common_family(family);
        let last = self.last_short.entry((slot, family)).or_insert(2);
        *last = 3 - *last;
        let which = *last;
        let index = ShortTable::index(slot, families, which);
        let result = self.short_tables.set(index, short, 0);
        map_write_error(names::SHORT_TABLES, slot, result)?;
        self.use_short_table(slot, family, which)
    }

    fn use_short_table(&mut self, slot: u16, family: Family, which: u8) -> Result<(), BpfError> {
        let mut row = self.eni_row(slot)?;
        let short = &mut row.short[convert::common_family(family).index()];
        if *short == which {
            return Ok(());
        }
        if *short != 0 {
            self.last_short.insert((slot, family), *short);
        }
        *short = which;
        self.set_eni_row(slot, row)
    }
}

/// The short copy of a table, the longest prefix first; `None`: it is too long.
///
/// Destinations that are never steered (link-local, multicast) need no place in it.
fn short(table: &BTreeMap<IpNet, NextHop>) -> Option<ShortTable> {
    let mut routes: Vec<_> = table
        .iter()
        .filter(|(net, _)| !is_whole(net, link_local) && !is_whole(net, |a| a.is_multicast()))
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

/// Whether all addresses of a prefix are of a kind that is one range: then its ends tell.
fn is_whole(net: &IpNet, kind: impl Fn(IpAddr) -> bool) -> bool {
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
        let short = short(&table).expect("short enough");
        assert_eq!(mtu(&short, "10.1.2.3"), Some(3));
        assert_eq!(mtu(&short, "10.2.2.3"), Some(2));
        assert_eq!(mtu(&short, "192.0.2.1"), Some(1));
    }

    #[test]
    fn without_a_default_route_the_rest_is_not_reached() {
        let table = table(&[("fd00:20::/64", 1), ("fe80::/64", 9), ("ff00::/8", 9)]);
        let short = short(&table).expect("short enough");
        assert_eq!(mtu(&short, "fd00:20::1"), Some(1));
        assert_eq!(mtu(&short, "fd00:21::1"), None);
    }

    #[test]
    fn a_prefix_that_only_begins_with_what_is_never_steered_is_in_the_copy() {
        let table = table(&[("169.254.0.0/15", 1), ("224.0.0.0/3", 2), ("fe80::/9", 3)]);
        let short = short(&table).expect("short enough");
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
        assert!(short(&table(&routes[..4])).is_some());
        assert!(short(&table(&routes)).is_none());
    }
}
