//! The walk against the kernel: any rules and tables in a network namespace made for it, and for
//! each packet the answer of `RTM_GETROUTE`.

use std::{
    env, fs,
    io::Write,
    process::{Command, Stdio},
};

use eni_steer_core::{
    explain::{Answer, Walk, trace},
    model::{Family, Host, RouteKind, RouteLookup},
};
use eni_steer_linux::{explain::read_routing, netlink::Netlink};
use eni_steer_tests::NetNs;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::generate::{LINKS, Packet, Scenario, scenario};

/// How many packets are asked for unless [`FLOWS`] says otherwise.
const FEW: usize = 10_000;
/// The environment variable with the number of packets: 100000 for a thorough run.
const FLOWS: &str = "ENI_STEER_FLOWS";
/// Packets for each set of rules and tables.
const OF_EACH: usize = 100;

/// Removes what the scenario before has made: with the nexthop objects, the routes by them go.
const CLEAN: &str = "nexthop flush
nexthop add id 11 via 10.0.1.203 dev w1 onlink
nexthop add id 12 via 10.0.2.203 dev w2 onlink
nexthop add id 20 group 11/12
nexthop add id 21 via fd00:1::cb dev w1 onlink
nexthop add id 22 via fd00:2::cb dev w2 onlink
nexthop add id 30 group 21/22
-4 rule flush
-4 route flush table all proto 99
-4 nexthop add id 13 blackhole
-6 rule flush
-6 route flush table all proto 99
-6 neigh flush all
-6 neigh flush nud permanent
-6 nexthop add id 23 blackhole
";

fn wanted() -> usize {
    match env::var(FLOWS) {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|e| panic!("{FLOWS}={number}: {e}")),
        Err(_) => FEW,
    }
}

/// Interfaces `w0` to `w4` with addresses of both families, of which `w4` has no carrier.
fn namespace() -> NetNs {
    let ns = NetNs::new("walk");
    let mut script = String::new();
    for n in 0..LINKS {
        script += &format!("link add w{n} type veth peer name x{n}\n");
    }
    run_batch(&ns, &script);
    ns.run(|| {
        for (key, value) in [
            ("ipv4/conf/all/forwarding", "1"),
            ("ipv4/conf/w2/forwarding", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/w0/rp_filter", "0"),
            ("ipv4/conf/w1/rp_filter", "1"),
            ("ipv4/conf/w2/rp_filter", "0"),
            ("ipv4/conf/w3/rp_filter", "2"),
            ("ipv4/conf/w4/rp_filter", "0"),
            ("ipv4/conf/w4/ignore_routes_with_linkdown", "1"),
            ("ipv6/conf/w4/ignore_routes_with_linkdown", "1"),
        ] {
            fs::write(format!("/proc/sys/net/{key}"), value)
                .unwrap_or_else(|e| panic!("{key}: {e}"));
        }
        for n in 0..LINKS {
            fs::write(format!("/proc/sys/net/ipv6/conf/w{n}/accept_dad"), "0").expect("a sysctl");
            fs::write(format!("/proc/sys/net/ipv6/conf/x{n}/disable_ipv6"), "1").expect("a sysctl");
        }
    });
    let mut script = "link set lo up\n".to_owned();
    for n in 0..LINKS {
        if n + 1 < LINKS {
            script += &format!("link set x{n} up\n");
        }
        let group = [0, 7, 7, 20229, 20229][usize::from(n)];
        script += &format!("link set w{n} up group {group}\n");
        script += &format!("addr add 10.0.{n}.1/24 dev w{n}\n");
        script += &format!("-6 addr add fd00:{n}::1/64 dev w{n} nodad\n");
    }
    // As long as no rule was ever added, the kernel does not look at its rules
    // (`fib_has_custom_rules`): it asks local and main, whatever was deleted.
    for family in ["-4", "-6"] {
        script += &format!("{family} rule add pref 5 nop\n{family} rule del pref 5\n");
    }
    run_batch(&ns, &script);
    ns
}

fn run_batch(ns: &NetNs, script: &str) {
    let refused = ns.run(|| batch(script));
    assert!(refused.is_empty(), "ip refuses: {refused}");
}

/// Runs lines of `ip`: first those that name no family, then those of `-4`, then those of `-6`. It
/// goes on behind a line that the kernel refuses, and returns what was refused.
fn batch(script: &str) -> String {
    let families = ["-0", "-4", "-6"];
    let mut scripts = [String::new(), String::new(), String::new()];
    for line in script.lines() {
        let of_family = families.iter().position(|family| line.starts_with(family));
        let words = of_family.map_or(line, |_| &line[3..]);
        scripts[of_family.unwrap_or(0)] += &format!("{words}\n");
    }
    let of_family = |(family, script): (&str, &String)| {
        let mut ip = Command::new("ip")
            .args(Some(family).filter(|family| *family != "-0"))
            .args(["-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip can be started");
        let mut stdin = ip.stdin.take().expect("stdin is a pipe");
        stdin.write_all(script.as_bytes()).expect("ip reads");
        drop(stdin);
        let output = ip.wait_with_output().expect("ip ends");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let all = families.into_iter().zip(&scripts);
    all.filter(|(_, script)| !script.is_empty())
        .map(of_family)
        .collect()
}

/// What one run has seen.
#[derive(Debug, Default)]
struct Seen {
    scenarios: usize,
    packets: usize,
    rules: usize,
    routes: usize,
    /// Packets for which the walk names exactly one way.
    certain: usize,
    /// Packets that leave, are delivered, and are refused.
    leave: usize,
    stay: usize,
    refused: usize,
    /// Which tables decided.
    beyond_main: usize,
}

/// Puts a scenario in place of the last one and holds the walk against the kernel.
fn hold(netlink: &Netlink, scenario: &Scenario, seen: &mut Seen) -> Result<(), TestCaseError> {
    let forwarding = if scenario.ipv6_forwarding { "1" } else { "0" };
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", forwarding).expect("a sysctl");
    // What the kernel refuses of the scenario is not there, and so not read.
    let refused = batch(&(CLEAN.to_owned() + &scenario.lines.join("\n") + "\n"));
    // A line that is not understood ends the batch.
    assert!(
        !refused.contains("flush") && !refused.contains("expected"),
        "{refused}"
    );
    let (host, facts) = read_routing(netlink).expect("routing can be read");
    let index = |name: &str| host.link_named(name).expect("the interface is there").index;
    let flows: Vec<_> = scenario
        .packets
        .iter()
        .map(|packet| packet.flow(|n| index(&format!("w{n}"))))
        .collect();
    let answers = netlink.lookup_all(&flows);
    seen.scenarios += 1;
    seen.rules += host.rules.len();
    seen.routes += host.routes.len();
    for ((packet, flow), answer) in scenario.packets.iter().zip(&flows).zip(answers) {
        let answer = answer.map_err(|error| TestCaseError::fail(format!("{packet:?}: {error}")))?;
        let walk = trace(&host, &facts, flow);
        if !walk.agrees(&answer) {
            return Err(TestCaseError::fail(disagreement(
                &host, packet, &answer, &walk,
            )));
        }
        seen.packets += 1;
        seen.certain += usize::from(match walk.answers.as_slice() {
            [Answer::Leaves { legs, kind, .. }] => legs.len() == 1 || *kind == RouteKind::Local,
            [_] => true,
            _ => false,
        });
        match answer {
            RouteLookup::Leaves {
                kind: RouteKind::Local,
                ..
            } => seen.stay += 1,
            RouteLookup::Leaves { table, .. } => {
                seen.leave += 1;
                seen.beyond_main += usize::from(table.0 < 200);
            }
            RouteLookup::Refused { .. } => seen.refused += 1,
        }
    }
    Ok(())
}

fn disagreement(host: &Host, packet: &Packet, answer: &RouteLookup, walk: &Walk) -> String {
    let mut text = format!(
        "{packet:?}\nthe kernel: {answer:?}\nthe walk: {:?} {:?}\n",
        walk.answers, walk.beside
    );
    for visit in &walk.visits {
        text += &format!("  {}  {:?}\n", visit.rule, visit.outcome);
    }
    text += "all rules of the family:\n";
    for rule in host
        .rules
        .iter()
        .filter(|rule| packet.to.is_ipv4() == (rule.family == Family::V4))
    {
        text += &format!("  {rule}\n");
    }
    text += "links:";
    for link in host.links.values() {
        text += &format!(" {}={}", link.name, link.index);
    }
    text += "\nroutes of the family, in order:\n";
    for route in &host.routes {
        let family = packet.to.is_ipv4() == route.destination.addr().is_ipv4();
        if family && route.protocol.0 == 99 {
            text += &format!("  {} tos {:#x}\n", route.describe(host), route.tos);
        }
    }
    text
}

/// The number of random packets is [`FEW`], or what `ENI_STEER_FLOWS` says.
#[test]
fn the_walk_answers_what_the_kernel_answers() {
    let ns = namespace();
    let scenarios = wanted().div_ceil(OF_EACH);
    let config = Config {
        cases: u32::try_from(scenarios).expect("a number of cases"),
        failure_persistence: None,
        max_shrink_iters: 1_500,
        ..Config::default()
    };
    let seen = ns.run(|| {
        let netlink = Netlink::open().expect("a netlink socket");
        let seen = std::cell::RefCell::new(Seen::default());
        let held = TestRunner::new(config).run(&scenario(OF_EACH), |scenario| {
            hold(&netlink, &scenario, &mut seen.borrow_mut())
        });
        match held {
            Ok(()) => {}
            Err(TestError::Fail(why, scenario)) => panic!(
                "{why}\nmade by:\n{}\nIPv6 forwarding: {}",
                scenario.lines.join("\n"),
                scenario.ipv6_forwarding
            ),
            Err(error) => panic!("{error}"),
        }
        seen.into_inner()
    });
    println!("{seen:?}");
    assert!(seen.packets >= wanted());
    // The packets meet all of it, and most answers are one way, not a choice.
    let share = |part: usize| part * 100 / seen.packets;
    assert!(share(seen.certain) >= 75, "{seen:?}");
    assert!(share(seen.beyond_main) >= 15, "{seen:?}");
    assert!(
        share(seen.refused) >= 5 && share(seen.stay) >= 2,
        "{seen:?}"
    );
    assert!(
        seen.rules >= 5 * seen.scenarios && seen.routes >= 20 * seen.scenarios,
        "{seen:?}"
    );
}
