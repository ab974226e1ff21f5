use eni_steer_core::{
    explain::{Facts, NeighbourState},
    fake::{fake_host, index},
    model::{AttachKind, Attachment, Direction, EniRow, Hook, Settings},
    model::{Flow, Host, Mode, NextHop, Owner, RouteKind, RouteLookup, TableId},
    ownership::Ownership,
    report::ExplainInput,
};

use super::*;

/// Two ENIs of one subnet, with what an apply makes in mode count.
fn applied() -> Host {
    let mut host = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .eni(3, "eth1", &["172.16.20.177/24"])
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .route("default via 172.16.20.253 dev eth0")
        .route("172.16.20.0/24 dev eth1 table 21001 scope link proto 229")
        .route("default via 172.16.20.253 dev eth1 table 21001 proto 229")
        .rule("pref 20000 lookup 254 suppress_prefixlength 7 suppress_ifgroup 20229 protocol 229")
        .rule("pref 20300 from 172.16.20.177 lookup 21001 protocol 229");
    host.datapath.settings = Some(Settings::default());
    for (n, name, owned) in [
        (2, "eth0", "172.16.20.176/32"),
        (3, "eth1", "172.16.20.177/32"),
    ] {
        host = host.tunable(name, eni_steer_core::model::TunableKind::Group, 20229);
        let row = EniRow {
            mac: host.links[&index(n)].mac.expect("an ENI has a MAC address"),
            mtu: 1500,
            mode: Mode::Count,
            up: true,
        };
        let datapath = &mut host.datapath;
        datapath.enis.insert(index(n), row);
        let owned = owned.parse().expect("a prefix");
        datapath.owners.insert(owned, Owner::Eni(index(n)));
        for direction in Direction::BOTH {
            let attachment = Attachment {
                kind: AttachKind::Tcx,
                build: 1,
                log_level: 0,
            };
            let hook = Hook::tc(index(n), direction);
            datapath.attachments.insert(hook, attachment);
        }
        let via = NextHop::Via {
            gateway: "172.16.20.253".parse().expect("an address"),
            mtu: None,
        };
        let default = "0.0.0.0/0".parse().expect("a prefix");
        datapath.next_hops.insert((index(n), default), via);
    }
    host
}

fn gateway_answers() -> Facts {
    let mut facts = Facts::default();
    let gateway = "172.16.20.253".parse().expect("an address");
    facts
        .neighbours
        .insert((index(3), gateway), NeighbourState::Answers);
    facts
}

fn outward() -> Flow {
    let parse = |text: &str| text.parse().expect("an address");
    Flow::to(parse("8.8.8.8")).from(parse("172.16.20.177"))
}

fn leaves(by: u32, table: u32) -> RouteLookup {
    RouteLookup::Leaves {
        by: index(by),
        gateway: "172.16.20.253".parse().ok(),
        table: TableId(table),
        kind: RouteKind::Unicast,
        source: None,
    }
}

fn text(host: &Host, flow: &Flow, answer: &RouteLookup) -> String {
    shown(host, flow, answer, false)
}

fn shown(host: &Host, flow: &Flow, answer: &RouteLookup, all: bool) -> String {
    let facts = gateway_answers();
    let report = ExplainReport::new(ExplainInput {
        host,
        facts: &facts,
        flow,
        answer,
        answer_with_source: None,
        ownership: &Ownership::default(),
        counters: None,
    });
    let mut out = Vec::new();
    explain(&report, all, &mut out).expect("a vector takes everything");
    let text = String::from_utf8(out).expect("text");
    for line in text.lines() {
        let fits = line.chars().count() <= WIDTH || !line.contains(' ');
        assert!(fits || line.starts_with("  "), "too long: {line}");
    }
    text
}

/// Without the breaks of lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_foreign_rule_that_wins_is_named_with_the_ways_to_end_it() {
    let host = applied().rule("pref 100 lookup 254 protocol 0");
    assert_eq!(
        text(&host, &outward(), &leaves(2, 254)),
        "\
WRONG ENI   172.16.20.177 -> 8.8.8.8 leaves by eth0; the address is eth1's

  wanted   eth1  via 172.16.20.253 (answers ARP)   table 21001
  kernel   eth0  via 172.16.20.253                 table main

  PRIORITY  RULE                                            RESULT
         0  from all lookup local                           no route, continue
  >    100  from all lookup main                            WINS: default dev eth0
     20000  from all lookup main suppress_prefixlength 7 suppress_ifgroup 20229  ours, not reached
     20300  from 172.16.20.177 lookup 21001                 ours, not reached
     32766  from all lookup main                            not reached
     32767  from all lookup default                         not reached

Rule 100 is not eni-steer's (protocol 0: added by hand or by a script).
eth0 egress, mode count: the packet leaves by eth0 and is counted. A cloud that
checks source addresses drops it.

Fix, one of:
  ip -4 rule del pref 100 lookup main  # nobody needs this rule
  # it is needed: behind eni-steer's rules (21000 to 32765)
  ip -4 rule add pref 21000 lookup main && ip -4 rule del pref 100 lookup main
  eni-steer apply --mode steer         # keep it: eni-steer redirects to eth1
Exit code 3: routed by the wrong ENI. --json has the same answer.
"
    );
}

#[test]
fn what_is_right_takes_few_lines() {
    assert_eq!(
        text(&applied(), &outward(), &leaves(3, 21001)),
        "\
OK   172.16.20.177 -> 8.8.8.8 leaves by eth1, which owns the address

  kernel   eth1  via 172.16.20.253 (answers ARP)   table 21001

  PRIORITY  RULE                                            RESULT
         0  from all lookup local                           no route, continue
     20000  from all lookup main suppress_prefixlength 7 suppress_ifgroup 20229  ours, suppressed: default dev eth0
  >  20300  from 172.16.20.177 lookup 21001                 ours, WINS: default dev eth1
     32766  from all lookup main                            not reached
     32767  from all lookup default                         not reached

eth1 egress, mode count: eth1 owns the source; the packet leaves and is counted.
"
    );
}

#[test]
fn a_rule_with_an_unknown_selector_is_not_guessed() {
    let mut host = applied().rule("pref 100 lookup 254 protocol 0");
    let rule = host
        .rules
        .iter_mut()
        .find(|rule| rule.priority.0 == 100)
        .expect("the rule");
    rule.partial = true;
    rule.rare = vec![eni_steer_core::model::RareSelector::Unknown { attribute: 99 }];
    let text = flat(&text(&host, &outward(), &leaves(3, 21001)));
    assert!(
        text.starts_with(
            "CANNOT TELL 172.16.20.177 -> 8.8.8.8 leaves by eth0 or eth1: rule 100 has selectors \
             that eni-steer does not know"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "CANNOT TELL (attribute 99): continue, or if it matches WINS: default dev eth0"
        ),
        "{text}"
    );
    assert!(text.contains("Exit code 7"), "{text}");
}

#[test]
fn a_disagreement_with_the_kernel_is_loud() {
    let text = flat(&text(&applied(), &outward(), &leaves(2, 254)));
    assert!(
        text.contains("DISAGREEMENT: the rules below do not explain the kernel's answer. "),
        "{text}"
    );
    assert!(
        text.contains("Exit code 7: eni-steer's walk and the kernel differ."),
        "{text}"
    );
    assert!(
        !text.contains("Rule 20300 is"),
        "the rules are not blamed: {text}"
    );
}

#[test]
fn a_packet_that_is_steered_is_right_and_says_how() {
    let mut host = applied().rule("pref 100 lookup 254 protocol 0");
    for row in host.datapath.enis.values_mut() {
        row.mode = Mode::Steer;
    }
    let text = flat(&text(&host, &outward(), &leaves(2, 254)));
    assert!(
        text.starts_with(
            "OK 172.16.20.177 -> 8.8.8.8 leaves by eth1: routed by eth0, steered by eni-steer"
        ),
        "{text}"
    );
    assert!(
        text.contains("eth0 egress, mode steer: the packet is redirected to eth1, to"),
        "{text}"
    );
    assert!(text.contains("Rule 100 is not eni-steer's"), "{text}");
}

#[test]
fn a_refusal_names_the_rule() {
    let host = applied().rule("pref 100 to 8.8.8.0/24 prohibit protocol 0");
    let text = flat(&text(
        &host,
        &outward(),
        &RouteLookup::Refused { errno: 13 },
    ));
    assert!(
        text.starts_with(
            "REFUSED 172.16.20.177 -> 8.8.8.8 is not sent: a rule or route prohibits it"
        ),
        "{text}"
    );
    assert!(
        text.contains("Rule 100 decides: it refuses (prohibit)."),
        "{text}"
    );
    assert!(
        text.contains("ip -4 rule del pref 100 to 8.8.8.0/24 prohibit"),
        "{text}"
    );
}

#[test]
fn every_leg_of_a_multipath_route_is_named() {
    let mut host = applied().rule("pref 100 lookup 254 protocol 0");
    host.routes
        .retain(|route| !(route.is_default() && route.table == TableId::MAIN));
    let host = host.route(
        "0.0.0.0/0 nexthop via 172.16.20.253 dev eth0 nexthop via 172.16.20.253 dev eth1 weight 3",
    );
    let text = flat(&text(&host, &outward(), &leaves(3, 254)));
    assert!(text.contains("leg of 1 eth0"), "{text}");
    assert!(text.contains("leg of 3 eth1"), "{text}");
    assert!(
        text.starts_with("WRONG ENI 172.16.20.177 -> 8.8.8.8 leaves by eth0 or eth1"),
        "{text}"
    );
}

#[test]
fn an_address_on_two_enis_has_no_right_way() {
    let mut host = applied();
    let address = "172.16.20.177/32".parse().expect("a prefix");
    host.datapath.owners.insert(address, Owner::Ambiguous);
    let host = host.address("eth0", "172.16.20.177/24");
    let text = flat(&text(&host, &outward(), &leaves(3, 21001)));
    assert!(
        text.starts_with(
            "CANNOT TELL 172.16.20.177 -> 8.8.8.8 leaves by eth1; the address is on eth1 and eth0"
        ),
        "{text}"
    );
}

#[test]
fn many_rules_with_one_result_are_one_line_unless_all_are_wanted() {
    let mut host = applied();
    for n in 0..50 {
        host = host.rule(&format!("pref 9000 from 10.0.0.{n} lookup 99 protocol 3"));
    }
    let answer = leaves(3, 21001);
    let short = text(&host, &outward(), &answer);
    assert!(short.lines().count() < 20, "{short}");
    let mut alternating = host.clone();
    for n in 0..50 {
        alternating = alternating.rule(&format!("pref 9100 to 10.0.0.{n} lookup 99 protocol 3"));
        alternating = alternating.rule("pref 9200 lookup 98 protocol 3");
    }
    let mixed = text(&alternating, &outward(), &answer);
    assert!(mixed.lines().count() < 24, "{mixed}");
    assert!(
        short.contains("... 48 more of priority 9000: no match: from"),
        "{short}"
    );
    let long = shown(&host, &outward(), &answer, true);
    assert!(long.lines().count() > 55, "{long}");
}
