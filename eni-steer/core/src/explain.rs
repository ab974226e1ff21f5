//! Walks the rules as the kernel does and says which one decides, and why the ones before
//! it did not. The kernel's own answer stays the judge ([`crate::model::RouteLookup`]); the
//! walk only gives it a name. Relied on: `fib_rules_lookup` in the kernel's
//! net/core/fib_rules.c and `fib_table_lookup` in net/ipv4/fib_trie.c.

use std::{cmp::Reverse, net::IpAddr};

use serde::Serialize;

use crate::model::{
    Family, Group, Host, Link, PortRange, Priority, Route, RouteKind, Rule, RuleAction, TableId,
    covers, host_prefix,
};

pub use crate::model::Flow;

/// `IPPROTO_UDP`
const UDP: u8 = 17;

/// What a rule did with the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A selector does not match: which.
    NoMatch(&'static str),
    /// The table has no route to the destination.
    NoRoute(TableId),
    /// The table's answer was suppressed by the rule.
    Suppressed(Box<Route>),
    /// A throw route sent the packet on.
    Thrown,
    /// The rule jumps.
    Jumps(Priority),
    /// The rule does nothing.
    Nothing,
    /// This route decides.
    Decides(Box<Route>),
    /// The rule itself refuses.
    Refuses,
    /// It has a selector that can not be judged here; taken as not matching.
    Unknown,
}

/// One rule met on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Visit {
    /// The rule.
    pub rule: Rule,
    /// What it did.
    pub outcome: Outcome,
}

/// The rules met on the way, the deciding one last. If no rule decided, the packet has no
/// route.
pub fn trace_rules(host: &Host, flow: &Flow) -> Vec<Visit> {
    let mut visits: Vec<Visit> = Vec::new();
    let mut jump: Option<Priority> = None;
    let family = Family::of(flow.to);
    for rule in host.rules_of(family) {
        if jump.is_some_and(|target| rule.priority < target) {
            continue;
        }
        jump = None;
        let outcome = visit(host, flow, rule);
        let ends = matches!(outcome, Outcome::Decides(_) | Outcome::Refuses);
        if let Outcome::Jumps(target) = outcome {
            // A jump to a priority where no rule stands is "unresolved": it does nothing.
            jump = Some(target).filter(|at| host.rules_of(family).any(|r| r.priority == *at));
        }
        visits.push(Visit {
            rule: rule.clone(),
            outcome,
        });
        if ends {
            break;
        }
    }
    visits
}

/// The rule that decides, and its route unless the rule itself refuses.
pub fn decision(visits: &[Visit]) -> Option<(&Rule, Option<&Route>)> {
    let last = visits.last()?;
    match &last.outcome {
        Outcome::Decides(route) => Some((&last.rule, Some(route))),
        Outcome::Refuses => Some((&last.rule, None)),
        _ => None,
    }
}

fn visit(host: &Host, flow: &Flow, rule: &Rule) -> Outcome {
    if rule.partial {
        return Outcome::Unknown;
    }
    let mismatch = mismatch(host, flow, rule);
    match (mismatch, rule.invert) {
        (Some(selector), false) => return Outcome::NoMatch(selector),
        (None, true) => return Outcome::NoMatch("not"),
        _ => {}
    }
    match rule.action {
        RuleAction::Table(table) => look_up(host, flow, rule, table),
        RuleAction::Goto(target) => Outcome::Jumps(target),
        RuleAction::Nop => Outcome::Nothing,
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => Outcome::Refuses,
        // Only for packets of a VRF's interfaces; ENIs in a VRF are not managed.
        RuleAction::L3mdev => Outcome::NoMatch("l3mdev"),
        RuleAction::Other(_) => Outcome::Unknown,
    }
}

/// The first selector that does not match.
fn mismatch(host: &Host, flow: &Flow, rule: &Rule) -> Option<&'static str> {
    let outside = |net, address: Option<IpAddr>| {
        !address.is_some_and(|address| covers(net, host_prefix(address)))
    };
    if rule.from.is_some_and(|net| outside(net, flow.from)) {
        return Some("from");
    }
    if rule.to.is_some_and(|net| outside(net, Some(flow.to))) {
        return Some("to");
    }
    if rule
        .mark
        .is_some_and(|(mark, mask)| flow.mark & mask != mark & mask)
    {
        return Some("fwmark");
    }
    let came_in_by = |name: &str| match flow.iif {
        None => name == "lo",
        Some(index) => name == host.name(index),
    };
    if rule.iif.as_deref().is_some_and(|name| !came_in_by(name)) {
        return Some("iif");
    }
    if rule.oif.is_some() {
        return Some("oif");
    }
    // The kernel's IPv4 lookup takes a question without a protocol for UDP
    // (inet_rtm_getroute in net/ipv4/route.c).
    let asked_as = flow.ip_protocol.or(flow.to.is_ipv4().then_some(UDP));
    let outside_ports = |range: Option<PortRange>, port: Option<u16>| {
        range.is_some_and(|range| !port.is_some_and(|p| (range.start..=range.end).contains(&p)))
    };
    if rule
        .ip_protocol
        .is_some_and(|protocol| Some(protocol) != asked_as)
        || outside_ports(rule.sport, flow.sport)
        || outside_ports(rule.dport, flow.dport)
    {
        return Some("ipproto/ports");
    }
    // What is forwarded is nobody's.
    let uid = flow.uid.or(flow.iif.is_none().then_some(0));
    if rule
        .uids
        .is_some_and(|uids| !uid.is_some_and(|uid| (uids.start..=uids.end).contains(&uid)))
    {
        return Some("uidrange");
    }
    (rule.tos != 0).then_some("tos")
}

fn look_up(host: &Host, flow: &Flow, rule: &Rule, table: TableId) -> Outcome {
    let Some(route) = best(host, table, flow.to) else {
        return Outcome::NoRoute(table);
    };
    if route.kind == RouteKind::Throw {
        return Outcome::Thrown;
    }
    // Only an answer can be suppressed: a refusal is final.
    if route.kind.refuses() {
        return Outcome::Decides(Box::new(route.clone()));
    }
    let too_short = rule
        .suppress_prefix_length
        .is_some_and(|length| u32::from(route.destination.prefix_len()) <= length);
    let in_group = rule
        .suppress_group
        .is_some_and(|group| leaves_by(host, route, group));
    if too_short || in_group {
        return Outcome::Suppressed(Box::new(route.clone()));
    }
    Outcome::Decides(Box::new(route.clone()))
}

/// The route of a table that has the answer for a destination.
pub(crate) fn best(host: &Host, table: TableId, to: IpAddr) -> Option<&Route> {
    let routes = host.routes.iter().filter(|route| {
        route.table == table
            && route.tos == 0
            && Family::of(to) == route.family()
            && covers(route.destination, host_prefix(to))
            && usable(host, route)
    });
    // The first of equals, as the kernel lists them.
    routes.min_by_key(|route| (Reverse(route.destination.prefix_len()), route.metric))
}

/// A route whose only way is down is passed over.
fn usable(host: &Host, route: &Route) -> bool {
    route.hops.is_empty() || way_out(host, route).is_some()
}

/// The link a route leaves by: that of its first leg that is up.
pub(crate) fn way_out<'a>(host: &'a Host, route: &Route) -> Option<&'a Link> {
    route
        .hops
        .iter()
        .find_map(|hop| host.links.get(&hop.out).filter(|link| link.up))
}

fn leaves_by(host: &Host, route: &Route, group: Group) -> bool {
    way_out(host, route).is_some_and(|link| link.group == group)
}

#[cfg(test)]
mod tests;
