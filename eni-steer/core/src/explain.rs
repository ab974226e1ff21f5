//! Evaluates the rules in the kernel's order, and says which rule decides about a packet and why
//! the rules before it did not.
//!
//! `verify` judges routing by the kernel's own answer ([`crate::model::RouteLookup`]); this module
//! only names the rule behind that answer. It follows `fib_rules_lookup` in the kernel's
//! net/core/fib_rules.c and `fib_table_lookup` in net/ipv4/fib_trie.c.

use std::{cmp::Reverse, net::IpAddr};

use crate::model::{
    Family, Flow, Group, Host, Link, PortRange, Priority, Route, RouteKind, Rule, RuleAction,
    TableId, covers, host_prefix,
};

/// `IPPROTO_UDP`
const UDP: u8 = 17;

/// What a rule did with the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This selector of the rule does not match the packet.
    NoMatch(&'static str),
    /// This table has no route to the destination.
    NoRoute(TableId),
    /// The rule ignored this route (`suppress_prefixlength`, `suppress_ifgroup`).
    Suppressed(Box<Route>),
    /// A throw route sent the lookup on to the next rule.
    Thrown,
    /// The rule jumped to the rules of this priority.
    Jumps(Priority),
    /// The rule did nothing (`nop`).
    Nothing,
    /// The rule found this route, which decides.
    Decides(Box<Route>),
    /// The rule itself refused the packet.
    Refuses,
    /// The rule has a selector or an action that eni-steer does not know. The lookup continues as
    /// if it did not match.
    Unknown,
}

/// One rule on the packet's way through the rules, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) rule: Rule,
    pub(crate) outcome: Outcome,
}

/// The rules that the kernel evaluates for a packet, in order. The deciding rule is the last one;
/// if none decides, the packet has no route.
pub(crate) fn trace_rules(host: &Host, flow: &Flow) -> Vec<Visit> {
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
            // Where no rule has the target's priority, the kernel calls the jump unresolved and
            // does nothing.
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

/// The rule that decides, and its route; `None` for the route: the rule itself refuses. `None`
/// altogether: no rule decides.
pub(crate) fn decision(visits: &[Visit]) -> Option<(&Rule, Option<&Route>)> {
    let last = visits.last()?;
    match &last.outcome {
        Outcome::Decides(route) => Some((&last.rule, Some(route))),
        Outcome::Refuses => Some((&last.rule, None)),
        _ => None,
    }
}

/// What one rule does with the packet (`fib_rules_lookup`).
fn visit(host: &Host, flow: &Flow, rule: &Rule) -> Outcome {
    if rule.partial {
        return Outcome::Unknown;
    }
    match (first_mismatch(host, flow, rule), rule.invert) {
        (Some(selector), false) => return Outcome::NoMatch(selector),
        (None, true) => return Outcome::NoMatch("not"),
        _ => {}
    }
    match rule.action {
        RuleAction::Table(table) => look_up(host, flow, rule, table),
        RuleAction::Goto(target) => Outcome::Jumps(target),
        RuleAction::Nop => Outcome::Nothing,
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => Outcome::Refuses,
        // Applies to packets of a VRF's interfaces, and eni-steer refuses ENIs in a VRF.
        RuleAction::L3mdev => Outcome::NoMatch("l3mdev"),
        RuleAction::Other(_) => Outcome::Unknown,
    }
}

/// The first selector of the rule that does not match the packet (`fib_rule_match`).
fn first_mismatch(host: &Host, flow: &Flow, rule: &Rule) -> Option<&'static str> {
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
    // The kernel's IPv4 lookup assumes UDP where the request names no protocol
    // (inet_rtm_getroute in net/ipv4/route.c).
    let protocol = flow.ip_protocol.or(flow.to.is_ipv4().then_some(UDP));
    let outside_ports = |range: Option<PortRange>, port: Option<u16>| {
        range.is_some_and(|range| !port.is_some_and(|p| (range.start..=range.end).contains(&p)))
    };
    if rule
        .ip_protocol
        .is_some_and(|wanted| Some(wanted) != protocol)
        || outside_ports(rule.sport, flow.sport)
        || outside_ports(rule.dport, flow.dport)
    {
        return Some("ipproto/ports");
    }
    // A forwarded packet belongs to no user.
    let uid = flow.uid.or(flow.iif.is_none().then_some(0));
    if rule
        .uids
        .is_some_and(|uids| !uid.is_some_and(|uid| (uids.start..=uids.end).contains(&uid)))
    {
        return Some("uidrange");
    }
    (rule.tos != 0).then_some("tos")
}

/// Looks the destination up in the rule's table, as `fib4_rule_action` and
/// `fib4_rule_suppress` do.
fn look_up(host: &Host, flow: &Flow, rule: &Rule, table: TableId) -> Outcome {
    let Some(route) = best(host, table, flow.to) else {
        return Outcome::NoRoute(table);
    };
    if route.kind == RouteKind::Throw {
        return Outcome::Thrown;
    }
    // The kernel suppresses only routes that it would use: a route that refuses is final.
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

/// The route of a table that the kernel uses for a destination: the longest prefix, then the
/// lowest metric.
pub(crate) fn best(host: &Host, table: TableId, to: IpAddr) -> Option<&Route> {
    let routes = host.routes.iter().filter(|route| {
        route.table == table
            && route.tos == 0
            && Family::of(to) == route.family()
            && covers(route.destination, host_prefix(to))
            && usable(host, route)
    });
    // Of several equal routes, the first in the kernel's list.
    routes.min_by_key(|route| (Reverse(route.destination.prefix_len()), route.metric))
}

/// Whether the kernel can use a route: it passes over one whose interfaces are all down.
fn usable(host: &Host, route: &Route) -> bool {
    route.hops.is_empty() || way_out(host, route).is_some()
}

/// The interface that a route leaves by: that of its first next hop whose interface is up.
pub(crate) fn way_out<'a>(host: &'a Host, route: &Route) -> Option<&'a Link> {
    route
        .hops
        .iter()
        .find_map(|hop| host.links.get(&hop.out).filter(|link| link.up))
}

/// Whether a route leaves by an interface of this group.
fn leaves_by(host: &Host, route: &Route, group: Group) -> bool {
    way_out(host, route).is_some_and(|link| link.group == group)
}

#[cfg(test)]
mod tests;
