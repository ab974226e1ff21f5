//! The routing table of an ENI: its on-link prefixes, the main table's other routes through it, and
//! a default route through its gateway.
//!
//! With only a default route, packets for neighbours on the ENI's own subnet would go to the
//! gateway.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    context::Context,
    eni::{Eni, GatewaySource, RoutedBy},
    mirror,
};
use crate::{
    model::{
        Address, Attributes, Family, Hop, Protocol, Route, RouteKind, TableId, any, covers,
        host_prefix, rta,
    },
    policy::Mirror,
};

/// `RT_SCOPE_LINK`: the destination is on the link.
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_UNIVERSE`: the destination can be anywhere.
const SCOPE_UNIVERSE: u8 = 0;
/// `LWTUNNEL_ENCAP_BPF`: a program puts the packets into other packets.
const ENCAPSULATED_BY_PROGRAM: u16 = 6;
/// `IP6_RT_PRIO_USER`: the kernel stores this metric for an IPv6 route whose metric is 0.
pub(super) const METRIC6: u32 = 1024;

/// The routes of an ENI's table. `main` is the result of [`main_routes`].
pub(super) fn table(cx: &Context<'_>, main: &[&Route], eni: &Eni) -> Vec<Route> {
    let is_exact = cx.policy.mirror == Mirror::Exact;
    let mut all = Vec::new();
    for family in Family::BOTH.into_iter().filter(|family| eni.has(*family)) {
        let template = default_route_to(cx, eni.table, family);
        let copied: Vec<&Route> = routes_via(main, eni, family).collect();
        let mut not_in_main = eni.on_link(family);
        for route in &copied {
            not_in_main.remove(&route.destination);
        }
        let on_link = not_in_main.into_iter();
        let own = on_link.map(|net| on_link_route(eni, net, &template));
        let own = own.chain(default_routes(cx, eni, family));
        let own = own.map(|route| Source::Own(Box::new(route)));
        let mut sources: Vec<Source<'_>> =
            copied.into_iter().map(Source::Main).chain(own).collect();
        mirror::sort(&mut sources, Source::route);
        let routes = sources.into_iter().map(|source| match source {
            Source::Main(route) => copy_to(eni, route, &template),
            Source::Own(route) => *route,
        });
        // Of IPv4, only the first route of an interface to a destination ever decides.
        let routes = mirror::alternatives(routes, is_exact || family == Family::V6);
        let mut routes: Vec<Route> = match is_exact {
            true => routes.collect(),
            false => mirror::only_needed(routes),
        };
        mirror::link_gateways(&mut routes);
        all.append(&mut routes);
    }
    all
}

/// Where a route of an ENI's table comes from. Main's are copied one by one, so that a table of a
/// hundred thousand routes is never there twice.
enum Source<'a> {
    /// A copy of this route of the main table.
    Main(&'a Route),
    /// A route that the main table need not have.
    Own(Box<Route>),
}

impl Source<'_> {
    fn route(&self) -> &Route {
        match self {
            Self::Main(route) => route,
            Self::Own(route) => route,
        }
    }
}

/// The route for an on-link prefix of an ENI.
fn on_link_route(eni: &Eni, net: IpNet, template: &Route) -> Route {
    Route {
        destination: net,
        hops: vec![Hop::new(eni.index, None)],
        scope: match Family::of_net(net) {
            Family::V4 => SCOPE_LINK,
            Family::V6 => SCOPE_UNIVERSE,
        },
        ..template.clone()
    }
}

/// The copy of a route of the main table for the table of an ENI.
fn copy_to(eni: &Eni, route: &Route, template: &Route) -> Route {
    let hops = hops_of(eni, route);
    // Managers of interfaces number their on-link routes; in this table they compete with nothing.
    let metric = match is_connected(route) {
        true => template.metric,
        false => route.metric,
    };
    if hops.iter().all(can_be_copied) {
        Route {
            metric,
            source: source_on(eni, route),
            ..copy(route, hops, template.clone())
        }
    } else {
        // The lookup goes on to the main table, which has the route itself.
        Route {
            destination: route.destination,
            kind: RouteKind::Throw,
            metric,
            ..template.clone()
        }
    }
}

/// The routes of an ENI's table that eni-steer installs. The programs always know all of them.
pub(super) fn installed<'a>(eni: &'a Eni, table: &'a [Route]) -> impl Iterator<Item = Route> {
    let is_on_link = |route: &Route| {
        let mut own = eni.addresses.iter();
        !route.is_default()
            && route.hops.iter().all(|hop| hop.gateway.is_none())
            && own.any(|address| covers(route.destination, host_prefix(address.ip())))
    };
    let installs = move |route: &&Route| match eni.routing(route.family()).by {
        RoutedBy::Table => true,
        RoutedBy::OnLink => is_on_link(route),
        RoutedBy::Main => false,
    };
    table.iter().filter(installs).cloned()
}

/// The default routes of an ENI's table: the one in which its gateway was found, with everything
/// that the kernel keeps with it. If several IPv6 routers serve the ENI, all of them in the order in
/// which the kernel prefers them, because it passes over a router that does not answer.
fn default_routes(cx: &Context<'_>, eni: &Eni, family: Family) -> Vec<Route> {
    let Some(gateway) = eni.gateway(family) else {
        return Vec::new();
    };
    let template = default_route_to(cx, eni.table, family);
    let Some(found_in) = default_with(cx, eni, gateway.address) else {
        let hops = vec![hop_to(eni, gateway.address)];
        return vec![Route { hops, ..template }];
    };
    let mut all = vec![found_in];
    if gateway.source == GatewaySource::DefaultRoute && family == Family::V6 {
        let mut others: Vec<&Route> = foreign_defaults(cx, family)
            .filter(|route| route.table == found_in.table && *route != found_in)
            .filter(|route| !is_for_some(route) && route.hop_by(eni.index).is_some())
            .collect();
        others.sort_by_key(|route| precedence(route));
        all.extend(others);
    }
    let metrics = template.metric..;
    let copies = all.into_iter().zip(metrics).map(|(route, metric)| {
        let leads_there = |hop: &&Hop| hop.gateway == Some(gateway.address);
        let mut hops = hops_of(eni, route);
        if hops.is_empty() || gateway.source != GatewaySource::DefaultRoute {
            // Another ENI's, or one of several ways of this ENI.
            let of_gateway = route.hops.iter().find(leads_there);
            let attributes = of_gateway.map(|hop| hop.attributes.clone());
            hops = vec![Hop {
                attributes: attributes.unwrap_or_default(),
                ..hop_to(eni, gateway.address)
            }];
        }
        for hop in hops.iter_mut().filter(|hop| !can_be_copied(hop)) {
            hop.attributes = Attributes::default();
        }
        Route {
            destination: template.destination,
            metric,
            source: source_on(eni, route),
            scope: template.scope,
            tos: template.tos,
            from: template.from,
            ..copy(route, hops, template.clone())
        }
    });
    copies.collect()
}

/// The next hops of a route that leave by an ENI, as its table has them.
fn hops_of(eni: &Eni, route: &Route) -> Vec<Hop> {
    let by_eni = route.hops.iter().filter(|hop| hop.out == eni.index);
    let mut hops: Vec<Hop> = by_eni
        .map(|hop| Hop {
            onlink: hop.onlink
                || hop
                    .gateway
                    .is_some_and(|gateway| must_say_on_link(eni, gateway)),
            ..hop.clone()
        })
        .collect();
    set_single_weight(&mut hops);
    hops
}

/// A next hop to a gateway of an ENI.
fn hop_to(eni: &Eni, gateway: IpAddr) -> Hop {
    Hop {
        onlink: must_say_on_link(eni, gateway),
        ..Hop::new(eni.index, Some(gateway))
    }
}

/// Whether a next hop has to say that its gateway is on the link, because no route of the ENI's
/// table does. The kernel accepts an IPv4 route then; for IPv6 see [`mirror::link_gateways`].
fn must_say_on_link(eni: &Eni, gateway: IpAddr) -> bool {
    gateway.is_ipv4() && !eni.is_neighbour(gateway)
}

/// Whether the kernel accepts a next hop that it has shown. A program that encapsulates is the
/// exception: the kernel shows its name, and wants a file descriptor (`bpf_build_state`).
fn can_be_copied(hop: &Hop) -> bool {
    let kind = hop.attributes.get(rta::ENCAP_TYPE);
    kind.is_none_or(|kind| kind != ENCAPSULATED_BY_PROGRAM.to_ne_bytes())
}

/// A copy of a route with these next hops, which differs from the route only in what `template`
/// says: whose it is, and the table it is in. Everything that decides about packets is kept,
/// whether or not eni-steer knows what it means.
fn copy(route: &Route, hops: Vec<Hop>, template: Route) -> Route {
    Route {
        destination: route.destination,
        hops,
        metric: route.metric,
        source: route.source,
        scope: route.scope,
        tos: route.tos,
        mtu: route.mtu,
        metrics: route.metrics.clone(),
        from: route.from,
        attributes: route.attributes.clone(),
        ..template
    }
}

/// The preferred source of a route, if it is an address of the ENI. The kernel's own routes for
/// on-link prefixes name the address that the kernel prefers anyway, so a copy need not name it,
/// and stays right when that address is removed.
fn source_on(eni: &Eni, route: &Route) -> Option<IpAddr> {
    let of_family = |address: &&Address| address.family() == route.family();
    let mut addresses = eni.addresses.iter().filter(of_family);
    let first = addresses.clone().next()?.ip();
    let source = route.source?;
    let is_said_anyway = route.protocol == Protocol::KERNEL && source == first;
    let is_there = addresses.any(|address| address.ip() == source);
    (is_there && !is_said_anyway).then_some(source)
}

/// The default route that the gateway is known from. Its attributes belong to the way behind the
/// gateway: hosts with jumbo frames often have an MTU there, because that way is narrower. Routes
/// through the ENI come before others with the same gateway; eni-steer's own routes do not count.
fn default_with<'a>(cx: &Context<'a>, eni: &Eni, gateway: IpAddr) -> Option<&'a Route> {
    let family = Family::of(gateway);
    let leads_there = |route: &&Route| {
        let mut hops = route.hops.iter();
        hops.any(|hop| hop.gateway == Some(gateway))
    };
    foreign_defaults(cx, family)
        .filter(leads_there)
        .min_by_key(|route| (route.hop_by(eni.index).is_none(), precedence(route)))
}

/// The default routes of all tables that are not eni-steer's.
fn foreign_defaults<'a>(cx: &Context<'a>, family: Family) -> impl Iterator<Item = &'a Route> {
    let ours = cx.policy.ownership.protocol;
    cx.host.routes.iter().filter(move |route| {
        route.is_default()
            && route.kind == RouteKind::Unicast
            && route.family() == family
            && route.protocol != ours
    })
}

/// In which order default routes count for the gateway of an ENI: those of the main table before
/// others, and of one table in the order in which the kernel prefers them.
pub(super) fn precedence(route: &Route) -> impl Ord + Copy + use<> {
    let preference = Reverse(route.preference());
    (
        route.table != TableId::MAIN,
        is_for_some(route),
        route.metric,
        preference,
    )
}

/// Whether a route is for packets of a TOS or from a prefix only.
pub(super) fn is_for_some(route: &Route) -> bool {
    route.from.is_some() || route.tos != 0
}

/// A default route of eni-steer in a table, without next hops: the caller fills in what differs.
pub(super) fn default_route_to(cx: &Context<'_>, table: TableId, family: Family) -> Route {
    Route {
        metric: if family == Family::V6 { METRIC6 } else { 0 },
        scope: SCOPE_UNIVERSE,
        ..Route::new(table, any(family), cx.policy.ownership.protocol)
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
        let mut hops: Vec<Hop> = route.hops.iter().filter(is_managed).cloned().collect();
        for hop in &mut hops {
            hop.onlink = hop.onlink || hop.gateway.is_some_and(|gateway| gateway.is_ipv4());
        }
        set_single_weight(&mut hops);
        let copy = Route {
            // Balance decides about packets whose program chose no source.
            source: enis.iter().find_map(|eni| source_on(eni, route)),
            ..copy(route, hops, default_route_to(cx, table, family))
        };
        // The kernel holds one route of each key; the first one of the main table wins.
        routes.entry(copy.key()).or_insert(copy);
    }
    routes.into_values().collect()
}

/// The main table's default routes of a family for every packet, without eni-steer's own.
pub(super) fn defaults_of_main<'a>(
    cx: &'a Context<'a>,
    family: Family,
) -> impl Iterator<Item = &'a Route> {
    cx.host.routes.iter().filter(move |route| {
        route.table == TableId::MAIN
            && route.is_default()
            && !is_for_some(route)
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

/// The main table's routes that the table of an ENI can copy: unicast, and no default routes
/// but those for some packets only, because that table has its own. eni-steer's own routes in the main table are left out as well.
pub(super) fn main_routes<'a>(cx: &'a Context<'a>) -> Vec<&'a Route> {
    let routes = cx.host.routes.iter().filter(|route| {
        route.table == TableId::MAIN
            && route.kind == RouteKind::Unicast
            && (!route.is_default() || is_for_some(route))
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
        fake::{fake_host, index},
        model::{Host, NextHop, Route, TableId},
        policy::Policy,
    };

    fn host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
    }

    fn desired(host: &Host) -> Desired {
        Desired::for_host(host, &Policy::default(), Absence::Error, 1)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The routes of eth1's table, the default routes last.
    fn table(host: &Host) -> Vec<String> {
        let desired = desired(host);
        let mut routes: Vec<&Route> = desired.routes.iter().collect();
        routes.sort_by_key(|route| (route.is_default(), route.metric));
        let ours = routes.iter().filter(|route| route.table == TableId(21001));
        ours.map(|route| route.describe(host)).collect()
    }

    /// The last of them.
    fn default(host: &Host) -> String {
        table(host).pop().expect("a default route")
    }

    /// The MTU of the default route in eth1's table.
    fn mtu(host: &Host) -> Option<u32> {
        let routes = desired(host).routes;
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

    #[test]
    fn the_default_route_is_the_one_in_which_the_gateway_was_found() {
        let more = "metric 200 mtu 1500 advmss 1460 initcwnd 20 src 172.16.20.177";
        let host = host()
            .route("default via 172.16.20.253 dev eth0 mtu 1400")
            .route(&format!("default via 172.16.20.253 dev eth1 {more}"));
        assert_eq!(
            default(&host),
            "default via 172.16.20.253 dev eth1 table 21001 src 172.16.20.177 mtu 1500 \
             advmss 1460 initcwnd 20 proto 229"
        );
    }

    #[test]
    fn a_source_that_is_not_the_enis_own_address_is_not_copied() {
        let host = host()
            .route("default via 172.16.20.253 dev eth0 src 172.16.20.176 advmss 1400")
            .route("10.9.0.0/16 via 172.16.20.9 dev eth1 src 172.16.20.176")
            .route("10.8.0.0/16 via 172.16.20.9 dev eth1 src 172.16.20.177");
        assert_eq!(
            table(&host)[..],
            [
                "10.8.0.0/16 via 172.16.20.9 dev eth1 table 21001 src 172.16.20.177 proto 229",
                "10.9.0.0/16 via 172.16.20.9 dev eth1 table 21001 proto 229",
                "172.16.20.0/24 dev eth1 table 21001 scope link proto 229",
                "default via 172.16.20.253 dev eth1 table 21001 advmss 1400 proto 229",
            ]
        );
    }

    fn two_routers() -> Host {
        fake_host()
            .eni(2, "eth0", &["fd00:20::176/64"])
            .eni(3, "eth1", &["fd00:20::177/64"])
            .route("default6 via fe80::c dev eth0 metric 512")
            .route("default6 via fe80::a dev eth1 pref low")
            .route("default6 via fe80::b dev eth1 pref high")
            .route("default6 via fe80::d dev eth1 metric 2000")
    }

    #[test]
    fn the_preferred_router_is_the_gateway_and_the_others_come_behind_it() {
        let host = two_routers();
        let gateway = |host: &Host| desired(host).enis[1].gateways[0].address.to_string();
        assert_eq!(gateway(&host), "fe80::b");
        assert_eq!(
            table(&host)[1..],
            [
                "default via fe80::b dev eth1 table 21001 metric 1024 pref high proto 229",
                "default via fe80::a dev eth1 table 21001 metric 1025 pref low proto 229",
                "default via fe80::d dev eth1 table 21001 metric 1026 proto 229",
            ]
        );
        // A route for some sources only comes after those for all.
        let host = host.route("default6 from fd00:20:9::/64 via fe80::e dev eth1 metric 1");
        assert_eq!(gateway(&host), "fe80::b");
        let of_some = "default from fd00:20:9::/64 via fe80::e dev eth1 table 21001 metric 1 \
                       proto 229";
        assert!(
            table(&host).contains(&of_some.to_owned()),
            "{:?}",
            table(&host)
        );
    }

    #[test]
    fn all_next_hops_of_the_default_by_the_eni_are_copied() {
        let host = host().route("default via 172.16.20.253 dev eth0").route(
            "default nexthop via 172.16.20.1 dev eth1 weight 3 nexthop via 172.16.20.2 dev \
                 eth1 weight 1 metric 200",
        );
        assert_eq!(
            default(&host),
            "default table 21001 proto 229 nexthop via 172.16.20.1 dev eth1 weight 3 nexthop via \
             172.16.20.2 dev eth1 weight 1"
        );
    }

    #[test]
    fn an_encapsulation_is_copied_and_what_the_kernel_would_refuse_is_left_to_main() {
        let host = host()
            .route("default via 172.16.20.253 dev eth0")
            .route("10.9.0.0/16 via 172.16.20.9 dev eth1 encap 5")
            .route("10.8.0.0/16 via 172.16.20.9 dev eth1 encap 6");
        assert_eq!(
            table(&host)[..2],
            [
                "throw 10.8.0.0/16 table 21001 proto 229",
                "10.9.0.0/16 via 172.16.20.9 dev eth1 table 21001 proto 229 \
                 # with encapsulation 5 ",
            ]
        );
        // The programs cannot encapsulate, so they do not steer such packets.
        let datapath = desired(&host).datapath.expect("programs are wanted");
        for net in ["10.9.0.0/16", "10.8.0.0/16"] {
            let key = (index(3), net.parse().expect("a prefix"));
            assert_eq!(datapath.next_hops[&key], NextHop::Refuse, "{net}");
        }
    }
}
