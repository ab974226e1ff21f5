//! Which of the main table's routes the table of an ENI needs.
//!
//! A route changes nothing if the longest prefix around it leads the same way: of ten thousand
//! routes through one gateway, a default route through this gateway is enough.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use ipnet::IpNet;

use super::routes::METRIC6;
use crate::model::{Hop, NextHop, Route, covers, host_prefix, link_local};

/// Sorts routes as the kernel prefers them: a destination before those within it, and of several
/// routes to the same destination the one that decides first.
pub(super) fn sort<T>(routes: &mut [T], route: impl Fn(&T) -> &Route) {
    routes.sort_by_key(|item| {
        let route = route(item);
        let Route {
            destination,
            from,
            tos,
            metric,
            ..
        } = *route;
        (destination, from, tos, metric, Reverse(route.preference()))
    });
}

/// Gives sorted routes to the same destination different metrics; without `keep_all`, leaves out
/// those behind the first. A table holds one route of each metric, and main can have more: routes of
/// advertisements, or routes through several interfaces.
pub(super) fn alternatives(
    routes: impl Iterator<Item = Route>,
    keep_all: bool,
) -> impl Iterator<Item = Route> {
    let mut before: Option<(_, u32)> = None;
    routes.filter_map(move |mut route| {
        let place = (route.destination, route.from, route.tos);
        if let Some((other, metric)) = before
            && other == place
        {
            if !keep_all {
                return None;
            }
            route.metric = route.metric.max(metric.saturating_add(1));
        }
        before = Some((place, route.metric));
        Some(route)
    })
}

/// Leaves out each of the sorted routes for which the longest prefix around it has the same answer.
///
/// A destination with several routes (of other metrics, or for a TOS or some sources only) is kept
/// whole, and so is everything right below it.
pub(super) fn only_needed(routes: impl Iterator<Item = Route>) -> Vec<Route> {
    let mut needed: Vec<Route> = Vec::new();
    // The kept prefixes around the current one: the prefix, and its route if it is the only one.
    let mut around: Vec<(IpNet, Option<usize>)> = Vec::new();
    let mut rest = routes.peekable();
    while let Some(route) = rest.next() {
        let destination = route.destination;
        around.retain_around(destination);
        let first = needed.len();
        needed.push(route);
        while let Some(other) = rest.next_if(|other| other.destination == destination) {
            needed.push(other);
        }
        let is_only = needed.len() == first + 1;
        let cover = around.last().and_then(|(_, at)| *at);
        if is_only && cover.is_some_and(|at| have_same_answer(&needed[at], &needed[first])) {
            needed.truncate(first);
        } else {
            around.push((destination, is_only.then_some(first)));
        }
    }
    needed
}

/// Leaves out each destination of the programs' map for which the longest prefix around it has the
/// same next hop.
pub(super) fn only_needed_next_hops(all: BTreeMap<IpNet, NextHop>) -> BTreeMap<IpNet, NextHop> {
    let mut needed = BTreeMap::new();
    let mut around: Vec<(IpNet, NextHop)> = Vec::new();
    for (net, hop) in all {
        around.retain_around(net);
        if around.last().is_none_or(|(_, other)| *other != hop) {
            around.push((net, hop));
            needed.insert(net, hop);
        }
    }
    needed
}

/// Prefixes, each within the one before it.
trait Nested {
    /// Drops those that are not around this one.
    fn retain_around(&mut self, net: IpNet);
}

impl<T> Nested for Vec<(IpNet, T)> {
    fn retain_around(&mut self, net: IpNet) {
        while self.pop_if(|(around, _)| !covers(*around, net)).is_some() {}
    }
}

/// Whether packets fare alike by two routes of a table, whatever their destinations and metrics.
fn have_same_answer(one: &Route, other: &Route) -> bool {
    let Route {
        table,
        destination: _,
        kind,
        hops,
        metric: _,
        source,
        scope,
        tos,
        mtu,
        metrics,
        protocol,
        from,
        attributes,
        nexthop_object: _,
    } = one;
    // The flag `onlink` makes no difference to packets.
    let alike = |a: &Hop, b: &Hop| {
        (a.out, a.gateway, a.weight) == (b.out, b.gateway, b.weight) && a.attributes == b.attributes
    };
    hops.len() == other.hops.len()
        && hops.iter().zip(&other.hops).all(|(a, b)| alike(a, b))
        && (table, kind, source, scope) == (&other.table, &other.kind, &other.source, &other.scope)
        && (tos, mtu, metrics) == (&other.tos, &other.mtu, &other.metrics)
        && (protocol, from, attributes) == (&other.protocol, &other.from, &other.attributes)
}

/// Adds a route for each IPv6 gateway that no route of the table puts on its interface's link. The
/// kernel looks for a gateway in the same table first. If it is not there, the kernel looks in the
/// main table, which may reach the gateway by another ENI, and refuses the route; unlike in IPv4,
/// `onlink` does not help (`ip6_route_check_nh_onlink` in net/ipv6/route.c).
pub(super) fn link_gateways(routes: &mut Vec<Route>) {
    let hops = routes.iter().flat_map(|route| &route.hops);
    let wanted: BTreeSet<_> = hops
        .filter(|hop| !hop.onlink)
        .filter_map(|hop| Some((hop.gateway?, hop.out)))
        .filter(|(gateway, _)| gateway.is_ipv6() && !link_local(*gateway))
        .collect();
    for (gateway, out) in wanted {
        let net = host_prefix(gateway);
        let is_linked = routes.iter().any(|route| {
            let is_on_link = |hop: &Hop| hop.gateway.is_none() && !hop.encapsulates();
            route.hop_by(out).is_some_and(is_on_link) && covers(route.destination, net)
        });
        if is_linked {
            continue;
        }
        let in_use = routes.iter().filter(|route| route.destination == net);
        let last = in_use.map(|route| route.metric).max();
        let template = routes.first().map(|route| (route.table, route.protocol));
        if let Some((table, protocol)) = template {
            routes.push(Route {
                hops: vec![Hop::new(out, None)],
                metric: last.map_or(METRIC6, |metric| metric.saturating_add(1)),
                ..Route::new(table, net, protocol)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::{collection::vec, option, prelude::*, sample};

    use super::*;
    use crate::{
        desired::{Absence, context::Context, discover, routes},
        explain::best_for,
        fake::{fake_host, index},
        model::{Family, Flow, Host, Protocol, TableId, metric, rta},
        policy::{EniPolicy, Mirror, Policy, Selector},
    };

    /// A few addresses that are in many of the prefixes below.
    fn an_address(six: bool) -> impl Strategy<Value = IpAddr> {
        let byte = || sample::select(vec![0u8, 1, 64, 128, 255]);
        (byte(), byte(), byte()).prop_map(move |(a, b, c)| match six {
            false => Ipv4Addr::new(10, a, b, c).into(),
            true => {
                let high = u16::from_be_bytes([a, b]);
                Ipv6Addr::new(0xfd77, high, 0, 0, 0, 0, 0, c.into()).into()
            }
        })
    }

    fn a_prefix(six: bool) -> impl Strategy<Value = IpNet> {
        let lengths = match six {
            false => vec![0, 1, 8, 9, 16, 17, 24, 25, 32],
            true => vec![0, 16, 17, 24, 32, 64, 128],
        };
        let net = (an_address(six), sample::select(lengths));
        net.prop_map(|(ip, length)| IpNet::new(ip, length).expect("a length").trunc())
    }

    /// A route of main through eth1 (index 3), or through eth1 and eth0.
    fn a_route(six: bool) -> impl Strategy<Value = Route> {
        let gateway = option::weighted(0.8, sample::select(vec![1u8, 1, 1, 2, 253]));
        let way = (gateway, proptest::bool::weighted(0.1));
        let more = (
            sample::select(vec![0u32, 0, 0, 100, 200]),
            option::weighted(0.1, Just(1400u32)),
            option::weighted(0.1, Just(1360u32)),
            option::weighted(0.1, sample::select(vec![1u8, 3])),
            proptest::bool::weighted(0.1),
        );
        let from = option::weighted(0.1, a_prefix(true));
        (a_prefix(six), way, more, from).prop_map(move |(destination, way, more, from)| {
            let ((gateway, is_multipath), (metric, mtu, mss, preference, has_tos)) = (way, more);
            // A default route without a gateway names no gateway for the ENI.
            let gateway = gateway.or((destination.prefix_len() == 0).then_some(253));
            let gateway = gateway.map(|last| match six {
                false => IpAddr::from([172, 16, 20, last]),
                true => Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, last.into()).into(),
            });
            let mut hops = vec![Hop::new(index(3), gateway)];
            if is_multipath {
                hops.insert(0, Hop::new(index(2), gateway));
            }
            let mut route = Route {
                hops,
                mtu,
                metric: metric + if six { 1024 } else { 0 },
                tos: if has_tos && !six { 0x10 } else { 0 },
                from: from.filter(|from| six && from.prefix_len() > 0),
                ..Route::new(TableId::MAIN, destination, Protocol(3))
            };
            if let Some(mss) = mss {
                route.metrics.set(metric::ADVMSS, &mss.to_ne_bytes());
            }
            if let (true, Some(preference)) = (six, preference) {
                route.attributes.set(rta::PREFERENCE, &[preference]);
            }
            route
        })
    }

    fn a_host() -> impl Strategy<Value = (Host, Vec<Flow>)> {
        any::<bool>().prop_flat_map(|six| {
            let flow = (an_address(six), an_address(true), any::<bool>());
            let flow = flow.prop_map(move |(to, from, has_tos)| Flow {
                from: Some(from).filter(|_| six),
                tos: if has_tos && !six { 0x10 } else { 0 },
                ..Flow::to(to)
            });
            (vec(a_route(six), 0..40), vec(flow, 1..40)).prop_map(|(routes, flows)| {
                let mut host = fake_host()
                    .eni(2, "eth0", &["172.16.20.176/24", "fd00:20::176/64"])
                    .eni(3, "eth1", &["172.16.20.177/24", "fd00:20::177/64"]);
                for route in routes {
                    let same_place = |other: &Route| other.key() == route.key();
                    // Only IPv6 can have two routes in a place: those of advertisements.
                    if route.destination.addr().is_ipv6() || !host.routes.iter().any(same_place) {
                        host.routes.push(route);
                    }
                }
                (host, flows)
            })
        })
    }

    fn table(host: &Host, mirror: Mirror) -> Vec<Route> {
        let policy = Policy {
            enis: vec![EniPolicy::new(Selector::from("eth1"))],
            mirror,
            ..Policy::default()
        };
        let cx = &Context {
            host,
            policy: &policy,
            absence: Absence::Wait,
        };
        let enis = discover::select(cx, &mut Vec::new()).unwrap_or_else(|error| panic!("{error}"));
        routes::table(cx, &routes::main_routes(cx), &enis[0])
    }

    /// What a packet meets: everything about the route but where it is and whose it is.
    fn answer(host: &Host, table: TableId, flow: &Flow) -> Option<Route> {
        let own: IpAddr = [172, 16, 20, 177].into();
        let mut route = best_for(host, table, flow)?.clone();
        route.source = route.source.filter(|source| *source != own);
        for hop in &mut route.hops {
            hop.onlink = false;
        }
        Some(Route {
            destination: crate::model::any(Family::of(flow.to)),
            metric: 0,
            protocol: Protocol(0),
            table: TableId(0),
            // The kernel compares it before it has found the route, and never again.
            from: None,
            ..route
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1024, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn the_table_of_an_eni_answers_as_main_does_restricted_to_that_eni((host, flows) in a_host()) {
            let mut restricted = host.clone();
            restricted.routes.retain_mut(|route| {
                route.hops.retain(|hop| hop.out == index(3));
                !route.hops.is_empty()
            });
            let tables = [Mirror::Needed, Mirror::Exact].map(|mirror| table(&host, mirror));
            prop_assert!(tables[0].len() <= tables[1].len());
            for routes in tables {
                let number = routes.first().expect("its subnet").table;
                let mut places: Vec<_> = routes.iter().map(Route::key).collect();
                places.sort();
                places.dedup();
                prop_assert_eq!(places.len(), routes.len(), "one route in each place");
                let copied = Host { routes, ..host.clone() };
                for flow in &flows {
                    let main = answer(&restricted, TableId::MAIN, flow);
                    // An ENI has a default route also where main has one for some packets only.
                    if main.is_none() {
                        continue;
                    }
                    let copy = answer(&copied, number, flow);
                    let lines: Vec<_> = copied.routes.iter().chain(&restricted.routes)
                        .map(|route| route.describe(&host)).collect();
                    prop_assert_eq!(copy, main, "{:?} in {:#?}", flow, lines);
                }
            }
        }

        #[test]
        fn the_next_hops_that_are_left_out_are_those_of_the_prefix_around(
            nets in vec((a_prefix(false), option::of(0..3u8)), 0..40),
            addresses in vec(an_address(false), 1..40),
        ) {
            let hop = |last: Option<u8>| match last {
                Some(last) => NextHop::Via { gateway: [172, 16, 20, last].into(), mtu: None },
                None => NextHop::OnLink { mtu: None },
            };
            let all: BTreeMap<_, _> = nets.into_iter().map(|(net, last)| (net, hop(last))).collect();
            let find = |map: &BTreeMap<IpNet, NextHop>, to: IpAddr| {
                let around = map.iter().filter(|(net, _)| covers(**net, host_prefix(to)));
                around.max_by_key(|(net, _)| net.prefix_len()).map(|(_, hop)| *hop)
            };
            let needed = only_needed_next_hops(all.clone());
            for to in addresses {
                prop_assert_eq!(find(&needed, to), find(&all, to));
            }
        }
    }

    fn described(host: &Host) -> Vec<String> {
        let routes = table(host, Mirror::Needed);
        routes.iter().map(|route| route.describe(host)).collect()
    }

    #[test]
    fn ten_thousand_routes_through_one_gateway_are_one() {
        let mut host = fake_host()
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth1")
            .route("20.0.7.0/28 via 172.16.20.9 dev eth1")
            .route("20.0.7.0/30 via 172.16.20.253 dev eth1")
            .route("20.0.8.0/30 via 172.16.20.253 dev eth1 mtu 1400");
        for n in 0..10_000u32 {
            let [.., a, b] = n.to_be_bytes();
            host = host.route(&format!("20.{a}.{b}.0/24 via 172.16.20.253 dev eth1"));
        }
        assert_eq!(
            described(&host),
            [
                "default via 172.16.20.253 dev eth1 table 21001 proto 229",
                "20.0.7.0/28 via 172.16.20.9 dev eth1 table 21001 proto 229",
                "20.0.7.0/30 via 172.16.20.253 dev eth1 table 21001 proto 229",
                "20.0.8.0/30 via 172.16.20.253 dev eth1 table 21001 mtu 1400 proto 229",
                "172.16.20.0/24 dev eth1 table 21001 scope link proto 229",
            ]
        );
        assert_eq!(table(&host, Mirror::Exact).len(), 10_005);
    }

    #[test]
    fn an_ipv6_gateway_that_is_on_no_prefix_of_the_eni_gets_a_route_of_its_own() {
        let host = fake_host()
            .eni(3, "eth1", &["fd00:20::177/64"])
            .route("default6 via fd00:30::1 dev eth1 onlink")
            .route("fd77::/48 via fd00:20::9 dev eth1");
        let mut no_prefix = host.without_route("default6 via fd00:30::1 dev eth1 onlink");
        no_prefix
            .routes
            .retain(|route| route.destination.prefix_len() != 64);
        let host = no_prefix.route("default6 via fd00:30::1 dev eth1");
        assert_eq!(
            described(&host)[2..],
            [
                "fd00:20::9 dev eth1 table 21001 metric 1024 proto 229",
                "fd00:30::1 dev eth1 table 21001 metric 1024 proto 229",
            ]
        );
    }
}
