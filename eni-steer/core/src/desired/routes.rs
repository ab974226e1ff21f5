//! The table of an ENI: its on-link prefixes, main's other routes that leave by it, and
//! the default through its gateway.

use std::collections::BTreeMap;

use super::{Context, Eni};
use crate::model::{Family, Hop, Route, RouteKind, TableId, any};

/// `RT_SCOPE_LINK`
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_UNIVERSE`
const SCOPE_UNIVERSE: u8 = 0;
/// `IP6_RT_PRIO_USER`: what the kernel makes of an IPv6 metric of 0.
const METRIC6: u32 = 1024;

/// The routes, sorted so that a gateway's own link comes before its users. `main`: what
/// [`main_routes`] has found.
pub(super) fn table(cx: &Context<'_>, main: &[&Route], eni: &Eni) -> Vec<Route> {
    // One route for each destination and metric; the first that claims it stays.
    let mut routes: BTreeMap<_, Route> = BTreeMap::new();
    let mut add = |route: Route| {
        routes
            .entry((route.destination, route.metric, route.tos))
            .or_insert(route);
    };
    let blank = |family| default_route_to(cx, eni.table, family);
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
                ..blank(family)
            });
        }
        for route in routes_via(main, eni, family) {
            let hops: Vec<Hop> = route
                .hops
                .iter()
                .filter(|hop| hop.out == eni.index)
                .map(|hop| Hop {
                    // A gateway whose link is known to main only may not be reachable by
                    // this table: the leg says that it is a neighbour all the same.
                    onlink: hop.onlink || hop.gateway.is_some_and(|g| !eni.is_neighbour(g)),
                    weight: if route.hops.len() == 1 { 1 } else { hop.weight },
                    ..*hop
                })
                .collect();
            let hops = match hops.as_slice() {
                [only] => vec![Hop { weight: 1, ..*only }],
                _ => hops,
            };
            // With the metric 0 of the on-link routes above, so that copies of the connected
            // routes fall together with them.
            add(Route {
                destination: route.destination,
                hops,
                metric: if connected(route) {
                    blank(family).metric
                } else {
                    route.metric
                },
                scope: route.scope,
                tos: route.tos,
                mtu: route.mtu,
                ..blank(family)
            });
        }
        if let Some(gateway) = eni.gateway(family) {
            add(Route {
                hops: vec![Hop {
                    onlink: !eni.is_neighbour(gateway.address),
                    ..Hop::new(eni.index, Some(gateway.address))
                }],
                ..blank(family)
            });
        }
    }
    routes.into_values().collect()
}

/// A default route of ours that leads nowhere yet.
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

/// Main's routes through ENIs that are up, without defaults, for another table.
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
        let managed = |hop: &&Hop| enis.iter().any(|eni| eni.up && eni.index == hop.out);
        let mut hops: Vec<Hop> = route.hops.iter().filter(managed).copied().collect();
        for hop in &mut hops {
            hop.onlink = hop.gateway.is_some();
        }
        if let [only] = hops.as_mut_slice() {
            only.weight = 1;
        }
        let copy = Route {
            destination: route.destination,
            hops,
            metric: route.metric,
            scope: route.scope,
            tos: route.tos,
            mtu: route.mtu,
            ..default_route_to(cx, table, family)
        };
        // One route for each place; the first that main asks stays.
        routes
            .entry((copy.destination, copy.metric, copy.tos))
            .or_insert(copy);
    }
    routes.into_values().collect()
}

/// Main's default routes of a family that are not ours.
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

fn connected(route: &Route) -> bool {
    route.hops.iter().all(|hop| hop.gateway.is_none())
}

/// Main's routes that a table of an ENI can have as well: no defaults, it has its own. A route
/// of ours in main is a leftover: it goes.
pub(super) fn main_routes<'a>(cx: &'a Context<'a>) -> Vec<&'a Route> {
    let routes = cx.host.routes.iter().filter(|route| {
        route.table == TableId::MAIN
            && route.kind == RouteKind::Unicast
            && !route.is_default()
            && !cx.policy.ownership.route(route)
    });
    routes.collect()
}

/// Those of a family that leave by the ENI.
fn routes_via<'a>(
    main: &'a [&'a Route],
    eni: &'a Eni,
    family: Family,
) -> impl Iterator<Item = &'a Route> {
    main.iter()
        .copied()
        .filter(move |route| route.family() == family && route.hop_by(eni.index).is_some())
}
