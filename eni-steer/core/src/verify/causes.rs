//! Causes, not symptoms: everything that one rule or one gateway does wrong is one cause, with
//! what it affects, one example, and the command that ends it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    gateways::GatewayCheck,
    verdict::{Misrouted, PolicyVerdict, Unbound, Winner},
};
use crate::{
    known_tools::KERNEL,
    model::{Reachability, Rule},
    ownership::Ownership,
};

/// What is behind a wrong route or a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// A rule of another program decides before eni-steer's.
    ForeignRule,
    /// A rule of eni-steer's own leads another way than it should.
    OwnRule,
    /// No rule of eni-steer's serves the source: main's route is taken.
    NoRule,
    /// No rule leads anywhere: the packet is refused.
    NoRoute,
    /// A gateway does not answer ARP or neighbour discovery.
    GatewaySilent,
    /// Sockets that are bound to an ENI do not reach its gateway.
    BoundSocket,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What kind of cause it is.
    pub kind: CauseKind,
    /// The rule or the gateway, in words.
    pub what: String,
    /// The tool that the rule most likely belongs to.
    pub owner: Option<&'static str>,
    /// What follows from it, as a sentence.
    pub effect: String,
    /// How many questions to the kernel it answers wrongly.
    pub probes: usize,
    /// How many addresses it affects.
    pub addresses: usize,
    /// One packet that goes wrong.
    pub example: String,
    /// The command or the sentence that ends it.
    pub fix: String,
}

/// The causes behind a verdict, those that affect most first.
pub fn causes(verdict: &PolicyVerdict, ours: &Ownership) -> Vec<Cause> {
    type Key<'a> = (Option<Rule>, bool, Option<&'a str>);
    let mut groups: BTreeMap<Key<'_>, Vec<&Misrouted>> = BTreeMap::new();
    for one in &verdict.misrouted {
        let unserved = one.unserved.as_deref();
        let key = (one.winner.rule.clone(), one.served_by_main, unserved);
        groups.entry(key).or_default().push(one);
    }
    let mut found: Vec<Cause> = groups.values().map(|group| of_rule(group, ours)).collect();
    let silent = verdict.gateways.iter();
    let silent = silent.filter(|check| check.state == Reachability::Failed);
    found.extend(silent.map(of_gateway));
    found.extend(verdict.unbound.iter().map(of_unbound));
    found.sort_by_key(|cause| std::cmp::Reverse((cause.addresses, cause.probes)));
    found
}

fn of_rule(group: &[&Misrouted], ours: &Ownership) -> Cause {
    let first = group[0];
    let Winner {
        rule,
        rule_is_ours,
        rule_owner,
    } = &first.winner;
    let sources: BTreeSet<_> = group.iter().map(|one| one.source).collect();
    let enis: BTreeSet<&str> = group.iter().map(|one| one.owner.as_str()).collect();
    let enis = enis.into_iter().collect::<Vec<_>>().join(", ");
    let addresses = sources.len();
    let (kind, what) = match rule {
        None => (CauseKind::NoRoute, "no rule leads anywhere".to_owned()),
        Some(rule) => {
            let kind = match (rule_is_ours, *rule_owner) {
                (true, _) => CauseKind::OwnRule,
                (false, Some(KERNEL)) => CauseKind::NoRule,
                (false, _) => CauseKind::ForeignRule,
            };
            (kind, format!("ip {} rule {rule}", rule.family))
        }
    };
    let way = match &first.by {
        Some(by) => format!("leave by {by}"),
        None => "are refused".to_owned(),
    };
    let noun = if addresses == 1 {
        "address"
    } else {
        "addresses"
    };
    let effect = match kind {
        CauseKind::NoRule => format!(
            "no rule with a route matches {addresses} {noun} of {enis}, so the main table is used: \
             packets {way}"
        ),
        _ => format!("packets of {addresses} {noun} of {enis} {way}"),
    };
    // A rule before eni-steer's decides whatever eni-steer installs.
    let is_before = |rule: &Rule| rule.priority < ours.first;
    let comes_first = rule.as_ref().is_some_and(is_before) && kind == CauseKind::ForeignRule;
    let fix = match (kind, rule) {
        _ if !comes_first && first.unserved.is_some() => {
            let hint = first.unserved.as_deref().unwrap_or_default();
            format!("eni-steer knows no gateway for {}: {hint}", first.owner)
        }
        _ if !comes_first && first.served_by_main => format!(
            "the primary {} follows the main table here: with primary = \"auto\", 'eni-steer apply' \
             gives it rules where main does not decide; with primary = \"full\" it always has them",
            first.owner
        ),
        // A rule behind eni-steer's band decides only while the band does not stand there yet.
        (CauseKind::ForeignRule, Some(rule)) if rule.priority > ours.last => {
            "put eni-steer's rules in front of it: eni-steer apply".to_owned()
        }
        (CauseKind::ForeignRule, Some(rule)) => format!(
            "delete it, or give it a priority above {}: ip {} rule del {rule}",
            ours.last, rule.family
        ),
        (CauseKind::OwnRule, Some(rule)) => {
            format!("look at table of {rule}: 'eni-steer plan' shows what differs")
        }
        _ => "eni-steer apply".to_owned(),
    };
    Cause {
        kind,
        what,
        owner: rule_owner.filter(|owner| *owner != KERNEL),
        effect,
        probes: group.len(),
        addresses,
        example: format!(
            "{} -> {}: {}, should leave by {}",
            first.source,
            first.to,
            match &first.by {
                Some(by) => format!("leaves by {by}"),
                None => "refused".to_owned(),
            },
            first.wanted
        ),
        fix,
    }
}

fn of_unbound(unbound: &Unbound) -> Cause {
    let Unbound {
        eni,
        to,
        wanted,
        by,
        gateway,
    } = unbound;
    let found = match (by, gateway) {
        (None, _) => "the kernel finds no route".to_owned(),
        (Some(by), Some(gateway)) => format!("packets leave by {by} to {gateway}"),
        (Some(by), None) => format!("the kernel looks for {to} itself on {by}"),
    };
    Cause {
        kind: CauseKind::BoundSocket,
        what: format!("{eni}: sockets that are bound to it do not use its gateway {wanted}"),
        owner: None,
        effect: format!("{found}: for example 'ping -I {eni}' fails"),
        probes: 1,
        addresses: 0,
        example: format!("ip route get {to} oif {eni}"),
        fix: format!("see which rule decides: eni-steer explain --to {to} --oif {eni}"),
    }
}

fn of_gateway(check: &GatewayCheck) -> Cause {
    let GatewayCheck {
        eni,
        gateway,
        addresses,
        ..
    } = check;
    let noun = if *addresses == 1 {
        "address"
    } else {
        "addresses"
    };
    let question = if gateway.is_ipv4() {
        "ARP"
    } else {
        "neighbour discovery"
    };
    Cause {
        kind: CauseKind::GatewaySilent,
        what: format!("{eni}: gateway {gateway} does not answer {question}"),
        owner: None,
        effect: format!(
            "packets of {addresses} {noun} of {eni} to destinations behind the gateway are lost"
        ),
        probes: 0,
        addresses: *addresses,
        example: format!("ip neigh show {gateway} dev {eni}"),
        fix: format!(
            "correct the gateway (gateway = ... of {eni} in the configuration, or --gateway \
             {eni}=ADDRESS), then run 'eni-steer apply'"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Family, Priority, Protocol, RuleAction, TableId},
        verify::Probe,
    };

    fn rule(priority: u32, protocol: u8) -> Rule {
        let main = RuleAction::Table(TableId::MAIN);
        Rule::new(Family::V4, Priority(priority), Protocol(protocol), main)
    }

    fn misrouted(source: &str, rule: Option<Rule>, owner: Option<&'static str>) -> Misrouted {
        Misrouted {
            source: source.parse().expect("an address"),
            owner: "eth1".to_owned(),
            probe: Probe::Far,
            to: "203.0.113.113".parse().expect("an address"),
            wanted: "eth1".to_owned(),
            by: Some("eth0".to_owned()),
            served_by_main: false,
            unserved: None,
            winner: Winner {
                rule_is_ours: rule.as_ref().is_some_and(|rule| rule.protocol.0 == 229),
                rule,
                rule_owner: owner,
            },
        }
    }

    fn check(state: Reachability) -> GatewayCheck {
        GatewayCheck {
            eni: "eth9".to_owned(),
            gateway: "10.1.9.1".parse().expect("an address"),
            addresses: 2,
            state,
        }
    }

    fn found(misrouted: Vec<Misrouted>, gateways: Vec<GatewayCheck>) -> Vec<Cause> {
        let verdict = PolicyVerdict {
            misrouted,
            gateways,
            ..PolicyVerdict::default()
        };
        causes(&verdict, &Ownership::default())
    }

    #[test]
    fn fifty_addresses_that_one_rule_takes_are_one_cause_with_the_command_that_ends_it() {
        let all = (1..=50).flat_map(|n| {
            let source = format!("10.1.3.{n}");
            [0, 1].map(|_| misrouted(&source, Some(rule(50, 0)), None))
        });
        let found = found(all.collect(), Vec::new());
        let [cause] = found.as_slice() else {
            panic!("{found:#?}");
        };
        assert_eq!(cause.kind, CauseKind::ForeignRule);
        assert_eq!((cause.probes, cause.addresses), (100, 50));
        assert_eq!(
            cause.what,
            "ip -4 rule pref 50 from all lookup main protocol 0"
        );
        assert_eq!(
            cause.effect,
            "packets of 50 addresses of eth1 leave by eth0"
        );
        assert_eq!(
            cause.example,
            "10.1.3.1 -> 203.0.113.113: leaves by eth0, should leave by eth1"
        );
        assert_eq!(
            cause.fix,
            "delete it, or give it a priority above 20999: ip -4 rule del pref 50 from all lookup \
             main protocol 0"
        );
    }

    #[test]
    fn each_kind_of_rule_is_told_apart_and_the_widest_cause_comes_first() {
        let mut served = misrouted("10.0.0.5", Some(rule(32766, 2)), Some(KERNEL));
        served.served_by_main = true;
        let mut refused = misrouted("10.0.0.1", None, None);
        refused.by = None;
        let found = found(
            vec![
                refused,
                misrouted("10.0.0.2", Some(rule(20300, 229)), None),
                misrouted("10.0.0.3", Some(rule(32766, 2)), Some(KERNEL)),
                misrouted("10.0.0.4", Some(rule(32766, 2)), Some(KERNEL)),
                misrouted("10.0.0.4", Some(rule(5270, 0)), Some("Tailscale")),
                served,
            ],
            vec![check(Reachability::Reachable), check(Reachability::Unknown)],
        );
        let kinds: Vec<_> = found.iter().map(|cause| cause.kind).collect();
        assert_eq!(kinds[0], CauseKind::NoRule, "two addresses: {found:#?}");
        assert_eq!(found[0].fix, "eni-steer apply");
        assert_eq!(found[0].owner, None, "the kernel is no tool");
        let by = |kind| found.iter().filter(move |cause| cause.kind == kind);
        assert_eq!(by(CauseKind::NoRule).count(), 2);
        let primary = by(CauseKind::NoRule).nth(1).expect("main serves it");
        assert!(primary.fix.contains("primary"), "{}", primary.fix);
        let none = by(CauseKind::NoRoute).next().expect("no rule");
        assert_eq!(none.effect, "packets of 1 address of eth1 are refused");
        assert!(none.example.ends_with("refused, should leave by eth1"));
        let own = by(CauseKind::OwnRule).next().expect("our own");
        assert!(own.fix.contains("eni-steer plan"), "{}", own.fix);
        let tool = by(CauseKind::ForeignRule).next().expect("a tool's");
        assert_eq!(tool.owner, Some("Tailscale"));
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_a_cause_of_its_own() {
        let found = found(Vec::new(), vec![check(Reachability::Failed)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, CauseKind::GatewaySilent);
        assert_eq!(found[0].what, "eth9: gateway 10.1.9.1 does not answer ARP");
        assert_eq!(found[0].addresses, 2);
        let mut six = check(Reachability::Failed);
        six.gateway = "fd00::1".parse().expect("an address");
        six.addresses = 1;
        let found = super::tests::found(Vec::new(), vec![six]);
        assert!(found[0].what.ends_with("neighbour discovery"), "{found:?}");
        assert!(found[0].effect.contains("1 address of"), "{found:?}");
    }
}
