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

use super::{Context, Eni, discover::on_link, routes};
use crate::{
    model::{
        Family, IfIndex, Link, NextHop, Protocol, Route, RouteKind, TableId, any, covers,
        host_prefix, link_local,
    },
    policy::{EniPolicy, GatewayChoice, PrimaryPolicy},
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
                .any(|net| covers(*net, host_prefix(address)))
    }
}

/// Whether the gateway of some address of an interface is known with nobody naming it.
pub(super) fn known_without_policy(cx: &Context<'_>, index: IfIndex) -> bool {
    let ours = cx.policy.ownership.protocol;
    // A primary that is only observed has no table: a default of ours in one is a leftover.
    let best_of_main = |family| {
        let defaults = routes::defaults_of_main(cx, family);
        let best = defaults.min_by_key(|route| route.metric);
        best.is_some_and(|route| route.hops.first().is_some_and(|hop| hop.out == index))
    };
    let observed = cx.policy.primary == PrimaryPolicy::Observe;
    let main_serves = observed && Family::BOTH.into_iter().any(best_of_main);
    let has_table = cx.policy.rules && !main_serves;
    let defaults = default_routes(cx);
    let known = |family| {
        written_down(cx, &defaults, ours, index, family)
            .or_else(|| earlier_answer(cx, &defaults, index, family, has_table))
            .is_some()
    };
    let has = |family| {
        let mut addresses = cx.host.usable_addresses(index);
        addresses.any(|address| address.family() == family)
    };
    Family::BOTH
        .into_iter()
        .any(|family| has(family) && known(family))
}

/// The on-link prefixes of an interface that its gateway serves: another ENI on one of them
/// has the same gateway.
pub(super) fn served(cx: &Context<'_>, index: IfIndex, wanted: &EniPolicy) -> Vec<IpNet> {
    let ours = cx.policy.ownership.protocol;
    let defaults = default_routes(cx);
    let of_family = |family| {
        let on_link = on_link(cx.host.usable_addresses(index), family);
        let gateway = from_policy(&on_link, wanted, family)
            .or_else(|| written_down(cx, &defaults, ours, index, family));
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
    (gateway.is_ipv6() && link_local(gateway)) || covers(net, host_prefix(gateway))
}

/// Fills in the gateways of all ENIs.
pub(super) fn find_all(cx: &Context<'_>, chosen: &[(&Link, EniPolicy)], enis: &mut [Eni]) {
    let ours = cx.policy.ownership.protocol;
    let defaults = default_routes(cx);
    for (eni, (_, wanted)) in enis.iter_mut().zip(chosen) {
        for family in Family::BOTH {
            let gateway = from_policy(&eni.on_link(family), wanted, family)
                .or_else(|| written_down(cx, &defaults, ours, eni.index, family));
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
            let has_table = cx.policy.rules && eni.has_source_rules && eni.up;
            let gateway = shared
                .map(|(name, _, address)| Gateway {
                    address: *address,
                    source: GatewaySource::SameSubnet(name.clone()),
                })
                .or_else(|| {
                    // Of a family it has no address of, nothing is kept.
                    earlier_answer(cx, &defaults, eni.index, family, has_table)
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
    cx: &Context<'_>,
    defaults: &[&Route],
    ours: Protocol,
    index: IfIndex,
    family: Family,
) -> Option<Gateway> {
    default_route(defaults, index, family, |protocol| protocol != ours).or_else(|| {
        let lease = cx
            .host
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
    cx: &Context<'_>,
    defaults: &[&Route],
    index: IfIndex,
    family: Family,
    has_table: bool,
) -> Option<Gateway> {
    let ours = cx.policy.ownership.protocol;
    let route = default_route(defaults, index, family, |protocol| protocol == ours);
    route
        .filter(|_| has_table)
        .map(|gateway| Gateway {
            source: GatewaySource::Earlier,
            ..gateway
        })
        .or_else(|| programmed_gateway(cx, index, family).filter(|_| cx.policy.programs))
}

/// The gateway the programs were told for the interface that has this index still.
fn programmed_gateway(cx: &Context<'_>, index: IfIndex, family: Family) -> Option<Gateway> {
    match cx.host.datapath.next_hops.get(&(index, any(family)))? {
        NextHop::Via { gateway, .. }
            if is_programmed(cx, index) && Family::of(*gateway) == family =>
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
pub(super) fn is_programmed(cx: &Context<'_>, index: IfIndex) -> bool {
    let mac = cx.host.links.get(&index).and_then(|link| link.mac);
    let told = cx.host.datapath.enis.get(&index).map(|row| row.mac);
    mac.is_some() && mac == told
}

/// The default routes of all tables: among thousands of routes they are few.
fn default_routes<'a>(cx: &Context<'a>) -> Vec<&'a Route> {
    let routes = cx.host.routes.iter();
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
