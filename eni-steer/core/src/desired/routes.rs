//! The routing table of an ENI: its on-link prefixes, the main table's other routes through it, and
//! a default route through its gateway.
//!
//! With only a default route, packets for neighbours on the ENI's own subnet would go to the
//! gateway.

use std::{collections::BTreeMap, net::IpAddr};

use super::{context::Context, eni::Eni};
use crate::model::{Family, Hop, Route, RouteKind, TableId, any};

/// `RT_SCOPE_LINK`: the destination is on the link.
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_UNIVERSE`: the destination can be anywhere.
const SCOPE_UNIVERSE: u8 = 0;
/// `IP6_RT_PRIO_USER`: the kernel stores this metric for an IPv6 route whose metric is 0.
const METRIC6: u32 = 1024;

/// The routes of an ENI's table. `main` is the result of [`main_routes`].
pub(super) fn table(cx: &Context<'_>, main: &[&Route], eni: &Eni) -> Vec<Route> {
    // The kernel holds one route of each key; the first one added here wins.
    let mut routes: BTreeMap<_, Route> = BTreeMap::new();
    let mut add = |route: Route| {
        routes
            .entry((route.destination, route.metric, route.tos))
            .or_insert(route);
    };
    let template = |family| default_route_to(cx, eni.table, family);
    for family in Family::BOTH {
        if !eni.has(family) {
            continue;
        }
        for net in eni.on_link(family) {
            add(Route {
                destination: net,
                hops: vec![Hop::new(eni.index, None)],
                scope: if family == Family::V4 {
                    SCOPE_LINK
                } else {
                    SCOPE_UNIVERSE
                },
                ..template(family)
            });
        }
        for route in routes_via(main, eni, family) {
            let mut hops: Vec<Hop> = route
                .hops
                .iter()
                .filter(|hop| hop.out == eni.index)
                .map(|hop| Hop {
                    // Perhaps only the main table has a route to this gateway. The kernel accepts
                    // the copy all the same if the next hop says that the gateway is on the link.
                    onlink: hop.onlink || hop.gateway.is_some_and(|g| !eni.is_neighbour(g)),
                    ..*hop
                })
                .collect();
            set_single_weight(&mut hops);
            // A copy of a connected route gets the metric of the on-link routes above, so that it
            // has the same key as one of them and is not added twice.
            add(Route {
                destination: route.destination,
                hops,
                metric: if is_connected(route) {
                    template(family).metric
                } else {
                    route.metric
                },
                scope: route.scope,
                tos: route.tos,
                mtu: route.mtu,
                ..template(family)
            });
        }
        if let Some(gateway) = eni.gateway(family) {
            add(Route {
                hops: vec![Hop {
                    onlink: !eni.is_neighbour(gateway.address),
                    ..Hop::new(eni.index, Some(gateway.address))
                }],
                mtu: mtu_behind(cx, eni, gateway.address),
                ..template(family)
            });
        }
    }
    routes.into_values().collect()
}

/// The MTU of the default route that the gateway is known from: hosts with jumbo frames often have
/// one, because the way beyond the gateway is narrower. Routes through the ENI come before others
/// with the same gateway; eni-steer's own routes do not count.
fn mtu_behind(cx: &Context<'_>, eni: &Eni, gateway: IpAddr) -> Option<u32> {
    let defaults = cx.host.routes.iter().filter(|route| {
        let leads_there = |hop: &Hop| hop.gateway == Some(gateway);
        route.is_default()
            && route.kind == RouteKind::Unicast
            && !cx.policy.ownership.route(route)
            && route.hops.iter().any(leads_there)
    });
    let first = defaults.min_by_key(|route| {
        let by_another = route.hop_by(eni.index).is_none();
        (by_another, route.table != TableId::MAIN, route.metric)
    });
    first?.mtu
}

/// A default route of eni-steer in a table, without next hops: the caller fills in what differs.
pub(super) fn default_route_to(cx: &Context<'_>, table: TableId, family: Family) -> Route {
    Route {
        table,
        destination: any(family),
        kind: RouteKind::Unicast,
        hops: Vec::new(),
        metric: if family == Family::V6 { METRIC6 } else { 0 },
        source: None,
        scope: SCOPE_UNIVERSE,
        tos: 0,
        mtu: None,
        protocol: cx.policy.ownership.protocol,
        partial: false,
    }
}

/// Copies of the main table's routes through ENIs that are up, without default routes, for the
/// table of balance.
pub(super) fn copied_from_main(
    cx: &Context<'_>,
    main: &[&Route],
    enis: &[Eni],
    table: TableId,
    family: Family,
) -> Vec<Route> {
    let mut routes: BTreeMap<_, Route> = BTreeMap::new();
    for route in enis
        .iter()
        .filter(|eni| eni.up)
        .flat_map(|eni| routes_via(main, eni, family))
    {
        let is_managed = |hop: &&Hop| enis.iter().any(|eni| eni.up && eni.index == hop.out);
        let mut hops: Vec<Hop> = route.hops.iter().filter(is_managed).copied().collect();
        for hop in &mut hops {
            hop.onlink = hop.gateway.is_some();
        }
        set_single_weight(&mut hops);
        let copy = Route {
            destination: route.destination,
            hops,
            metric: route.metric,
            scope: route.scope,
            tos: route.tos,
            mtu: route.mtu,
            ..default_route_to(cx, table, family)
        };
        // The kernel holds one route of each key; the first one of the main table wins.
        routes
            .entry((copy.destination, copy.metric, copy.tos))
            .or_insert(copy);
    }
    routes.into_values().collect()
}

/// The main table's default routes of a family, without eni-steer's own.
pub(super) fn defaults_of_main<'a>(
    cx: &'a Context<'a>,
    family: Family,
) -> impl Iterator<Item = &'a Route> {
    cx.host.routes.iter().filter(move |route| {
        route.table == TableId::MAIN
            && route.is_default()
            && route.family() == family
            && !cx.policy.ownership.route(route)
    })
}

/// Sets the weight of an only next hop to 1: without others, the kernel stores no weight.
pub(super) fn set_single_weight(hops: &mut [Hop]) {
    if let [only] = hops {
        only.weight = 1;
    }
}

/// Whether a route leads to neighbours, without a gateway.
fn is_connected(route: &Route) -> bool {
    route.hops.iter().all(|hop| hop.gateway.is_none())
}

/// The main table's routes that the table of an ENI can copy: unicast, and no default routes,
/// because that table has its own. eni-steer's own routes in the main table are left out as well.
pub(super) fn main_routes<'a>(cx: &'a Context<'a>) -> Vec<&'a Route> {
    let routes = cx.host.routes.iter().filter(|route| {
        route.table == TableId::MAIN
            && route.kind == RouteKind::Unicast
            && !route.is_default()
            && !cx.policy.ownership.route(route)
    });
    routes.collect()
}

/// The routes of a family that leave by an ENI.
fn routes_via<'a>(
    main: &'a [&'a Route],
    eni: &'a Eni,
    family: Family,
) -> impl Iterator<Item = &'a Route> {
    main.iter()
        .copied()
        .filter(move |route| route.family() == family && route.hop_by(eni.index).is_some())
}

#[cfg(test)]
mod tests {
    use crate::{
        desired::{Absence, Desired},
        fake::fake_host,
        model::Host,
        policy::Policy,
    };

    fn host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
    }

    /// The MTU of the default route in eth1's table.
    fn mtu(host: &Host) -> Option<u32> {
        let desired = Desired::for_host(host, &Policy::default(), Absence::Error, 1);
        let routes = desired.unwrap_or_else(|error| panic!("{error}")).routes;
        let default = routes.iter().find(|route| route.is_default());
        default.expect("a default route").mtu
    }

    #[test]
    fn the_default_route_keeps_the_mtu_of_the_one_its_gateway_is_known_from() {
        let eth0 = || host().route("default via 172.16.20.253 dev eth0 mtu 1500");
        assert_eq!(mtu(&eth0()), Some(1500), "eth0's default, the same gateway");
        let own = eth0().route("default via 172.16.20.253 dev eth1 metric 200 mtu 1400");
        assert_eq!(mtu(&own), Some(1400), "its own before eth0's");
        let other = eth0().route("default via 172.16.20.9 dev eth1 metric 200");
        assert_eq!(mtu(&other), None, "another gateway");
        let none = host().route("default via 172.16.20.253 dev eth0");
        assert_eq!(mtu(&none), None);
        let table = none.route("default via 172.16.20.253 dev eth1 table 21001 mtu 1300 proto 229");
        assert_eq!(mtu(&table), None, "eni-steer's own route is no source");
    }
}
