//! Rules for access and balance, each tried with a packet it is there for.

use std::net::IpAddr;

use super::{Overruled, PolicyVerdict, decided, far, leaves_by, refuses, stranger};
use crate::{
    desired::Desired,
    explain::{Flow, best, way_out},
    model::{Family, IfIndex, Rule, RuleAction, TableId, covers, host},
    netlink::Answer,
    observe::Observed,
};

/// What `rtm_getroute_parse_ip_proto` takes in the kernel's net/ipv4/ip_input.c.
const ASKABLE4: [u8; 3] = [1, 6, 17];
/// The same for IPv6.
const ASKABLE6: [u8; 3] = [6, 17, 58];

/// The rules that are wanted and there: those that refuse, and those behind the source rules.
/// One that is not there is drift.
pub(super) fn rules<'a>(
    desired: &'a Desired,
    seen: &'a Observed,
) -> impl Iterator<Item = &'a Rule> {
    let behind = desired.ownership.pin_priority(0);
    desired
        .rules
        .iter()
        .filter(move |rule| refuses(rule) || rule.priority >= behind)
        .filter(|rule| seen.rules.contains(rule))
}

/// A packet that a rule selects, or why none can be asked for.
pub(super) fn packet(seen: &Observed, desired: &Desired, rule: &Rule) -> Result<Flow, String> {
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
        Some(net) => stranger(seen, net, None).ok_or("its destinations are this host's own")?,
        None => far(rule.family),
    };
    let (iif, from) = match rule.iif.as_deref() {
        Some("lo") => (None, made_here(seen, rule)?),
        None => match behind_the_host(seen, desired, rule) {
            Some((link, from)) => (Some(link), Some(from)),
            None => (None, made_here(seen, rule)?),
        },
        Some(name) => {
            let link = seen.link_named(name);
            let index = link.ok_or_else(|| format!("there is no {name}"))?.index;
            let net = rule.from.or_else(|| {
                let mut nets = seen.usable_addresses(index).map(|address| address.net);
                nets.find(|net| Family::of_net(*net) == rule.family)
            });
            let from = net.and_then(|net| stranger(seen, net.trunc(), None));
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
fn made_here(seen: &Observed, rule: &Rule) -> Result<Option<IpAddr>, String> {
    let Some(net) = rule.from else {
        return Ok(None);
    };
    let mut own = seen.addresses.iter().map(|address| address.ip());
    let own = own.find(|own| covers(net, host(*own)));
    own.map(Some)
        .ok_or_else(|| format!("no address of this host is in {net}"))
}

/// A source that main finds behind an interface that is no ENI, and that interface: a
/// container, whose packets this host forwards.
fn behind_the_host(seen: &Observed, desired: &Desired, rule: &Rule) -> Option<(IfIndex, IpAddr)> {
    let from = stranger(seen, rule.from?, None)?;
    let link = way_out(seen, best(seen, TableId::MAIN, from)?)?;
    let is_eni = desired.enis.iter().any(|eni| eni.index == link.index);
    (!is_eni && !link.loopback).then_some((link.index, from))
}

/// Puts what is wrong with an answer into the verdict.
pub(super) fn judge(
    seen: &Observed,
    desired: &Desired,
    rule: &Rule,
    flow: &Flow,
    answer: &Answer,
    verdict: &mut PolicyVerdict,
) {
    let as_wanted = match (rule.action, answer) {
        (RuleAction::Table(wanted), Answer::Leaves { table, .. }) => wanted == *table,
        (RuleAction::Table(_), Answer::Refused { .. }) => false,
        (_, Answer::Refused { .. }) => true,
        (_, Answer::Leaves { .. }) => false,
    };
    if as_wanted {
        return;
    }
    let winner = decided(seen, desired, flow).winner;
    let packet = words(seen, flow);
    match &winner.rule {
        // The order of our own rules is the configuration's.
        Some(first) if winner.rule_is_ours && first != rule => verdict.notes.push(format!(
            "{packet}: 'ip {0} rule {first}' decides before 'ip {0} rule {rule}'",
            rule.family
        )),
        _ => verdict.overruled.push(Overruled {
            overruled: rule.clone(),
            packet,
            by: leaves_by(answer).map(|index| seen.name(index)),
            winner,
        }),
    }
}

/// A packet in the words of `ip route get`.
fn words(seen: &Observed, flow: &Flow) -> String {
    let mut words = flow.to.to_string();
    let mut say = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push_str(&format!(" {word} {value}"));
        }
    };
    say("from", flow.from.map(|from| from.to_string()));
    say("iif", flow.iif.map(|index| seen.name(index)));
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
