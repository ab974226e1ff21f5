//! The contents of the programs' maps: the owner of each address, and how each ENI reaches its
//! destinations.
//!
//! When a packet leaves by one ENI although another one owns its source, the egress program
//! redirects it to the owner. The routing tables may be gone at that moment (a link went down,
//! somebody flushed the rules), so the program does not use them. It looks the destination up in a
//! map, by longest prefix, and that map holds a copy of each ENI's table. For eth1 in
//! 172.16.20.0/24:
//!
//! ```text
//! eth1, 172.16.20.0/24  ->  on-link
//! eth1, 0.0.0.0/0       ->  via 172.16.20.253
//! ```

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{
    context::Context,
    eni::Eni,
    mirror, routes,
    wanted::{WantedAttachment, WantedDatapath},
};
use crate::{
    model::{EniRow, Hook, NextHop, Owner, Route, host_prefix, link_local},
    policy::Mirror,
};

/// Addresses of the clouds' metadata services. The programs never steer packets to them, because
/// the service answers for the ENI that the question came from. The services at 169.254.169.254
/// (AWS, Azure, GCP, OCI) need no entry: the programs never steer packets to link-local addresses.
pub(crate) const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba Cloud
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // OCI
];

/// The owner of each address and delegated prefix. If two ENIs have the same one, it has none.
pub(super) fn owners(enis: &[Eni]) -> BTreeMap<IpNet, Owner> {
    let of_eni = |eni: &'_ Eni| {
        let owner = Owner::Eni(eni.index);
        let nets = eni.owned.iter().copied();
        nets.filter(|net| !link_local(net.addr()))
            .map(move |net| (net, owner))
            .collect::<Vec<_>>()
    };
    let mut owners: Vec<(IpNet, Owner)> = enis.iter().flat_map(of_eni).collect();
    owners.sort_by_key(|(net, _)| *net);
    owners.dedup_by(|(net, _), (kept, owner)| {
        let same = net == kept;
        if same {
            *owner = Owner::Ambiguous;
        }
        same
    });
    owners.into_iter().collect()
}

/// The next hops of a table: for each destination, those of the route with the lowest metric. The
/// programs use the first next hop of a multipath route, and ignore routes for a TOS or for some
/// sources. They cannot put a packet into another one: where a route does, they do not steer.
fn next_hops(table: &[Route]) -> BTreeMap<IpNet, NextHop> {
    let mut best: BTreeMap<IpNet, &Route> = BTreeMap::new();
    for route in table.iter().filter(|route| !routes::is_for_some(route)) {
        best.entry(route.destination)
            .and_modify(|known| {
                if route.metric < known.metric {
                    *known = route;
                }
            })
            .or_insert(route);
    }
    best.into_iter()
        .map(|(net, route)| {
            let next_hop = match route.hops.first() {
                None => NextHop::Refuse,
                Some(hop) if hop.encapsulates() => NextHop::Refuse,
                Some(hop) => match hop.gateway {
                    Some(gateway) => NextHop::Via {
                        gateway,
                        mtu: route.mtu,
                    },
                    None => NextHop::OnLink { mtu: route.mtu },
                },
            };
            (net, next_hop)
        })
        .collect()
}

/// The maps and programs that the host should have. `tables` are the ENIs with their routes,
/// `build` is the hash of the BPF object.
pub(super) fn wanted(
    cx: &Context<'_>,
    tables: &[(&Eni, Vec<Route>)],
    owners: BTreeMap<IpNet, Owner>,
    build: u64,
) -> WantedDatapath {
    let mut wanted = WantedDatapath {
        settings: cx.policy.settings,
        enis: BTreeMap::new(),
        attachments: BTreeMap::new(),
        owners,
        next_hops: BTreeMap::new(),
        exempt: METADATA.into_iter().map(host_prefix).collect(),
    };
    wanted
        .exempt
        .extend(cx.policy.exempt.iter().map(IpNet::trunc));
    for (eni, table) in tables {
        let row = EniRow {
            mac: eni.mac,
            mtu: eni.mtu,
            mode: eni.mode,
            up: eni.up,
        };
        wanted.enis.insert(eni.index, row);
        for hook in Hook::tc_of(eni.index) {
            let program = WantedAttachment {
                kind: cx.policy.attach,
                build,
                log_level: cx.policy.log_level,
            };
            wanted.attachments.insert(hook, program);
        }
        let mut next_hops = next_hops(table);
        if cx.policy.mirror == Mirror::Needed {
            next_hops = mirror::only_needed_next_hops(next_hops);
        }
        for (net, next_hop) in next_hops {
            wanted.next_hops.insert((eni.index, net), next_hop);
        }
    }
    wanted
}
