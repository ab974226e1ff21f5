//! Trials of access and balance rules: for each rule a packet that it matches, and whether the
//! kernel treats the packet as the rule says.

use std::net::IpAddr;

use super::{
    packets::{decide, far, other_host, refuses},
    verdict::{Overruled, PolicyVerdict},
};
use crate::{
    desired::Desired,
    explain::{best, way_out},
    model::{
        Family, Flow, Host, IfIndex, RouteLookup, Rule, RuleAction, TableId, covers, host_prefix,
    },
};

/// IP protocols that a lookup may name: `rtm_getroute_parse_ip_proto` in the kernel's
/// net/ipv4/ip_input.c refuses all others.
const LOOKUP_PROTOCOLS4: [u8; 3] = [1, 6, 17];
/// The same for IPv6.
const LOOKUP_PROTOCOLS6: [u8; 3] = [6, 17, 58];

/// The rules to try: the desired ones that refuse their packets, and those after the source rules.
/// A rule that is missing on the host is drift, which the plan shows.
pub(super) fn rules<'a>(desired: &'a Desired, host: &'a Host) -> impl Iterator<Item = &'a Rule> {
    let after_source_rules = desired.ownership.steer_rule_priority(0);
    desired
        .rules
        .iter()
        .filter(move |rule| refuses(rule) || rule.priority >= after_source_rules)
        // The rule before balance leaves packets to main only where main uses another interface.
        .filter(|rule| rule.suppress_group.is_none())
        .filter(|rule| host.rules.contains(rule))
}

/// A packet that a rule matches, or the reason why eni-steer cannot ask the kernel about one.
pub(super) fn packet(host: &Host, desired: &Desired, rule: &Rule) -> Result<Flow, String> {
    let protocols = match rule.family {
        Family::V4 => LOOKUP_PROTOCOLS4,
        Family::V6 => LOOKUP_PROTOCOLS6,
    };
    if let Some(number) = rule
        .ip_protocol
        .filter(|number| !protocols.contains(number))
    {
        return Err(format!(
            "the kernel cannot look up packets of IP protocol {number}"
        ));
    }
    let to = match rule.to {
        Some(net) => {
            other_host(host, net, None).ok_or("all its destinations are addresses of this host")?
        }
        None => far(rule.family),
    };
    let (iif, from) = match rule.iif.as_deref() {
        Some("lo") => (None, own_source(host, rule)?),
        None => match forwarded_source(host, desired, rule) {
            Some((link, from)) => (Some(link), Some(from)),
            None => (None, own_source(host, rule)?),
        },
        Some(name) => {
            let index = host
                .link_named(name)
                .ok_or_else(|| format!("this host has no interface {name}"))?
                .index;
            let net = rule.from.or_else(|| {
                host.usable_addresses(index)
                    .map(|address| address.net)
                    .find(|net| Family::of_net(*net) == rule.family)
            });
            let from = net
                .and_then(|net| other_host(host, net.trunc(), None))
                .ok_or_else(|| {
                    format!("{name} has no address from whose subnet packets could come")
                })?;
            (Some(index), Some(from))
        }
    };
    Ok(Flow {
        from,
        iif,
        mark: rule.mark.map_or(0, |(mark, mask)| mark & mask),
        uid: rule.uids.map(|uids| uids.start),
        ip_protocol: rule.ip_protocol,
        sport: rule.sport.map(|ports| ports.start),
        dport: rule.dport.map(|ports| ports.start),
        ..Flow::to(to)
    })
}

/// The source of a packet that this host makes, if the rule names sources: one of this host's
/// addresses, because the kernel refuses to look up any other.
fn own_source(host: &Host, rule: &Rule) -> Result<Option<IpAddr>, String> {
    let Some(net) = rule.from else {
        return Ok(None);
    };
    host.addresses
        .iter()
        .map(|address| address.ip())
        .find(|ip| covers(net, host_prefix(*ip)))
        .map(Some)
        .ok_or_else(|| format!("no address of this host is in {net}"))
}

/// A source in the rule's prefix that the main table finds behind an interface that is not an ENI,
/// and that interface: for example a container, whose packets this host forwards.
fn forwarded_source(host: &Host, desired: &Desired, rule: &Rule) -> Option<(IfIndex, IpAddr)> {
    let from = other_host(host, rule.from?, None)?;
    let link = way_out(host, best(host, TableId::MAIN, from)?)?;
    let is_eni = desired.enis.iter().any(|eni| eni.index == link.index);
    (!is_eni && !link.loopback).then_some((link.index, from))
}

/// Compares the kernel's answer with what the rule says, and adds a difference to the verdict.
pub(super) fn judge(
    host: &Host,
    desired: &Desired,
    rule: &Rule,
    flow: &Flow,
    answer: &RouteLookup,
    verdict: &mut PolicyVerdict,
) {
    let as_wanted = match (rule.action, answer) {
        (RuleAction::Table(wanted), RouteLookup::Leaves { table, .. }) => wanted == *table,
        (RuleAction::Table(_), RouteLookup::Refused { .. }) => false,
        (_, RouteLookup::Refused { .. }) => true,
        (_, RouteLookup::Leaves { .. }) => false,
    };
    if as_wanted {
        return;
    }
    let winner = decide(host, desired, flow).winner;
    let packet = packet_text(host, flow);
    match &winner.rule {
        // The configuration determines the order of eni-steer's own rules, so this is not an error.
        Some(first) if winner.rule_is_ours && first != rule => verdict.notes.push(format!(
            "{packet}: 'ip {0} rule {first}' decides before 'ip {0} rule {rule}'",
            rule.family
        )),
        _ => verdict.overruled.push(Overruled {
            overruled: rule.clone(),
            packet,
            by: answer.leaves_by().map(|index| host.name(index)),
            winner,
        }),
    }
}

/// A packet in the words of `ip route get`.
fn packet_text(host: &Host, flow: &Flow) -> String {
    let mut words = flow.to.to_string();
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push_str(&format!(" {word} {value}"));
        }
    };
    add("from", flow.from.map(|from| from.to_string()));
    add("iif", flow.iif.map(|index| host.name(index)));
    add(
        "mark",
        (flow.mark != 0).then(|| format!("{:#x}", flow.mark)),
    );
    add("uid", flow.uid.map(|uid| uid.to_string()));
    add("ipproto", flow.ip_protocol.map(|number| number.to_string()));
    add("sport", flow.sport.map(|port| port.to_string()));
    add("dport", flow.dport.map(|port| port.to_string()));
    words
}
