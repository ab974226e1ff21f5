//! What the programs are told: who owns what, and how each ENI reaches the world.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{Context, Eni, WantedAttachment, WantedDatapath};
use crate::model::{EniRow, Hook, NextHop, Owner, Route, host_prefix, link_local};

/// Metadata services, never steered: the answer must come from the ENI that asked.
/// 169.254.0.0/16 (AWS, Azure, GCP, OCI) is link-local and exempt as such.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba Cloud
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // OCI
];

/// Who owns each address and prefix. Two ENIs with the same one: nobody does.
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

/// The next hops of a table, the best route of each destination.
fn next_hops(table: &[Route]) -> BTreeMap<IpNet, NextHop> {
    let mut best: BTreeMap<IpNet, &Route> = BTreeMap::new();
    for route in table.iter().filter(|route| route.tos == 0) {
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
        for (net, next_hop) in next_hops(table) {
            wanted.next_hops.insert((eni.index, net), next_hop);
        }
    }
    wanted
}
