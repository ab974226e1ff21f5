//! The gateway of an ENI. eni-steer finds it and never guesses it.
//!
//! For each family, the first of these sources that knows a gateway wins:
//!
//! 1. the policy (`--gateway eth1=172.16.20.253`, or `first` / `last` address of the subnet);
//! 2. a default route through the ENI, in any table, that is not eni-steer's own. The routes that
//!    the kernel makes from IPv6 router advertisements are among these;
//! 3. the DHCP lease of the ENI; if several leases contradict each other, the one whose gateway is in
//!    use already;
//! 4. a route of the main table by which the ENI reaches its own subnet through a router, as the
//!    agents of Google's cloud add it for an address without an on-link prefix;
//! 5. the gateway that another ENI uses in exactly the same on-link prefix;
//! 6. the answer of an earlier `apply`, which eni-steer's own default route or the programs' maps
//!    still have.
//!
//! For example, eth0 and eth1 are both in 172.16.20.0/24, and only eth0 has a default route, via
//! 172.16.20.253. eth1 gets the same gateway from source 5. If an administrator then deletes eth0's
//! default route, eth1 keeps its gateway from source 6.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{
    context::Context,
    eni::{Eni, Gateway, GatewaySource, on_link, subnets},
    routes,
};
use crate::{
    model::{
        Address, Family, IfIndex, Lease, Link, NextHop, Protocol, Route, RouteKind, TableId, any,
        covers, host_prefix, link_local,
    },
    policy::{EniPolicy, GatewayChoice, PrimaryPolicy},
};

/// Whether eni-steer knows a gateway of an interface although the policy does not name the
/// interface. Such an interface can be an ENI that eni-steer discovers.
pub(super) fn is_known_without_policy(cx: &Context<'_>, index: IfIndex) -> bool {
    // An interface by which a default route of main leaves can be the primary, which uses the main
    // table and has no default route in a table of its own. If one of eni-steer's routes is there,
    // it may be a leftover that the plan removes, so it is no source of a gateway.
    let may_use_main = |family| {
        let mut defaults = routes::defaults_of_main(cx, family);
        cx.policy.primary != PrimaryPolicy::Full
            && defaults.any(|route| route.hop_by(index).is_some())
    };
    let defaults = default_routes(cx);
    let is_known = |family| {
        let keeps_table = cx.policy.rules && !may_use_main(family);
        from_route_or_lease(cx, &defaults, index, family)
            .or_else(|| from_earlier_apply(cx, &defaults, index, family, keeps_table))
            // The plan drops a gateway that is an own address, so it would not be known again.
            .is_some_and(|gateway| cx.host.addresses.iter().all(|a| a.ip() != gateway.address))
    };
    let has_address = |family| {
        cx.host
            .usable_addresses(index)
            .any(|address| address.family() == family)
    };
    Family::BOTH
        .into_iter()
        .any(|family| has_address(family) && is_known(family))
}

/// The on-link prefixes of an interface that contain its gateway. Another interface in one of these
/// prefixes can use the same gateway.
pub(super) fn served_prefixes(cx: &Context<'_>, index: IfIndex, wanted: &EniPolicy) -> Vec<IpNet> {
    let defaults = default_routes(cx);
    let of_family = |family| {
        let on_link = on_link(cx.host, &cx.policy.ownership, index, family);
        let subnets = subnets(cx.host.usable_addresses(index), family);
        let gateway = from_policy(&subnets, wanted, family)
            .or_else(|| from_route_or_lease(cx, &defaults, index, family));
        let is_served = move |net: &IpNet| {
            gateway
                .as_ref()
                .is_some_and(|gateway| is_on_link(*net, gateway.address))
        };
        on_link.into_iter().filter(is_served)
    };
    Family::BOTH.into_iter().flat_map(of_family).collect()
}

/// Whether hosts in a prefix have the gateway as a neighbour. A link-local router is a neighbour of
/// every host on the interface.
fn is_on_link(net: IpNet, gateway: IpAddr) -> bool {
    (gateway.is_ipv6() && link_local(gateway)) || covers(net, host_prefix(gateway))
}

/// Finds the gateways of all ENIs and stores them there. `chosen` has the ENIs in the same order.
pub(super) fn find_all(cx: &Context<'_>, chosen: &[(&Link, EniPolicy)], enis: &mut [Eni]) {
    let defaults = default_routes(cx);
    for (eni, (_, wanted)) in enis.iter_mut().zip(chosen) {
        for family in Family::BOTH {
            let gateway = from_policy(&subnets(&eni.addresses, family), wanted, family)
                .or_else(|| from_route_or_lease(cx, &defaults, eni.index, family));
            eni.gateways.extend(gateway);
        }
    }
    // Only now are the gateways known that other ENIs of the same subnet can share.
    let shared = served_by_enis(enis);
    for eni in enis {
        for family in Family::BOTH {
            if eni.gateway(family).is_some() {
                continue;
            }
            let on_link = eni.on_link(family);
            let keeps_table = cx.policy.rules && eni.has_table(family) && eni.up;
            let gateway = shared
                .iter()
                .find(|(_, net, _)| on_link.contains(net))
                .map(|(name, _, address)| Gateway {
                    address: *address,
                    source: GatewaySource::SameSubnet(name.clone()),
                })
                .or_else(|| {
                    from_earlier_apply(cx, &defaults, eni.index, family, keeps_table)
                        .filter(|_| eni.has(family))
                });
            eni.gateways.extend(gateway);
        }
    }
}

/// Each on-link prefix that contains the gateway of its ENI: name of the ENI, prefix, gateway.
fn served_by_enis(enis: &[Eni]) -> Vec<(String, IpNet, IpAddr)> {
    let mut served = Vec::new();
    for eni in enis {
        for gateway in &eni.gateways {
            for net in eni.on_link(Family::of(gateway.address)) {
                if is_on_link(net, gateway.address) {
                    served.push((eni.name.clone(), net, gateway.address));
                }
            }
        }
    }
    served
}

/// The gateway that the policy names, or the address that it picks from the first IPv4 subnet: of 172.16.20.0/24, `first` is 172.16.20.1 and `last` is 172.16.20.253.
fn from_policy(subnets: &BTreeSet<IpNet>, wanted: &EniPolicy, family: Family) -> Option<Gateway> {
    let net = || match subnets.first() {
        Some(IpNet::V4(net)) => Some(*net),
        _ => None,
    };
    let ip = |address: u32| IpAddr::V4(Ipv4Addr::from(address));
    let address = |choice: &GatewayChoice| match choice {
        GatewayChoice::Address(address) => Some(*address),
        GatewayChoice::First => Some(ip(u32::from(net()?.network()).saturating_add(1))),
        GatewayChoice::Last => Some(ip(u32::from(net()?.broadcast()).saturating_sub(2))),
    };
    let address = wanted
        .gateways
        .iter()
        .filter_map(address)
        .find(|address| Family::of(*address) == family)?;
    Some(Gateway {
        address,
        source: GatewaySource::Policy,
    })
}

/// The gateway in a default route that is not eni-steer's own, else the one in a DHCP lease, else
/// the one in the route to the interface's own subnet.
fn from_route_or_lease(
    cx: &Context<'_>,
    defaults: &[&Route],
    index: IfIndex,
    family: Family,
) -> Option<Gateway> {
    let ours = cx.policy.ownership.protocol;
    let from_lease = || {
        let leases = cx.host.leases.iter();
        let leases = leases
            .filter(|lease| lease.index == index && Family::of(lease.gateway) == family)
            .collect::<Vec<_>>();
        // Where leases contradict each other, the gateway that is in use stays.
        let in_use = from_default_route(defaults, index, family, |protocol| protocol == ours)
            .or_else(|| programmed_gateway(cx, index, family));
        let is_in_use = |lease: &&&Lease| {
            in_use
                .as_ref()
                .is_some_and(|now| now.address == lease.gateway)
        };
        let lease = leases.iter().find(is_in_use).or(leases.first())?;
        Some(Gateway {
            address: lease.gateway,
            source: GatewaySource::Lease(lease.file.clone()),
        })
    };
    from_default_route(defaults, index, family, |protocol| protocol != ours)
        .or_else(from_lease)
        .or_else(|| from_subnet_route(cx, index, family))
}

/// The gateway of the main table's longest route through an interface that contains one of the
/// interface's own addresses. Who is in a network and reaches it only through a router, has that
/// router for everything else too.
fn from_subnet_route(cx: &Context<'_>, index: IfIndex, family: Family) -> Option<Gateway> {
    let own: Vec<IpAddr> = cx
        .host
        .usable_addresses(index)
        .map(Address::ip)
        .filter(|address| Family::of(*address) == family)
        .collect();
    let candidates = cx.host.routes.iter().filter(|route| {
        let contains_own = || {
            own.iter()
                .any(|ip| covers(route.destination, host_prefix(*ip)))
        };
        route.table == TableId::MAIN
            && route.kind == RouteKind::Unicast
            && !route.is_default()
            && route.family() == family
            && !cx.policy.ownership.route(route)
            && route.hop_by(index).is_some()
            && contains_own()
    });
    let longest = candidates.max_by_key(|route| (route.destination.prefix_len(), !route.metric))?;
    let address = longest.hop_by(index)?.gateway?;
    (Family::of(address) == family && !own.contains(&address)).then_some(Gateway {
        address,
        source: GatewaySource::SubnetRoute(longest.destination),
    })
}

/// The gateway that an earlier `apply` found, from eni-steer's own default route or from the
/// programs' maps.
///
/// When an interface goes down, the kernel drops its routes, which may have been the only source of
/// the gateway. This answer keeps the table and the maps in place until the source is back. It
/// comes last, so a new source always wins.
///
/// `keeps_table` and the policy's `programs` say whether the next plan keeps the route or the maps.
/// If not, the answer would be gone after that plan, so it does not count now.
fn from_earlier_apply(
    cx: &Context<'_>,
    defaults: &[&Route],
    index: IfIndex,
    family: Family,
    keeps_table: bool,
) -> Option<Gateway> {
    let ours = cx.policy.ownership.protocol;
    from_default_route(defaults, index, family, |protocol| protocol == ours)
        .filter(|_| keeps_table)
        .map(|gateway| Gateway {
            source: GatewaySource::Earlier,
            ..gateway
        })
        .or_else(|| programmed_gateway(cx, index, family).filter(|_| cx.policy.programs))
}

/// The gateway in the programs' maps, if the interface with this index is still the same ENI.
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

/// Whether the programs' maps hold the interface with this index, by the same MAC address. The
/// kernel may have given the index to another interface since.
pub(super) fn is_programmed(cx: &Context<'_>, index: IfIndex) -> bool {
    let mac = cx.host.links.get(&index).and_then(|link| link.mac);
    let programmed = cx.host.datapath.enis.get(&index).map(|row| row.mac);
    mac.is_some() && mac == programmed
}

/// The default routes of all tables: a few among perhaps thousands of routes.
fn default_routes<'a>(cx: &Context<'a>) -> Vec<&'a Route> {
    let routes = cx.host.routes.iter();
    routes
        .filter(|route| route.is_default() && route.kind == RouteKind::Unicast)
        .collect()
}

/// The gateway in the best default route through an interface, among the routes whose protocol
/// number fits.
fn from_default_route(
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
        .min_by_key(|(route, _)| routes::precedence(route))
        .map(|(_, address)| Gateway {
            address,
            source: GatewaySource::DefaultRoute,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Absence, Desired},
        fake::fake_host,
        model::Host,
        policy::Policy,
    };

    /// As Google's agents set up a second interface: an address without an on-link prefix.
    fn host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.30.177/32"])
            .route("default via 172.16.20.253 dev eth0")
            .route("172.16.30.253 dev eth1 scope link")
    }

    fn gateway(host: &Host) -> Option<Gateway> {
        let desired = Desired::for_host(host, &Policy::default(), Absence::Error, 1)
            .unwrap_or_else(|error| panic!("{error}"));
        let eth1 = desired.enis.iter().find(|eni| eni.name == "eth1")?;
        eth1.gateway(Family::V4).cloned()
    }

    #[test]
    fn the_route_to_its_own_subnet_names_the_gateway_of_an_eni() {
        let subnet = "172.16.30.0/24 via 172.16.30.253 dev eth1";
        let found = gateway(&host().route(subnet)).expect("a gateway");
        assert_eq!(found.address.to_string(), "172.16.30.253");
        let net = "172.16.30.0/24".parse().expect("a prefix");
        assert_eq!(found.source, GatewaySource::SubnetRoute(net));
        let default = host()
            .route(subnet)
            .route("default via 172.16.30.9 dev eth1 metric 200");
        let found = gateway(&default).expect("a gateway");
        assert_eq!(found.address.to_string(), "172.16.30.9", "a default first");
        let wider = host()
            .route("172.16.0.0/16 via 172.16.30.9 dev eth1")
            .route(subnet);
        let found = gateway(&wider).expect("a gateway");
        assert_eq!(found.address.to_string(), "172.16.30.253", "the longest");
    }

    #[test]
    fn an_own_address_as_a_gateway_makes_no_interface_an_eni() {
        let host = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.30.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.30.177 dev eth1 metric 200");
        let desired = Desired::for_host(&host, &Policy::default(), Absence::Wait, 1)
            .unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<_> = desired.enis.iter().map(|eni| &eni.name).collect();
        assert_eq!(names, ["eth0"]);
    }

    #[test]
    fn a_route_to_another_network_names_no_gateway() {
        for words in [
            "10.0.0.0/8 via 172.16.30.253 dev eth1",
            "172.16.30.0/24 via 172.16.20.253 dev eth0",
            "172.16.30.0/24 via 172.16.30.253 dev eth1 table 100",
            "172.16.30.0/24 via 172.16.30.253 dev eth1 proto 229",
            "172.16.30.0/24 dev eth1",
            "172.16.30.0/24 via 172.16.30.177 dev eth1",
        ] {
            assert_eq!(gateway(&host().route(words)), None, "{words}");
        }
    }
}
