//! Which route of a table has the answer: `fib_table_lookup` of net/ipv4/fib_trie.c, and
//! `fib6_table_lookup` with `find_rr_leaf` and `find_match` of net/ipv6/route.c.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{Facts, NeighbourState, View};
use crate::model::{
    Family, Flow, Hop, Host, IfIndex, Link, Route, RouteKind, TableId, covers, host_prefix,
    link_local,
};

/// What IPv4 compares of the TOS byte (`INET_DSCP_LEGACY_TOS_MASK`).
const LEGACY_TOS: u8 = 0x1c;

/// What a table says to a packet.
#[derive(Clone, Debug)]
pub(super) enum Found<'a> {
    /// Nothing: the walk goes on with the next rule.
    Nothing,
    /// A throw route: the same.
    Thrown(&'a Route),
    /// A route that refuses.
    Refuses(&'a Route),
    /// A route, the legs that the packet may take (more than one of a multipath route), and
    /// whether they are a nexthop object's.
    Way(&'a Route, Vec<Hop>, bool),
    /// A route of a nexthop object whose legs the kernel did not tell.
    Unresolved(&'a Route, Option<u32>),
}

/// A route of the table that covers the destination.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    route: &'a Route,
}

impl Candidate<'_> {
    fn source(&self) -> Option<IpNet> {
        self.route.from
    }

    fn source_length(&self) -> u8 {
        self.source().map_or(0, |from| from.prefix_len())
    }

    fn object(&self) -> Option<u32> {
        self.route.nexthop_object
    }

    /// A route that should have legs and has none: its nexthop object could not be resolved.
    fn has_no_legs(&self) -> bool {
        let kind = self.route.kind;
        self.route.hops.is_empty() && !kind.refuses() && kind != RouteKind::Throw
    }
}

/// The routes of all tables that cover a destination, each table's in the order in which the kernel
/// comes to them. One pass over a host's routes does for a whole walk.
pub(crate) struct Covering<'a>(BTreeMap<TableId, Vec<Candidate<'a>>>);

impl<'a> Covering<'a> {
    pub(super) fn of(view: View<'a>, to: IpAddr) -> Self {
        let mut tables: BTreeMap<TableId, Vec<Candidate<'a>>> = BTreeMap::new();
        for route in &view.host.routes {
            if Family::of(to) == route.family() && covers(route.destination, host_prefix(to)) {
                let candidates = tables.entry(route.table).or_default();
                candidates.push(Candidate { route });
            }
        }
        for candidates in tables.values_mut() {
            // Of IPv4, the order of a leaf's aliases (`fib_insert_alias`); IPv6 has no TOS, and
            // IPv4 no sources. Equals stay as the kernel lists them.
            candidates.sort_by_key(|candidate| {
                let route = candidate.route;
                (
                    Reverse(route.destination.prefix_len()),
                    Reverse(candidate.source_length()),
                    candidate.source(),
                    Reverse(route.tos),
                    route.metric,
                )
            });
        }
        Self(tables)
    }

    /// The tables with such routes.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> {
        self.0.keys().copied()
    }

    /// What a table says to a packet for the destination.
    pub(super) fn find(&self, view: View<'a>, flow: &Flow, table: TableId) -> Found<'a> {
        let candidates = self.0.get(&table).map_or(&[][..], Vec::as_slice);
        match flow.to {
            IpAddr::V4(_) => find4(view, flow, candidates),
            IpAddr::V6(_) => find6(view, flow, candidates),
        }
    }
}

/// What a table says to a packet.
pub(super) fn find<'a>(view: View<'a>, flow: &Flow, table: TableId) -> Found<'a> {
    Covering::of(view, flow.to).find(view, flow, table)
}

fn find4<'a>(view: View<'a>, flow: &Flow, candidates: &[Candidate<'a>]) -> Found<'a> {
    let oif = view.bound_to(flow);
    // A nexthop object with no leg for the packet ends the search among all routes whose prefixes
    // begin with the same address, whatever their lengths: they share a leaf (`goto miss`).
    let mut missed: Option<IpAddr> = None;
    for candidate in candidates {
        let route = candidate.route;
        if missed == Some(route.destination.network()) {
            continue;
        }
        if route.tos != 0 && route.tos & 0xfc != flow.tos & LEGACY_TOS {
            continue;
        }
        match route.kind {
            RouteKind::Throw => return Found::Thrown(route),
            kind if kind.refuses() => return Found::Refuses(route),
            _ => {}
        }
        if candidate.has_no_legs() {
            return Found::Unresolved(route, candidate.object());
        }
        let alive = |hop: &&Hop| view.is_alive(route, hop);
        let mut legs: Vec<Hop> = route.hops.iter().filter(alive).cloned().collect();
        if let Some(oif) = oif {
            // The first leg by the interface decides (`fib_lookup_good_nhc`, and
            // `fib_select_path`, which chooses among legs only where no interface is named).
            legs.retain(|leg| leg.out == oif);
            legs.truncate(1);
        }
        if !legs.is_empty() {
            // A group of nexthop objects chooses among all its members.
            if candidate.object().is_some() && oif.is_none() {
                legs = route.hops.clone();
            }
            return Found::Way(route, legs, candidate.object().is_some());
        }
        if candidate.object().is_some() {
            missed = Some(route.destination.network());
        }
    }
    Found::Nothing
}

/// How a leg of an IPv6 route is judged.
struct Preferences {
    /// Preferred interface; what comes in prefers the one it came in by.
    by: Option<IfIndex>,
    /// Only legs by that interface count.
    strict: bool,
    /// Legs whose gateway did not answer do not count.
    reachable: bool,
}

fn find6<'a>(view: View<'a>, flow: &Flow, candidates: &[Candidate<'a>]) -> Found<'a> {
    let bound = view.bound_to(flow);
    let mut preferences = Preferences {
        by: flow.iif.or(bound),
        // `rt6_need_strict`, and `ip6_route_output_flags` for a socket that has no source yet.
        strict: needs_interface(flow.to) || bound.is_some() && flow.from.is_none(),
        reachable: !view.facts.ipv6_forwarding,
    };
    loop {
        for node in nodes_on_the_way(flow, candidates) {
            match find_in_node(view, node, &preferences) {
                Found::Nothing => {}
                found => return found,
            }
        }
        if !preferences.reachable {
            return Found::Nothing;
        }
        preferences.reachable = false;
    }
}

/// The nodes of the tree in which the kernel looks, each with the routes of one prefix. Routes for
/// packets from a prefix (`ip -6 route add ... from`) are in a tree of their own below the node of
/// their destination. If none of them is for this packet, the kernel's first descent passes over
/// the other routes of that destination as well, except the default route
/// (`fib6_node_lookup_1`); on its way back (`fib6_backtrack`) it does not.
fn nodes_on_the_way<'c, 'a>(
    flow: &Flow,
    candidates: &'c [Candidate<'a>],
) -> Vec<&'c [Candidate<'a>]> {
    let from = host_prefix(flow.from.unwrap_or(Ipv6Addr::UNSPECIFIED.into()));
    let mut nodes: Vec<&[Candidate<'a>]> = Vec::new();
    for here in candidates.chunk_by(|a, b| a.route.destination == b.route.destination) {
        let plain = here.partition_point(|candidate| candidate.source_length() > 0);
        let (specific, plain) = here.split_at(plain);
        let before = nodes.len();
        for node in specific.chunk_by(|a, b| a.source() == b.source()) {
            if node[0].source().is_some_and(|net| covers(net, from)) {
                nodes.push(node);
            }
        }
        let passed_over = nodes.is_empty() && !specific.is_empty();
        let is_root = here[0].route.destination.prefix_len() == 0;
        if !plain.is_empty() && (!passed_over || is_root || nodes.len() > before) {
            nodes.push(plain);
        }
    }
    nodes
}

fn find_in_node<'a>(
    view: View<'a>,
    node: &[Candidate<'a>],
    preferences: &Preferences,
) -> Found<'a> {
    let Some(first) = node.first() else {
        return Found::Nothing;
    };
    let metric = first.route.metric;
    let (cheapest, others) = node.split_at(
        node.iter()
            .position(|candidate| candidate.route.metric != metric)
            .unwrap_or(node.len()),
    );
    // Behind the cheapest the kernel no longer looks at metrics, only at scores.
    let best = [cheapest, others]
        .into_iter()
        .find_map(|part| best_scored(view, part, preferences));
    let Some(best) = best else {
        return Found::Nothing;
    };
    let route = best.route;
    match route.kind {
        RouteKind::Throw => return Found::Thrown(route),
        kind if kind.refuses() => return Found::Refuses(route),
        _ => {}
    }
    if best.has_no_legs() {
        return Found::Unresolved(route, best.object());
    }
    // A group of nexthop objects chooses among all its members (`nexthop_path_fib6_result`).
    let is_group = best.object().is_some();
    let may_be_taken = |hop: &&Hop| is_group || score(view, &best, hop, preferences).is_some();
    let legs: Vec<Hop> = route.hops.iter().filter(may_be_taken).cloned().collect();
    Found::Way(route, legs, is_group)
}

/// The route with the best leg, the first of equals.
fn best_scored<'a>(
    view: View<'a>,
    part: &[Candidate<'a>],
    preferences: &Preferences,
) -> Option<Candidate<'a>> {
    let mut best: Option<(u8, Candidate<'a>)> = None;
    for candidate in part {
        // A nexthop object that is a blackhole ends the search (`__find_rr_leaf`).
        if candidate.object().is_some() && candidate.route.kind == RouteKind::Blackhole {
            return Some(*candidate);
        }
        let mut consider = |score: Option<u8>| {
            let better = |score: &u8| best.is_none_or(|(other, _)| *score > other);
            let score = score.filter(better);
            best = score.map(|score| (score, *candidate)).or(best);
            score.is_some()
        };
        if candidate.route.hops.is_empty() {
            // A refusal hangs on the loopback interface.
            let loopback = view.host.links.values().find(|link| link.loopback);
            let score = match loopback.map(|link| Hop::new(link.index, None)) {
                Some(hop) if !candidate.has_no_legs() => score(view, candidate, &hop, preferences),
                _ => Some(0),
            };
            consider(score);
        }
        for hop in &candidate.route.hops {
            let better = consider(score(view, candidate, hop, preferences));
            // Of a nexthop object, the first leg that is better ends the comparison
            // (`nexthop_for_each_fib6_nh`).
            if better && candidate.object().is_some() {
                break;
            }
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `rt6_score_route`; `None`: the leg does not count.
fn score(
    view: View<'_>,
    candidate: &Candidate<'_>,
    hop: &Hop,
    preferences: &Preferences,
) -> Option<u8> {
    if !view.is_alive(candidate.route, hop) {
        return None;
    }
    let by_interface = preferences.by.is_none_or(|by| hop.out == by);
    if preferences.strict && !by_interface {
        return None;
    }
    if preferences.reachable
        && let Some(gateway) = hop.gateway
        && view.facts.neighbour(hop.out, gateway) == Some(NeighbourState::Failed)
    {
        return None;
    }
    let preference = candidate.route.preference();
    Some(u8::from(by_interface) * 2 + (preference << 2))
}

/// Destinations that say nothing without an interface (`rt6_need_strict`).
fn needs_interface(to: IpAddr) -> bool {
    to.is_multicast() || link_local(to) || to.is_loopback()
}

impl View<'_> {
    /// Whether a packet can be sent by a leg as far as its interface goes. What is delivered here
    /// needs no carrier, and in IPv4 not even an interface that is up (`fib_sync_down_dev`,
    /// `fib6_ifdown`).
    fn is_alive(&self, route: &Route, hop: &Hop) -> bool {
        let Some(link) = self.host.links.get(&hop.out) else {
            return false;
        };
        let facts = self.facts.links.get(&hop.out);
        let ignores_linkdown = match (route.family(), route.kind) {
            (Family::V4, RouteKind::Local) => return true,
            (Family::V6, RouteKind::Local | RouteKind::Anycast) => false,
            (Family::V4, _) => facts.is_some_and(|facts| facts.ignores_linkdown4),
            (Family::V6, _) => facts.is_some_and(|facts| facts.ignores_linkdown6),
        };
        link.up && (link.carrier || !ignores_linkdown)
    }
}

impl Facts {
    /// What the kernel knows of a neighbour; `None`: nothing.
    pub fn neighbour(&self, on: IfIndex, address: IpAddr) -> Option<NeighbourState> {
        self.neighbours.get(&(on, address)).copied()
    }
}

/// The route of a table that has the answer for a destination.
pub(crate) fn best(host: &Host, table: TableId, to: IpAddr) -> Option<&Route> {
    best_for(host, table, &Flow::to(to))
}

/// The route of a table that has the answer for a packet.
pub(crate) fn best_for<'a>(host: &'a Host, table: TableId, flow: &Flow) -> Option<&'a Route> {
    match find(View::of(host), flow, table) {
        Found::Nothing => None,
        Found::Thrown(route)
        | Found::Refuses(route)
        | Found::Way(route, _, _)
        | Found::Unresolved(route, _) => Some(route),
    }
}

/// The legs by which tables send a packet out of an interface.
pub(crate) struct LegsBy<'a> {
    view: View<'a>,
    covering: Covering<'a>,
    flow: Flow,
    by: IfIndex,
}

impl<'a> LegsBy<'a> {
    pub(crate) fn of(host: &'a Host, facts: &'a Facts, flow: Flow, by: IfIndex) -> Self {
        let view = View { host, facts };
        Self {
            view,
            covering: Covering::of(view, flow.to),
            flow,
            by,
        }
    }

    /// The leg of a table, if it has one.
    pub(crate) fn in_table(&self, table: TableId) -> Option<Hop> {
        match self.covering.find(self.view, &self.flow, table) {
            Found::Way(route, legs, _) if route.kind == RouteKind::Unicast => {
                legs.into_iter().find(|leg| leg.out == self.by)
            }
            _ => None,
        }
    }

    /// The first table that has one.
    pub(crate) fn in_any_table(&self) -> Option<(Hop, TableId)> {
        let mut tables = self.covering.tables();
        tables.find_map(|table| Some((self.in_table(table)?, table)))
    }
}

/// The link a route leaves by: that of its first leg that is up.
pub(crate) fn way_out<'a>(host: &'a Host, route: &Route) -> Option<&'a Link> {
    route
        .hops
        .iter()
        .find_map(|hop| host.links.get(&hop.out).filter(|link| link.up))
}
