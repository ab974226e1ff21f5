//! Rules for access and balance, each tried with a packet it is there for.

use std::net::IpAddr;

use super::{Overruled, PolicyVerdict, decided, far, refuses, stranger};
use crate::{
    desired::Desired,
    explain::{best, way_out},
    model::{
        Family, Flow, Host, IfIndex, RouteLookup, Rule, RuleAction, TableId, covers, host_prefix,
    },
};

/// What `rtm_getroute_parse_ip_proto` takes in the kernel's net/ipv4/ip_input.c.
const ASKABLE4: [u8; 3] = [1, 6, 17];
/// The same for IPv6.
const ASKABLE6: [u8; 3] = [6, 17, 58];

/// The rules that are wanted and there: those that refuse, and those behind the source rules.
/// One that is not there is drift.
pub(super) fn rules<'a>(desired: &'a Desired, host: &'a Host) -> impl Iterator<Item = &'a Rule> {
    let behind = desired.ownership.steer_rule_priority(0);
    desired
        .rules
        .iter()
        .filter(move |rule| refuses(rule) || rule.priority >= behind)
        .filter(|rule| host.rules.contains(rule))
}

/// A packet that a rule selects, or why none can be asked for.
pub(super) fn packet(host: &Host, desired: &Desired, rule: &Rule) -> Result<Flow, String> {
    let askable = match rule.family {
        Family::V4 => ASKABLE4,
        Family::V6 => ASKABLE6,
    };
    if let Some(number) = rule.ip_protocol.filter(|number| !askable.contains(number)) {
        return Err(format!(
            "the kernel answers no question for IP protocol {number}"
        ));
    }
    let to = match rule.to {
        Some(net) => stranger(host, net, None).ok_or("its destinations are this host's own")?,
        None => far(rule.family),
    };
    let (iif, from) = match rule.iif.as_deref() {
        Some("lo") => (None, made_here(host, rule)?),
        None => match behind_the_host(host, desired, rule) {
            Some((link, from)) => (Some(link), Some(from)),
            None => (None, made_here(host, rule)?),
        },
        Some(name) => {
            let link = host.link_named(name);
            let index = link.ok_or_else(|| format!("there is no {name}"))?.index;
            let net = rule.from.or_else(|| {
                let mut nets = host.usable_addresses(index).map(|address| address.net);
                nets.find(|net| Family::of_net(*net) == rule.family)
            });
            let from = net.and_then(|net| stranger(host, net.trunc(), None));
            let from = from.ok_or_else(|| format!("{name} has no neighbour to ask for"))?;
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

/// The source of a packet of this host, if the rule asks for one. The kernel looks up none
/// that is not configured.
fn made_here(host: &Host, rule: &Rule) -> Result<Option<IpAddr>, String> {
    let Some(net) = rule.from else {
        return Ok(None);
    };
    let mut own = host.addresses.iter().map(|address| address.ip());
    let own = own.find(|own| covers(net, host_prefix(*own)));
    own.map(Some)
        .ok_or_else(|| format!("no address of this host is in {net}"))
}

/// A source that main finds behind an interface that is no ENI, and that interface: a
/// container, whose packets this host forwards.
fn behind_the_host(host: &Host, desired: &Desired, rule: &Rule) -> Option<(IfIndex, IpAddr)> {
    let from = stranger(host, rule.from?, None)?;
    let link = way_out(host, best(host, TableId::MAIN, from)?)?;
    let is_eni = desired.enis.iter().any(|eni| eni.index == link.index);
    (!is_eni && !link.loopback).then_some((link.index, from))
}

/// Puts what is wrong with an answer into the verdict.
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
    let winner = decided(host, desired, flow).winner;
    let packet = words(host, flow);
    match &winner.rule {
        // The order of our own rules is the configuration's.
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
fn words(host: &Host, flow: &Flow) -> String {
    let mut words = flow.to.to_string();
    let mut say = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push_str(&format!(" {word} {value}"));
        }
    };
    say("from", flow.from.map(|from| from.to_string()));
    say("iif", flow.iif.map(|index| host.name(index)));
    say(
        "mark",
        (flow.mark != 0).then(|| format!("{:#x}", flow.mark)),
    );
    say("uid", flow.uid.map(|uid| uid.to_string()));
    say("ipproto", flow.ip_protocol.map(|number| number.to_string()));
    say("sport", flow.sport.map(|port| port.to_string()));
    say("dport", flow.dport.map(|port| port.to_string()));
    words
}
