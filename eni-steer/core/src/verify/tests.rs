//! The verdict on hosts whose answers come from the walk of `explain`, which a test in the lab
//! holds against the kernel.

use super::*;
use crate::{
    apply::apply,
    desired::Absence,
    explain::{Answer, Facts, trace},
    fake::{FakeExecutor, fake_host},
    ownership::Ownership,
    policy::{AccessAction, AccessRule, Policy, PrimaryPolicy},
};

/// Two ENIs on one subnet with secondary addresses, IPv6, and a container bridge.
fn bare() -> Host {
    fake_host()
        .eni(2, "eth0", &["172.16.20.176/24", "2001:db8:20::176/64"])
        .eni(
            3,
            "eth1",
            &[
                "172.16.20.177/24",
                "172.16.20.179/24",
                "2001:db8:20::177/64",
            ],
        )
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .route("default via 172.16.20.253 dev eth0")
        .route("default via 2001:db8:20::253 dev eth0")
}

fn desired(host: &Host, policy: &Policy) -> Desired {
    Desired::for_host(host, policy, Absence::Error, 1).expect("the host allows it")
}

fn applied(policy: &Policy) -> Host {
    let host = bare();
    let plan = Plan::between(&desired(&host, policy), &host);
    let mut kernel = FakeExecutor { host };
    assert!(apply(&plan, &mut kernel).is_complete());
    kernel.host
}

/// What the kernel would answer.
fn answer(host: &Host, flow: &Flow) -> RouteLookup {
    let walk = trace(host, &Facts::default(), flow);
    match walk.answers.first().expect("an answer") {
        Answer::Leaves {
            table, kind, legs, ..
        } => RouteLookup::Leaves {
            by: legs[0].out,
            gateway: legs[0].gateway,
            table: *table,
            kind: *kind,
            source: None,
        },
        Answer::OnLink { by } => RouteLookup::Leaves {
            by: *by,
            gateway: None,
            table: crate::model::TableId::MAIN,
            kind: crate::model::RouteKind::Unicast,
            source: None,
        },
        Answer::Refused { errno } => RouteLookup::Refused { errno: *errno },
        Answer::Unresolved { .. } => panic!("no nexthop objects here"),
    }
}

fn verdict(host: &Host, policy: &Policy) -> PolicyVerdict {
    let desired = desired(host, policy);
    let inspection = Inspection::new(&desired, host);
    let answers: Vec<_> = inspection.flows().map(|flow| answer(host, flow)).collect();
    inspection.judge(&answers)
}

/// The causes of a verdict: what, and how many probes and addresses.
fn found(verdict: &PolicyVerdict) -> Vec<(CauseKind, usize, usize)> {
    let causes = causes(verdict, &Ownership::default());
    let row = |cause: &Cause| (cause.kind, cause.probes, cause.addresses);
    causes.iter().map(row).collect()
}

fn misrouted(verdict: &PolicyVerdict) -> Vec<String> {
    let line = |one: &Misrouted| {
        let by = one.by.as_deref().unwrap_or("refused");
        format!("{} -> {} {by} not {}", one.source, one.to, one.wanted)
    };
    verdict.misrouted.iter().map(line).collect()
}

#[test]
fn where_everything_is_in_place_every_question_has_the_right_answer() {
    for primary in [PrimaryPolicy::default(), PrimaryPolicy::Full] {
        let policy = Policy {
            primary,
            ..Policy::default()
        };
        let verdict = verdict(&applied(&policy), &policy);
        assert!(verdict.holds(), "{verdict:#?}");
        assert_eq!(verdict.refused, 0);
        assert_eq!(verdict.notes, [""; 0]);
        // eth0: per family gateway, far, a neighbour; and the container. eth1: one address more,
        // and a bound socket of each family. With rules for the primary, two of its own as well.
        let bound = if primary == PrimaryPolicy::Full { 4 } else { 2 };
        assert_eq!(verdict.probes, 6 + 9 + 2 + bound, "{primary:?}");
    }
}

#[test]
fn an_answer_that_is_missing_is_not_counted() {
    let host = applied(&Policy::default());
    let desired = desired(&host, &Policy::default());
    let inspection = Inspection::new(&desired, &host);
    let first: Vec<_> = inspection
        .flows()
        .take(3)
        .map(|flow| answer(&host, flow))
        .collect();
    let verdict = inspection.judge(&first);
    assert_eq!(verdict.probes, 3);
    assert!(verdict.holds());
}

#[test]
fn a_rule_that_comes_first_is_the_cause_of_all_that_it_takes() {
    let host = applied(&Policy::default()).rule("pref 100 lookup 254 protocol 0");
    let verdict = verdict(&host, &Policy::default());
    assert!(!verdict.holds());
    assert_eq!(
        misrouted(&verdict),
        [
            "172.16.20.177 -> 172.16.20.253 eth0 not eth1",
            "172.16.20.177 -> 203.0.113.113 eth0 not eth1",
            "172.16.20.177 -> 172.16.20.1 eth0 not eth1",
            "172.16.20.179 -> 172.16.20.253 eth0 not eth1",
            "172.16.20.179 -> 203.0.113.113 eth0 not eth1",
            "172.16.20.179 -> 172.16.20.1 eth0 not eth1",
        ]
    );
    assert_eq!(found(&verdict), [(CauseKind::ForeignRule, 6, 2)]);
    assert_eq!(verdict.misrouted[0].winner.rule_owner, None);
    assert!(!verdict.misrouted[0].winner.rule_is_ours);
    assert_eq!(verdict.drift, [""; 0]);
}

#[test]
fn a_rule_that_is_missing_is_drift_and_its_packets_follow_main() {
    let mut host = applied(&Policy::default());
    host.rules.retain(|rule| rule.from.is_none());
    let verdict = verdict(&host, &Policy::default());
    // Three of eth1, and two of the primary on the shared subnet.
    assert_eq!(verdict.drift.len(), 5, "{:?}", verdict.drift);
    // 172.16.20.177, .179, and the IPv6 address: three destinations each.
    assert_eq!(verdict.misrouted.len(), 9);
    let kinds: Vec<_> = found(&verdict).iter().map(|cause| cause.0).collect();
    assert_eq!(kinds, [CauseKind::NoRule, CauseKind::NoRule]);
}

#[test]
fn a_container_that_a_rule_takes_from_main_is_noticed() {
    let host = applied(&Policy::default())
        .route("default via 172.16.20.253 dev eth1 table 77")
        .rule("pref 100 from 172.16.20.177 lookup 77 protocol 0");
    let verdict = verdict(&host, &Policy::default());
    assert_eq!(
        misrouted(&verdict),
        ["172.16.20.177 -> 172.17.0.2 eth1 not docker0"]
    );
    assert_eq!(verdict.misrouted[0].probe, Probe::Elsewhere);
}

#[test]
fn an_answer_into_a_tunnel_that_takes_half_of_all_destinations_is_wrong() {
    let parts = |host: Host| {
        host.virtual_link(9, "wg0", "wireguard", &["10.8.0.6/24", "fd08::6/64"])
            .route("128.0.0.0/1 via 10.8.0.1 dev wg0")
            .route("2000::/3 via fd08::1 dev wg0")
            .route("10.0.0.0/8 via 10.8.0.1 dev wg0")
            .route("fc00::/7 via fd08::1 dev wg0")
    };
    let policy = Policy {
        primary: PrimaryPolicy::Full,
        ..Policy::default()
    };
    let right = verdict(&parts(applied(&policy)), &policy);
    assert!(right.holds(), "{right:#?}");
    // The first rule as earlier versions made it.
    let mut host = parts(applied(&policy));
    for rule in &mut host.rules {
        if rule.suppress_group.is_some() {
            rule.suppress_prefix_length = None;
        }
    }
    let wrong = verdict(&host, &policy);
    let far: Vec<_> = wrong
        .misrouted
        .iter()
        .map(|one| (one.probe, one.by.as_deref()))
        .collect();
    assert_eq!(far, [(Probe::Far, Some("wg0")); 5], "{wrong:#?}");
    assert_eq!(wrong.drift.len(), 4, "{:?}", wrong.drift);
}

#[test]
fn a_bridge_without_a_carrier_and_a_shared_address_have_no_right_answer() {
    let mut host = applied(&Policy::default());
    host.link_mut("docker0").carrier = false;
    let without = verdict(&host, &Policy::default()).probes;
    assert_eq!(without, 6 + 9 + 2, "no question about the container");
    let shared = applied(&Policy::default()).address("eth0", "172.16.20.179/24");
    let desired = desired(&shared, &Policy::default());
    let inspection = Inspection::new(&desired, &shared);
    let source = "172.16.20.179".parse().ok();
    assert!(inspection.flows().all(|flow| flow.from != source));
}

#[test]
fn a_socket_bound_to_an_eni_must_reach_its_gateway() {
    let host = applied(&Policy::default())
        .route("203.0.113.0/24 via 172.16.20.99 dev eth1 table 77")
        .rule("pref 100 oif eth1 lookup 77 protocol 0");
    let verdict = verdict(&host, &Policy::default());
    assert!(!verdict.holds());
    assert_eq!(misrouted(&verdict), [""; 0]);
    let [unbound] = verdict.unbound.as_slice() else {
        panic!("{verdict:#?}");
    };
    assert_eq!(
        (unbound.eni.as_str(), unbound.by.as_deref()),
        ("eth1", Some("eth1"))
    );
    assert_eq!(unbound.gateway, "172.16.20.99".parse().ok());
    let causes = causes(&verdict, &Ownership::default());
    assert_eq!(
        causes[0].what,
        "eth1: sockets that are bound to it do not use its gateway 172.16.20.253"
    );
    assert_eq!(
        causes[0].effect,
        "packets leave by eth1 to 172.16.20.99: for example 'ping -I eth1' fails"
    );
    // Without the rule the kernel takes every IPv4 destination for a neighbour; for IPv6 there is
    // no route.
    let mut host = applied(&Policy::default());
    host.rules.retain(|rule| rule.oif.is_none());
    let verdict = super::tests::verdict(&host, &Policy::default());
    let ways: Vec<_> = verdict
        .unbound
        .iter()
        .map(|one| (one.by.as_deref(), one.gateway))
        .collect();
    assert_eq!(ways, [(Some("eth1"), None), (None, None)]);
    let effects = super::causes(&verdict, &Ownership::default());
    assert!(
        effects[0]
            .effect
            .contains("looks for 203.0.113.113 itself on eth1")
    );
    assert!(effects[1].effect.contains("finds no route"));
}

#[test]
fn what_an_access_rule_refuses_is_as_configured() {
    let mut rule = AccessRule::new(AccessAction::Prohibit);
    rule.to = "203.0.113.0/24".parse().ok();
    let policy = Policy {
        access: vec![rule],
        ..Policy::default()
    };
    let host = applied(&policy);
    let verdict = verdict(&host, &policy);
    assert!(verdict.holds(), "{verdict:#?}");
    // The far destination of three IPv4 addresses. IPv4 sends from a bound socket all the same.
    assert!(verdict.refused >= 3, "{verdict:#?}");
    assert_eq!(verdict.overruled.len(), 0);
    // Another program's rule takes the packets that the access rule should refuse.
    let host = host.rule("pref 100 to 203.0.113.0/24 lookup 254 protocol 0");
    let verdict = super::tests::verdict(&host, &policy);
    let [overruled] = verdict.overruled.as_slice() else {
        panic!("{verdict:#?}");
    };
    assert_eq!(overruled.by.as_deref(), Some("eth0"));
    assert_eq!(
        overruled.winner.rule.as_ref().map(|rule| rule.priority.0),
        Some(100)
    );
}
