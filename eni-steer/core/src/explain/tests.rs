//! The walk against the semantics of the kernel: fib_rules_lookup and fib_rule_match in
//! net/core/fib_rules.c, the actions and suppressions in net/ipv4/fib_rules.c and
//! net/ipv6/fib6_rules.c.

use super::*;
use crate::fake::{fake_host as bare_host, index};
use crate::model::{Family, Group, Host};

/// Two ENIs with their tables, a container bridge, and the rules an apply makes.
fn applied() -> Host {
    let mut seen = bare_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .eni(3, "eth1", &["172.16.20.177/24"])
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .route("default via 172.16.20.253 dev eth0")
        .route("172.16.20.0/24 dev eth1 table 21001 scope link")
        .route("default via 172.16.20.253 dev eth1 table 21001")
        .rule("pref 20000 lookup 254 suppress_ifgroup 7")
        .rule("pref 20010 from 172.16.20.177 lookup 21001");
    for eni in ["eth0", "eth1"] {
        seen.link_mut(eni).group = Group(7);
    }
    seen
}

fn flow(from: &str, to: &str) -> Flow {
    let parse = |text: &str| text.parse().expect("an address");
    Flow::to(parse(to)).from(parse(from))
}

/// From eth1's address to the world.
fn outward() -> Flow {
    flow("172.16.20.177", "8.8.8.8")
}

fn outcomes(seen: &Host, flow: &Flow) -> Vec<(u32, Outcome)> {
    trace_rules(seen, flow)
        .into_iter()
        .map(|visit| (visit.rule.priority.0, visit.outcome))
        .collect()
}

/// Priority of the deciding rule and the link its route leaves by.
fn decided(seen: &Host, flow: &Flow) -> Option<(u32, String)> {
    let visits = trace_rules(seen, flow);
    let (rule, route) = decision(&visits)?;
    let by = route.map_or("refused".to_owned(), |route| match route.hops.first() {
        Some(hop) => seen.name(hop.out),
        None => route.kind.to_string(),
    });
    Some((rule.priority.0, by))
}

fn decides(priority: u32, by: &str) -> Option<(u32, String)> {
    Some((priority, by.to_owned()))
}

#[test]
fn an_owned_source_is_decided_by_its_source_rule() {
    let seen = applied();
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
    let others: Vec<u32> = outcomes(&seen, &outward()).iter().map(|o| o.0).collect();
    assert_eq!(others, [0, 20000, 20010], "nothing is visited behind it");
    assert!(matches!(
        &outcomes(&seen, &outward())[1].1,
        Outcome::Suppressed(route) if route.is_default()
    ));
}

#[test]
fn what_leaves_by_no_eni_stays_with_main() {
    let answer = flow("172.16.20.177", "172.17.0.2");
    assert_eq!(decided(&applied(), &answer), decides(20000, "docker0"));
}

#[test]
fn another_source_is_decided_by_main() {
    let other = flow("172.16.20.176", "8.8.8.8");
    assert_eq!(decided(&applied(), &other), decides(32766, "eth0"));
    assert_eq!(
        outcomes(&applied(), &other)[2],
        (20010, Outcome::NoMatch("from"))
    );
}

#[test]
fn a_rule_of_somebody_else_ahead_of_ours_is_the_one_named() {
    let seen = applied().rule("pref 100 lookup 254");
    assert_eq!(decided(&seen, &outward()), decides(100, "eth0"));
}

#[test]
fn families_do_not_mix() {
    let seen = applied().rule6("pref 100 unreachable");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
}

#[test]
fn a_goto_skips_to_its_target() {
    let seen = applied().rule("pref 100 goto 32766");
    assert_eq!(decided(&seen, &outward()), decides(32766, "eth0"));
    assert_eq!(
        outcomes(&seen, &outward())[1],
        (100, Outcome::Jumps(Priority(32766)))
    );
}

#[test]
fn a_goto_to_where_no_rule_stands_does_nothing() {
    let seen = applied().rule("pref 100 goto 32000");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
}

#[test]
fn a_nop_does_nothing() {
    let seen = applied().rule("pref 100 nop");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
    assert_eq!(outcomes(&seen, &outward())[1], (100, Outcome::Nothing));
}

#[test]
fn an_inverse_rule_matches_what_its_selectors_do_not() {
    // As wg-quick makes it: everything but its own packets goes through the tunnel.
    let seen = applied()
        .virtual_link(5, "wg0", "wireguard", &[])
        .route("default dev wg0 table 51820")
        .rule("pref 90 not fwmark 51820/4294967295 lookup 51820");
    assert_eq!(decided(&seen, &outward()), decides(90, "wg0"));
    let marked = Flow {
        mark: 51820,
        ..outward()
    };
    assert_eq!(decided(&seen, &marked), decides(20010, "eth1"));
    assert_eq!(outcomes(&seen, &marked)[1], (90, Outcome::NoMatch("not")));
}

#[test]
fn a_mark_is_compared_under_its_mask() {
    let seen = applied().rule("pref 90 fwmark 16/240 lookup 254");
    let marked = |mark| Flow { mark, ..outward() };
    assert_eq!(decided(&seen, &marked(0x1f)), decides(90, "eth0"));
    assert_eq!(decided(&seen, &marked(0x2f)), decides(20010, "eth1"));
    assert_eq!(
        outcomes(&seen, &marked(0))[1],
        (90, Outcome::NoMatch("fwmark"))
    );
}

#[test]
fn a_default_route_is_suppressed_by_length_and_a_longer_one_is_not() {
    let seen = applied().rule("pref 90 lookup 254 suppress_prefixlength 0");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
    let near = flow("172.16.20.177", "172.16.20.5");
    assert_eq!(decided(&seen, &near), decides(90, "eth0"));
}

#[test]
fn a_refusal_is_never_suppressed() {
    for kind in ["blackhole", "unreachable", "prohibit"] {
        let seen = applied()
            .route(&format!("{kind} default table 100"))
            .rule("pref 90 lookup 100 suppress_prefixlength 0 suppress_ifgroup 7");
        assert_eq!(decided(&seen, &outward()), decides(90, kind));
    }
}

#[test]
fn a_throw_route_sends_the_walk_on() {
    let seen = applied()
        .route("throw 8.8.8.0/24 table 100")
        .route("default via 172.16.20.253 dev eth0 table 100")
        .rule("pref 90 lookup 100");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
    assert_eq!(outcomes(&seen, &outward())[1], (90, Outcome::Thrown));
    let elsewhere = flow("172.16.20.177", "9.9.9.9");
    assert_eq!(decided(&seen, &elsewhere), decides(90, "eth0"));
}

#[test]
fn an_empty_table_sends_the_walk_on() {
    let seen = applied().rule("pref 90 lookup 100");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
    let visit = (90, Outcome::NoRoute(TableId(100)));
    assert_eq!(outcomes(&seen, &outward())[1], visit);
}

#[test]
fn a_rule_that_refuses_decides_without_a_route() {
    for action in ["blackhole", "unreachable", "prohibit"] {
        let seen = applied().rule(&format!("pref 90 to 8.8.8.0/24 {action}"));
        assert_eq!(decided(&seen, &outward()), decides(90, "refused"));
        let visits = trace_rules(&seen, &outward());
        assert_eq!(decision(&visits).map(|(_, route)| route), Some(None));
    }
}

#[test]
fn nobody_decides_where_no_rule_has_an_answer() {
    let mut seen = applied();
    seen.routes.retain(|route| !route.is_default());
    assert_eq!(decided(&seen, &outward()), None);
    assert_eq!(
        outcomes(&seen, &outward()).len(),
        seen.rules_of(Family::V4).count()
    );
}

#[test]
fn each_selector_that_does_not_match_is_named() {
    for (words, selector) in [
        ("from 10.0.0.0/8", "from"),
        ("to 10.0.0.0/8", "to"),
        ("fwmark 1/1", "fwmark"),
        ("iif docker0", "iif"),
        ("oif eth0", "oif"),
        ("ipproto 6", "ipproto"),
        ("ipproto 17 dport 53", "dport"),
        ("sport 1-1024", "sport"),
        ("uidrange 1000-2000", "uidrange"),
        ("tos 16", "tos"),
        ("l3mdev", "l3mdev"),
    ] {
        let seen = applied()
            .rule(&format!("pref 90 {words} lookup 254").replace("l3mdev lookup 254", "l3mdev"));
        assert_eq!(
            outcomes(&seen, &outward())[1],
            (90, Outcome::NoMatch(selector)),
            "{words}"
        );
    }
}

#[test]
fn selectors_that_hold_for_a_packet_made_here_match() {
    for words in [
        "iif lo",
        "uidrange 0-4294967295",
        "from 172.16.0.0/12 to 8.0.0.0/8",
    ] {
        let seen = applied().rule(&format!("pref 90 {words} lookup 254"));
        assert_eq!(decided(&seen, &outward()), decides(90, "eth0"), "{words}");
    }
}

#[test]
fn what_a_packet_says_of_itself_is_held_against_the_selectors() {
    let docker0 = applied().link_named("docker0").map(|link| link.index);
    let said = Flow {
        iif: docker0,
        uid: Some(1500),
        ip_protocol: Some(6),
        sport: Some(4000),
        dport: Some(443),
        ..outward()
    };
    for words in [
        "iif docker0",
        // What is forwarded is root's.
        "uidrange 0-0",
        "ipproto 6",
        "sport 4000-4001",
        "dport 400-443",
    ] {
        let seen = applied().rule(&format!("pref 90 {words} lookup 254"));
        assert_eq!(decided(&seen, &said), decides(90, "eth0"), "{words}");
    }
    for (words, selector) in [
        ("iif lo", "iif"),
        ("uidrange 1000-1999", "uidrange"),
        ("ipproto 17", "ipproto"),
        ("sport 4001-4002", "sport"),
        ("dport 80", "dport"),
    ] {
        let seen = applied().rule(&format!("pref 90 {words} lookup 254"));
        let missed = (90, Outcome::NoMatch(selector));
        assert_eq!(outcomes(&seen, &said)[1], missed, "{words}");
    }
    let made_here = Flow { iif: None, ..said };
    let seen = applied().rule("pref 90 uidrange 1000-1999 lookup 254");
    assert_eq!(decided(&seen, &made_here), decides(90, "eth0"));
}

#[test]
fn what_has_no_source_has_the_source_zero_in_ipv4_and_none_in_ipv6() {
    let unsourced = Flow::to(outward().to);
    assert_eq!(decided(&applied(), &unsourced), decides(32766, "eth0"));
    let seen = applied()
        .rule("pref 90 from 0.0.0.0/1 lookup 21001")
        .route("default via fe80::1 dev eth0")
        .rule6("pref 90 from ::/1 prohibit");
    assert_eq!(decided(&seen, &unsourced), decides(90, "eth1"));
    let six = Flow::to("2001:db8:9::9".parse().expect("an address"));
    assert_eq!(decided(&seen, &six), decides(32766, "eth0"));
}

#[test]
fn an_ipv4_question_without_a_protocol_passes_for_udp_and_an_ipv6_one_does_not() {
    let seen = applied().rule("pref 90 ipproto 17 lookup 254");
    assert_eq!(decided(&seen, &outward()), decides(90, "eth0"));
    let seen = applied()
        .address("eth0", "2001:db8::176/64")
        .route("default via fe80::1 dev eth0")
        .rule6("pref 90 ipproto 17 lookup 254");
    let six = flow("2001:db8::176", "2001:db8:9::9");
    assert_eq!(decided(&seen, &six), decides(32766, "eth0"));
}

/// The host with a rule before ours that has an unknown selector.
fn with_unknown(rule: &str) -> Host {
    let mut seen = applied().rule(rule);
    seen.rules[1].partial = true;
    seen.rules[1].rare = vec![RareSelector::Unknown { attribute: 99 }];
    seen
}

#[test]
fn a_rule_that_can_not_be_judged_is_named_with_what_it_would_do_and_both_ways_are_answers() {
    let seen = with_unknown("pref 90 lookup 254");
    let walk = trace(&seen, &Facts::default(), &outward());
    let Outcome::CannotTell { selectors, then } = &walk.visits[1].outcome else {
        panic!("{walk:?}");
    };
    assert_eq!(*selectors, [RareSelector::Unknown { attribute: 99 }]);
    assert!(matches!(&**then, Outcome::Decides(route) if route.is_default()));
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
    let ways: Vec<_> = walk.answers.iter().flat_map(Answer::interfaces).collect();
    assert_eq!(ways.len(), 2, "eth0 and eth1: {walk:?}");
}

#[test]
fn a_rule_with_an_unknown_selector_and_a_known_one_that_does_not_match_does_not_match() {
    let seen = with_unknown("pref 90 to 10.0.0.0/8 lookup 254");
    assert_eq!(outcomes(&seen, &outward())[1], (90, Outcome::NoMatch("to")));
}

#[test]
fn an_unknown_jump_is_followed_as_well() {
    let seen = with_unknown("pref 90 goto 32766");
    let walk = trace(&seen, &Facts::default(), &outward());
    assert_eq!(walk.answers.len(), 2, "{walk:?}");
    assert_eq!(decided(&seen, &outward()), decides(20010, "eth1"));
}

#[test]
fn rare_selectors_that_can_be_judged_are() {
    let dscp = RareSelector::Dscp {
        value: 0x2e,
        mask: 0x3f,
    };
    for (selector, name) in [
        (dscp, "dscp"),
        (RareSelector::TunnelId(7), "tun_id"),
        (RareSelector::FlowLabel { value: 1, mask: 1 }, "flowlabel"),
    ] {
        let mut seen = with_unknown("pref 90 lookup 254");
        seen.rules[1].rare = vec![selector];
        assert_eq!(outcomes(&seen, &outward())[1], (90, Outcome::NoMatch(name)));
    }
    let mut seen = with_unknown("pref 90 lookup 254");
    seen.rules[1].rare = vec![dscp];
    let expedited = Flow {
        tos: 0xb8,
        ..outward()
    };
    assert_eq!(decided(&seen, &expedited), decides(90, "eth0"));
}

#[test]
fn a_socket_bound_to_an_interface_takes_only_routes_by_it_and_then_the_link() {
    let host = applied();
    let bound = |name| Flow {
        oif: host.link_named(name).map(|link| link.index),
        ..Flow::to(outward().to)
    };
    assert_eq!(decided(&host, &bound("eth0")), decides(32766, "eth0"));
    let walk = trace(&host, &Facts::default(), &bound("eth1"));
    let eth1 = host.link_named("eth1").expect("eth1").index;
    assert_eq!(walk.answers, [Answer::OnLink { by: eth1 }]);
    assert_eq!(walk.beside, Some(Beside::BoundAllTheSame));
}

#[test]
fn a_source_of_no_interface_is_refused_before_any_rule() {
    let walk = trace(&applied(), &Facts::default(), &flow("192.0.2.9", "8.8.8.8"));
    assert_eq!(
        (walk.visits.len(), walk.beside),
        (0, Some(Beside::ForeignSource))
    );
}

#[test]
fn ipv6_passes_over_a_gateway_that_did_not_answer_unless_it_forwards() {
    let seen = bare_host()
        .eni(2, "eth0", &["2001:db8::176/64"])
        .route("2001:db8:9::/48 via fe80::1 dev eth0")
        .route("default via fe80::2 dev eth0");
    let mut facts = Facts::default();
    let (eth0, dead) = (seen.link_named("eth0").expect("eth0").index, "fe80::1");
    let dead = dead.parse().expect("an address");
    facts
        .neighbours
        .insert((eth0, dead), NeighbourState::Failed);
    let question = flow("2001:db8::176", "2001:db8:9::9");
    let gateway = |facts: &Facts| match &trace(&seen, facts, &question).answers[..] {
        [Answer::Leaves { legs, .. }] => legs[0].gateway,
        other => panic!("{other:?}"),
    };
    assert_eq!(gateway(&facts), "fe80::2".parse().ok());
    facts.ipv6_forwarding = true;
    assert_eq!(gateway(&facts), Some(dead));
}

#[test]
fn the_longest_prefix_wins_then_the_lowest_metric_then_the_first() {
    let seen = applied()
        .route("8.0.0.0/8 via 172.16.20.1 dev eth0 metric 5")
        .route("8.8.0.0/16 via 172.16.20.2 dev eth0 metric 20")
        .route("8.8.0.0/16 via 172.16.20.3 dev eth0 metric 10")
        .route("8.8.0.0/16 via 172.16.20.4 dev eth0 metric 10")
        .rule("pref 90 lookup 254");
    let visits = trace_rules(&seen, &outward());
    let (_, route) = decision(&visits).expect("a decision");
    let gateway = route.and_then(|route| route.hops[0].gateway);
    assert_eq!(gateway, Some("172.16.20.3".parse().expect("an address")));
}

#[test]
fn a_route_for_another_tos_is_passed_over() {
    let mut seen = applied()
        .route("8.8.8.0/24 via 172.16.20.1 dev docker0")
        .rule("pref 90 lookup 254");
    seen.routes.last_mut().expect("a route").tos = 0x10;
    assert_eq!(decided(&seen, &outward()), decides(90, "eth0"));
}

#[test]
fn a_way_that_is_down_is_passed_over() {
    let mut seen = applied()
        .route("8.8.8.0/24 via 172.16.20.1 dev docker0")
        .rule("pref 90 lookup 254");
    assert_eq!(decided(&seen, &outward()), decides(90, "docker0"));
    seen.link_mut("docker0").up = false;
    assert_eq!(decided(&seen, &outward()), decides(90, "eth0"));
}

#[test]
fn a_group_suppresses_ipv4_routes_by_their_first_leg_whichever_is_taken() {
    let mut seen = applied()
        .route("8.8.8.0/24 nexthop via 172.17.0.9 dev docker0 nexthop via 172.16.20.9 dev eth0");
    assert_eq!(decided(&seen, &outward()), decides(20000, "docker0"));
    seen.link_mut("docker0").up = false;
    let decider = decided(&seen, &outward()).map(|(priority, _)| priority);
    assert_eq!(decider, Some(20000));
}

#[test]
fn an_address_of_this_host_is_delivered_by_local() {
    let seen = applied().route("local 172.16.20.176 dev eth0 table 255");
    let inward = flow("172.16.20.177", "172.16.20.176");
    assert_eq!(decided(&seen, &inward), decides(0, "eth0"));
}

/// The kernel's answer that it sends the packet.
fn leaves(by: u32, gateway: Option<&str>, table: u32, kind: RouteKind) -> RouteLookup {
    RouteLookup::Leaves {
        by: index(by),
        gateway: gateway.map(|text| text.parse().expect("an address")),
        table: TableId(table),
        kind,
        source: None,
    }
}

/// eni-steer's answer with one leg by eth1 (index 3), via 172.16.20.253, in table 21001.
fn by_eth1(kind: RouteKind, shared: bool) -> Answer {
    let gateway = "172.16.20.253".parse().expect("an address");
    Answer::Leaves {
        table: TableId(21001),
        kind,
        legs: vec![Hop::new(index(3), Some(gateway))],
        shared,
    }
}

#[test]
fn an_answer_agrees_only_with_the_same_table_kind_interface_and_gateway() {
    const VIA: Option<&str> = Some("172.16.20.253");
    let ours = by_eth1(RouteKind::Unicast, false);
    assert!(ours.agrees(&leaves(3, VIA, 21001, RouteKind::Unicast)));
    for (what, other) in [
        ("interface", leaves(2, VIA, 21001, RouteKind::Unicast)),
        ("gateway", leaves(3, None, 21001, RouteKind::Unicast)),
        ("table", leaves(3, VIA, 254, RouteKind::Unicast)),
        ("kind", leaves(3, VIA, 21001, RouteKind::Multicast)),
        ("refusal", RouteLookup::Refused { errno: 101 }),
    ] {
        assert!(!ours.agrees(&other), "another {what}");
    }
    // Nexthop objects: the kernel may name another table, and nothing else may differ.
    let shared = by_eth1(RouteKind::Unicast, true);
    assert!(shared.agrees(&leaves(3, VIA, 254, RouteKind::Unicast)));
    assert!(!shared.agrees(&leaves(3, VIA, 254, RouteKind::Multicast)));
    assert!(!shared.agrees(&leaves(2, VIA, 254, RouteKind::Unicast)));
    // What stays on this host leaves by the loopback.
    let local = by_eth1(RouteKind::Local, false);
    assert!(local.agrees(&leaves(1, None, 21001, RouteKind::Local)));
    assert!(!local.agrees(&leaves(1, None, 255, RouteKind::Local)));
}

#[test]
fn a_neighbour_a_refusal_and_an_unread_nexthop_object_agree_with_their_like() {
    let neighbour = Answer::OnLink { by: index(3) };
    assert!(neighbour.agrees(&leaves(3, None, 0, RouteKind::Unicast)));
    assert!(!neighbour.agrees(&leaves(2, None, 0, RouteKind::Unicast)));
    assert!(!neighbour.agrees(&leaves(3, Some("10.0.0.1"), 0, RouteKind::Unicast)));
    assert!(!neighbour.agrees(&RouteLookup::Refused { errno: 101 }));

    let refused = Answer::Refused { errno: 101 };
    assert!(refused.agrees(&RouteLookup::Refused { errno: 101 }));
    assert!(!refused.agrees(&RouteLookup::Refused { errno: 13 }));
    assert!(!refused.agrees(&leaves(3, None, 0, RouteKind::Unicast)));

    let unresolved = Answer::Unresolved {
        table: TableId(21001),
        object: Some(7),
    };
    assert!(unresolved.agrees(&leaves(2, None, 21001, RouteKind::Unicast)));
    assert!(!unresolved.agrees(&leaves(2, None, 254, RouteKind::Unicast)));
    assert!(unresolved.agrees(&RouteLookup::Refused { errno: 101 }));
}

#[test]
fn a_walk_names_its_decision_its_answers_and_what_it_cannot_judge() {
    let seen = applied();
    let walk = Walk {
        visits: trace_rules(&seen, &outward()),
        answers: vec![by_eth1(RouteKind::Unicast, false)],
        beside: None,
    };
    let (rule, route) = walk.decision().expect("a decision");
    assert_eq!(rule.priority, Priority(20010));
    assert!(route.is_some_and(Route::is_default));
    assert!(walk.agrees(&leaves(3, Some("172.16.20.253"), 21001, RouteKind::Unicast)));
    assert!(!walk.agrees(&leaves(2, Some("172.16.20.253"), 254, RouteKind::Unicast)));
    assert_eq!(walk.unknown().count(), 0);
    let nothing = Walk::default();
    assert_eq!(nothing.decision(), None);
    assert!(!nothing.agrees(&leaves(3, None, 0, RouteKind::Unicast)));
    let unjudged = Walk {
        visits: vec![Visit {
            rule: seen.rules[0].clone(),
            outcome: Outcome::CannotTell {
                selectors: Vec::new(),
                then: Box::new(Outcome::Nothing),
            },
        }],
        ..Walk::default()
    };
    assert_eq!(unjudged.unknown().count(), 1);
}

#[test]
fn a_socket_bound_to_a_vrf_stands_for_its_table_and_not_for_an_interface() {
    let mut seen = applied().virtual_link(9, "blue", "vrf", &[]);
    seen.link_mut("eth1").master = Some(index(9));
    let view = View::of(&seen);
    let bound = |n| Flow {
        oif: Some(index(n)),
        ..outward()
    };
    for (n, vrf, leg) in [
        (9, Some(9), None),
        (3, Some(9), Some(3)),
        (2, None, Some(2)),
    ] {
        assert_eq!(view.vrf(&bound(n)), vrf.map(index), "{n}");
        assert_eq!(view.bound_to(&bound(n)), leg.map(index), "{n}");
    }
    let came_in = Flow {
        iif: Some(index(3)),
        ..bound(2)
    };
    assert_eq!(view.vrf(&came_in), Some(index(9)));
    assert_eq!(view.bound_to(&came_in), None);
    assert_eq!(view.vrf(&outward()), None);
}
