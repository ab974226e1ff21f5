//! Whether a rule selects a packet: `fib_rule_match` of net/core/fib_rules.c, `fib4_rule_match`
//! of net/ipv4/fib_rules.c and `fib6_rule_match` of net/ipv6/fib6_rules.c.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::{Family, Flow, PortRange, RareSelector, Rule, RuleAction, covers, host_prefix};

use super::View;

/// `IPPROTO_UDP`
const UDP: u8 = 17;
/// What IPv4 compares of the TOS byte (`INET_DSCP_LEGACY_TOS_MASK`).
const LEGACY_TOS: u8 = 0x1c;
/// The bits of the TOS byte that are the DSCP field.
const DSCP: u8 = 0xfc;

/// What a rule's selectors say to a packet.
pub(super) enum Match {
    /// They select it.
    Yes,
    /// They do not: the first that does not match, or `not`.
    No(&'static str),
    /// All that eni-steer knows of match, and these it does not know.
    Unknown(Vec<RareSelector>),
}

pub(super) fn matches(view: View<'_>, flow: &Flow, rule: &Rule) -> Match {
    let mismatch = mismatch(view, flow, rule);
    match (mismatch, rule.invert) {
        (Some(selector), false) => return Match::No(selector),
        // Whatever the others say: one that does not match is enough.
        (Some(_), true) => return Match::Yes,
        (None, _) => {}
    }
    let unknown: Vec<RareSelector> = rule
        .rare
        .iter()
        .copied()
        .filter(|selector| rarely_matches(view, flow, rule, *selector).is_none())
        .collect();
    match (unknown.is_empty(), rule.invert) {
        (false, _) => Match::Unknown(unknown),
        (true, false) => Match::Yes,
        (true, true) => Match::No("not"),
    }
}

/// The first selector that does not match.
fn mismatch(view: View<'_>, flow: &Flow, rule: &Rule) -> Option<&'static str> {
    let came_in_by = |name: &str| match flow.iif {
        None => name == "lo",
        Some(index) => view.host.link_named(name).map(|link| link.index) == Some(index),
    };
    if rule.iif.as_deref().is_some_and(|name| !came_in_by(name)) {
        return Some("iif");
    }
    let bound_to = |name: &str| {
        let link = view.host.link_named(name).map(|link| link.index);
        link.is_some() && link == flow.oif.filter(|_| flow.iif.is_none())
    };
    if rule.oif.as_deref().is_some_and(|name| !bound_to(name)) {
        return Some("oif");
    }
    if rule
        .mark
        .is_some_and(|(mark, mask)| flow.mark & mask != mark & mask)
    {
        return Some("fwmark");
    }
    if rule.action == RuleAction::L3mdev && view.vrf(flow).is_none() {
        return Some("l3mdev");
    }
    let uid = flow.uid.filter(|_| flow.iif.is_none()).unwrap_or(0);
    if rule
        .uids
        .is_some_and(|uids| !(uids.start..=uids.end).contains(&uid))
    {
        return Some("uidrange");
    }
    let outside = |net, address: Option<IpAddr>| match address {
        Some(address) => !covers(net, host_prefix(address)),
        // IPv4 compares with 0.0.0.0; IPv6 with nothing, which no prefix but ::/0 covers.
        None => match rule.family {
            Family::V4 => !covers(net, host_prefix(Ipv4Addr::UNSPECIFIED.into())),
            Family::V6 => net.prefix_len() != 0,
        },
    };
    if rule.from.is_some_and(|net| outside(net, flow.from)) {
        return Some("from");
    }
    if rule.to.is_some_and(|net| outside(net, Some(flow.to))) {
        return Some("to");
    }
    let tos = match rule.family {
        Family::V4 => flow.tos & LEGACY_TOS,
        Family::V6 => flow.tos & DSCP,
    };
    if rule.tos & DSCP != 0 && rule.tos & DSCP != tos {
        return Some("tos");
    }
    let asked_as = protocol(flow);
    if rule
        .ip_protocol
        .is_some_and(|protocol| protocol != 0 && Some(protocol) != asked_as)
    {
        return Some("ipproto");
    }
    let masked = |of: fn(&RareSelector) -> bool| rule.rare.iter().any(of);
    let outside = |range: Option<PortRange>, port: Option<u16>| {
        let port = port.unwrap_or(0);
        range.is_some_and(|range| !(range.start..=range.end).contains(&port))
    };
    let (source_masked, destination_masked) = (
        masked(|selector| matches!(selector, RareSelector::SourcePortMask(_))),
        masked(|selector| matches!(selector, RareSelector::DestinationPortMask(_))),
    );
    if !source_masked && outside(rule.sport, flow.sport) {
        return Some("sport");
    }
    if !destination_masked && outside(rule.dport, flow.dport) {
        return Some("dport");
    }
    let no_match =
        |selector: &&RareSelector| rarely_matches(view, flow, rule, **selector) == Some(false);
    rule.rare
        .iter()
        .find(no_match)
        .map(|selector| match selector {
            RareSelector::Dscp { .. } => "dscp",
            RareSelector::FlowLabel { .. } => "flowlabel",
            RareSelector::TunnelId(_) => "tun_id",
            RareSelector::SourcePortMask(_) => "sport",
            RareSelector::DestinationPortMask(_) => "dport",
            RareSelector::Flags(_) | RareSelector::Unknown { .. } => "unknown",
        })
}

/// The protocol that selectors are compared with. The kernel's IPv4 lookup takes a question
/// without a protocol for UDP (`inet_rtm_getroute` in net/ipv4/route.c).
pub(super) fn protocol(flow: &Flow) -> Option<u8> {
    flow.ip_protocol.or(flow.to.is_ipv4().then_some(UDP))
}

/// Whether a rare selector matches; `None`: eni-steer cannot tell.
fn rarely_matches(
    view: View<'_>,
    flow: &Flow,
    rule: &Rule,
    selector: RareSelector,
) -> Option<bool> {
    let port = |port: Option<u16>, range: Option<PortRange>, mask: u16| {
        let wanted = range.map_or(0, |range| range.start);
        (wanted ^ port.unwrap_or(0)) & mask == 0
    };
    match selector {
        RareSelector::Dscp { value, mask } => Some((value ^ (flow.tos >> 2)) & mask == 0),
        // The packets that explain asks for carry none.
        RareSelector::FlowLabel { value, mask } => Some(value & mask == 0),
        // Only packets that came out of a tunnel whose keys are metadata have one.
        RareSelector::TunnelId(_) => match flow.iif.and_then(|iif| view.host.links.get(&iif)) {
            Some(link) if link.kind.is_some() && link.kind.as_deref() != Some("veth") => None,
            _ => Some(false),
        },
        RareSelector::SourcePortMask(mask) => Some(port(flow.sport, rule.sport, mask)),
        RareSelector::DestinationPortMask(mask) => Some(port(flow.dport, rule.dport, mask)),
        RareSelector::Flags(_) | RareSelector::Unknown { .. } => None,
    }
}
