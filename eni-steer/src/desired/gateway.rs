//! The gateway of an ENI: found, never guessed.
//!
//! First hit: the policy; a default route through the ENI in any table that is not ours; a
//! DHCP lease; the gateway that another ENI uses in the very same on-link prefix; what an
//! earlier apply of ours has written down. IPv6 router advertisements show up as default routes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Eni, enis::on_link, routes};
use crate::{
    model::{
        Family, IfIndex, Link, NextHop, Protocol, Route, RouteKind, TableId, any, covers, host,
        link_local,
    },
    observe::Observed,
    policy::{EniPolicy, GatewayChoice, Policy, PrimaryPolicy},
};

/// A gateway and how it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The address.
    pub address: IpAddr,
    /// How it is known.
    pub source: GatewaySource,
}

/// How a gateway is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewaySource {
    /// Flag or configuration.
    Policy,
    /// A default route through the ENI.
    DefaultRoute,
    /// A DHCP lease, in this file.
    Lease(String),
    /// Another ENI of this name uses it in the same on-link prefix.
    SameSubnet(String),
    /// What an earlier apply has written down; where that knew it from is gone.
    Earlier,
}

impl Eni {
    /// Whether an address is a neighbour by the ENI's own addresses, or link-local.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        (address.is_ipv6() && link_local(address))
            || self
                .on_link(Family::of(address))
                .iter()
                .any(|net| covers(*net, host(address)))
    }
}

/// Whether the gateway of some address of an interface is known with nobody naming it.
pub(super) fn known_without_policy(seen: &Observed, policy: &Policy, index: IfIndex) -> bool {
    let ours = policy.ownership.protocol;
    // A primary that is only observed has no table: a default of ours in one is a leftover.
    let best_of_main = |family| {
        let defaults = routes::defaults_of_main(seen, policy, family);
        let best = defaults.min_by_key(|route| route.metric);
        best.is_some_and(|route| route.hops.first().is_some_and(|hop| hop.out == index))
    };
    let observed = policy.primary == PrimaryPolicy::Observe;
    let main_serves = observed && Family::BOTH.into_iter().any(best_of_main);
    let has_table = policy.rules && !main_serves;
    let defaults = default_routes(seen);
    let known = |family| {
        written_down(seen, &defaults, ours, index, family)
            .or_else(|| earlier_answer(seen, &defaults, policy, index, family, has_table))
            .is_some()
    };
    let has = |family| {
        let mut addresses = seen.usable_addresses(index);
        addresses.any(|address| address.family() == family)
    };
    Family::BOTH
        .into_iter()
        .any(|family| has(family) && known(family))
}

/// The on-link prefixes of an interface that its gateway serves: another ENI on one of them
/// has the same gateway.
pub(super) fn served(
    seen: &Observed,
    policy: &Policy,
    index: IfIndex,
    wanted: &EniPolicy,
) -> Vec<IpNet> {
    let ours = policy.ownership.protocol;
    let defaults = default_routes(seen);
    let of_family = |family| {
        let on_link = on_link(seen.usable_addresses(index), family);
        let gateway = from_policy(&on_link, wanted, family)
            .or_else(|| written_down(seen, &defaults, ours, index, family));
        let reached = move |net: &IpNet| {
            gateway
                .as_ref()
                .is_some_and(|gateway| reaches(*net, gateway.address))
        };
        on_link.into_iter().filter(reached)
    };
    Family::BOTH.into_iter().flat_map(of_family).collect()
}

/// Whether a gateway is on the link of a prefix. A link-local router is on the link of each
/// prefix of its interface.
fn reaches(net: IpNet, gateway: IpAddr) -> bool {
    (gateway.is_ipv6() && link_local(gateway)) || covers(net, host(gateway))
}

/// Fills in the gateways of all ENIs.
pub(super) fn find_all(
    seen: &Observed,
    policy: &Policy,
    chosen: &[(&Link, EniPolicy)],
    enis: &mut [Eni],
) {
    let ours = policy.ownership.protocol;
    let defaults = default_routes(seen);
    for (eni, (_, wanted)) in enis.iter_mut().zip(chosen) {
        for family in Family::BOTH {
            let gateway = from_policy(&eni.on_link(family), wanted, family)
                .or_else(|| written_down(seen, &defaults, ours, eni.index, family));
            eni.gateways.extend(gateway);
        }
    }
    let known: Vec<(String, IpNet, IpAddr)> = enis
        .iter()
        .flat_map(|eni| {
            eni.gateways.iter().flat_map(|gateway| {
                eni.on_link(Family::of(gateway.address))
                    .into_iter()
                    .filter(|net| reaches(*net, gateway.address))
                    .map(|net| (eni.name.clone(), net, gateway.address))
            })
        })
        .collect();
    for eni in enis {
        for family in Family::BOTH {
            if eni.gateway(family).is_some() {
                continue;
            }
            let on_link = eni.on_link(family);
            let shared = known.iter().find(|(_, net, _)| on_link.contains(net));
            let has_table = policy.rules && eni.ruled && eni.up;
            let gateway = shared
                .map(|(name, _, address)| Gateway {
                    address: *address,
                    source: GatewaySource::SameSubnet(name.clone()),
                })
                .or_else(|| {
                    // Of a family it has no address of, nothing is kept.
                    earlier_answer(seen, &defaults, policy, eni.index, family, has_table)
                        .filter(|_| eni.has(family))
                });
            eni.gateways.extend(gateway);
        }
    }
}

fn from_policy(on_link: &BTreeSet<IpNet>, wanted: &EniPolicy, family: Family) -> Option<Gateway> {
    let address = wanted.gateways.iter().find_map(|choice| {
        let net = || match on_link.first() {
            Some(IpNet::V4(net)) => Some(*net),
            _ => None,
        };
        let at = |address: u32| Some(IpAddr::V4(Ipv4Addr::from(address)));
        match choice {
            GatewayChoice::Address(address) => Some(*address),
            GatewayChoice::First => at(u32::from(net()?.network()).saturating_add(1)),
            GatewayChoice::Last => at(u32::from(net()?.broadcast()).saturating_sub(2)),
        }
        .filter(|address| Family::of(*address) == family)
    })?;
    Some(Gateway {
        address,
        source: GatewaySource::Policy,
    })
}

/// From a default route that is not ours, or from a lease.
fn written_down(
    seen: &Observed,
    defaults: &[&Route],
    ours: Protocol,
    index: IfIndex,
    family: Family,
) -> Option<Gateway> {
    default_route(defaults, index, family, |protocol| protocol != ours).or_else(|| {
        let lease = seen
            .leases
            .iter()
            .find(|lease| lease.index == index && Family::of(lease.gateway) == family)?;
        Some(Gateway {
            address: lease.gateway,
            source: GatewaySource::Lease(lease.file.clone()),
        })
    })
}

/// From our own default route, or from what the programs were told: the kernel drops the
/// routes of a link that goes down, and with them the only other place that may have named
/// the gateway. It only repeats an earlier answer: asked last, it keeps a table alive when
/// the origin is gone, and never overrules a new one. An answer that the next plan would
/// delete is no answer.
fn earlier_answer(
    seen: &Observed,
    defaults: &[&Route],
    policy: &Policy,
    index: IfIndex,
    family: Family,
    has_table: bool,
) -> Option<Gateway> {
    let ours = policy.ownership.protocol;
    let route = default_route(defaults, index, family, |protocol| protocol == ours);
    route
        .filter(|_| has_table)
        .map(|gateway| Gateway {
            source: GatewaySource::Earlier,
            ..gateway
        })
        .or_else(|| told(seen, index, family).filter(|_| policy.programs))
}

/// The gateway the programs were told for the interface that has this index still.
fn told(seen: &Observed, index: IfIndex, family: Family) -> Option<Gateway> {
    match seen.datapath.next_hops.get(&(index, any(family)))? {
        NextHop::Via { gateway, .. }
            if same_as_told(seen, index) && Family::of(*gateway) == family =>
        {
            Some(Gateway {
                address: *gateway,
                source: GatewaySource::Earlier,
            })
        }
        _ => None,
    }
}

/// Whether the interface of this index is the ENI the programs were told of.
pub(super) fn same_as_told(seen: &Observed, index: IfIndex) -> bool {
    let mac = seen.links.get(&index).and_then(|link| link.mac);
    let told = seen.datapath.enis.get(&index).map(|row| row.mac);
    mac.is_some() && mac == told
}

/// The default routes of all tables: among thousands of routes they are few.
fn default_routes(seen: &Observed) -> Vec<&Route> {
    let routes = seen.routes.iter();
    routes
        .filter(|route| route.is_default() && route.kind == RouteKind::Unicast)
        .collect()
}

fn default_route(
    defaults: &[&Route],
    index: IfIndex,
    family: Family,
    made_by: impl Fn(Protocol) -> bool,
) -> Option<Gateway> {
    defaults
        .iter()
        .copied()
        .filter(|route| route.family() == family && made_by(route.protocol))
        .filter_map(|route| Some((route, route.hop_by(index)?.gateway?)))
        .filter(|(_, gateway)| Family::of(*gateway) == family)
        .min_by_key(|(route, _)| (route.table != TableId::MAIN, route.metric))
        .map(|(_, address)| Gateway {
            address,
            source: GatewaySource::DefaultRoute,
        })
}
