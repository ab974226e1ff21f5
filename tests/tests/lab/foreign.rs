//! What other programs have made survives: apply works around it, remove leaves it, and nothing
//! of eni-steer's remains.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use eni_steer_tests::{
    Counters, Lab, Ping, Shape, Steer, TcxProgram, Way, assert_unchanged, attach_kinds, diff,
    expect_symmetry, ip, kernel_has_tcx, neighbours, read_sysctl, run_ok, write_sysctl,
};

fn tc(lab: &Lab, words: &str) {
    run_ok(&lab.host, "tc", words.split_whitespace());
}

/// Adds rules as several tools make them.
fn rules_of_others(lab: &Lab) {
    let both = [
        // Tailscale.
        "pref 5210 fwmark 0x80000/0xff0000 lookup main",
        "pref 5230 fwmark 0x80000/0xff0000 lookup default",
        "pref 5250 fwmark 0x80000/0xff0000 unreachable",
        "pref 5270 lookup 52",
        // wg-quick: no priorities.
        "not fwmark 51820 lookup 51820",
        "lookup main suppress_prefixlength 0",
        // Amazon's VPC CNI.
        "pref 1024 fwmark 0x80/0x80 lookup main",
        // Directly after eni-steer's priority band.
        "pref 21000 ipproto tcp dport 25 lookup 78",
    ];
    for rule in both {
        ip(&lab.host, &format!("-4 rule add {rule}"));
        ip(&lab.host, &format!("-6 rule add {rule}"));
    }
    for rule in [
        "-4 rule add pref 512 to 10.1.2.3 lookup main",
        "-4 rule add pref 30200 from 10.9.9.9 lookup 30200",
        // Directly before eni-steer's priority band.
        "-4 rule add pref 19999 iif lo to 10.88.0.0/16 lookup 77",
        "-6 rule add pref 19999 iif lo to fd00:88::/32 lookup 77",
        "-6 rule add pref 30200 from fd00:9::9 lookup 30200",
    ] {
        ip(&lab.host, rule);
    }
}

fn routes_of_others(lab: &Lab) {
    for route in [
        "-4 route add 198.51.100.0/24 via 172.16.20.253 dev eth1 proto bird",
        "-4 route add 203.0.113.0/25 via 172.16.20.253 dev eth0 proto 186 metric 50",
        "-4 route add 100.64.0.0/10 dev docker0 table 52",
        "-4 route add 10.99.0.0/16 dev docker0 proto static",
        "-4 route add blackhole 10.66.0.0/16",
        "-4 route add 10.51.0.0/16 dev docker0 table 51820",
        "-4 route add 172.16.20.0/24 dev eth1 table 77",
        "-6 route add 3fff:1::/48 via fd00:20::253 dev eth1 proto bird",
        "-6 route add unreachable 3fff:2::/48",
        "-6 route add fd7a::/48 dev docker0 table 52",
    ] {
        ip(&lab.host, route);
    }
}

/// A host on which many programs have already worked. The BPF programs exist as long as the
/// descriptors.
fn crowded() -> (Lab, Vec<OwnedFd>) {
    let lab = Lab::builder(Shape::SameSubnet)
        .enis(3)
        .container()
        .rp_filter(1)
        .build();
    rules_of_others(&lab);
    routes_of_others(&lab);
    ip(&lab.host, "link set docker0 group 42");
    ip(&lab.host, "link set veth0 group 43");
    tc(&lab, "qdisc add dev eth0 root pfifo limit 77");
    tc(&lab, "qdisc add dev eth1 clsact");
    for hook in ["ingress", "egress"] {
        for priority in ["7", "300"] {
            let add = ["filter", "add", "dev", "eth1", hook, "prio", priority];
            let program = ["bpf", "bytecode", "1,6 0 0 0"];
            run_ok(&lab.host, "tc", add.into_iter().chain(program));
        }
    }
    let programs = [
        ("eth0", true),
        ("eth0", false),
        ("eth1", true),
        ("eth2", false),
    ];
    // Without TCX there are no programs on it.
    let programs = programs.into_iter().filter(|_| kernel_has_tcx());
    let programs =
        programs.map(|(device, ingress)| TcxProgram::pass().attach(&lab.host, device, ingress));
    let programs = programs.collect();
    (lab, programs)
}

/// Returns the lines that are in a dump from before and missing in one from after.
fn lost(before: &str, after: &str) -> Vec<String> {
    let changed = diff(before, after);
    let lost = changed.lines().filter_map(|line| line.strip_prefix("- "));
    lost.map(str::to_owned).collect()
}

#[test]
fn rules_routes_qdiscs_filters_and_programs_of_others_survive() {
    for way in [
        &["--mode", "steer"][..],
        &["--mode", "steer", "--attach", "clsact"],
        &["--programs", "off", "--primary", "full"],
        &["--rules", "off", "--mode", "steer"],
    ] {
        let (lab, _programs) = crowded();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        let before = steer.world(&lab);
        steer.apply(&lab, way);
        let applied = steer.world(&lab);
        assert_ne!(before, applied);
        for line in lost(&before, &applied) {
            // Only sysctls of the ENIs are changed, and restored later.
            let knob = line.contains("net/ipv4/conf/eth")
                || ["eth0", "eth1", "eth2"]
                    .iter()
                    .any(|eni| line.contains(eni) && line.contains("group"));
            assert!(knob, "{way:?}: lost: {line}");
        }
        // It works in this crowd too.
        for address in lab.eni(1).both() {
            expect_symmetry(&lab, 1, address);
        }
        steer.exits(&lab, &["plan"], 0);
        steer.ok(&lab, &["remove"]);
        assert_unchanged(&before, &steer.world(&lab));
        // Nothing is left to remove: a second remove does nothing.
        steer.ok(&lab, &["remove"]);
        assert_unchanged(&before, &steer.world(&lab));
    }
}

/// On an otherwise untouched host too: no qdisc, group or sysctl of eni-steer's remains.
#[test]
fn after_remove_everything_is_as_before() {
    for shape in Shape::ALL {
        for &kind in attach_kinds() {
            let lab = Lab::builder(shape).rp_filter(1).build();
            let steer = Steer::new();
            let before = steer.world(&lab);
            steer.apply(
                &lab,
                &["--mode", "steer", "--attach", kind, "--primary", "full"],
            );
            for address in lab.eni(1).both() {
                expect_symmetry(&lab, 1, address);
            }
            steer.ok(&lab, &["remove"]);
            assert_unchanged(&before, &steer.world(&lab));
        }
    }
}

#[test]
fn a_host_where_nothing_was_applied_is_not_touched_by_remove() {
    let (lab, _programs) = crowded();
    let steer = Steer::new();
    let before = steer.world(&lab);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// Rules and routes that look like eni-steer's in everything but the protocol number belong to
/// others.
#[test]
fn rules_and_routes_without_our_protocol_number_stay() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    ip(
        &lab.host,
        "-4 rule add pref 22000 from 172.16.20.177 lookup 21001",
    );
    ip(
        &lab.host,
        "-4 rule add from 172.16.20.177 lookup 1001 protocol static",
    );
    ip(
        &lab.host,
        "-4 route add default via 172.16.20.253 dev eth1 table 1001",
    );
    let before = steer.world(&lab);
    steer.apply(&lab, &["--mode", "steer"]);
    assert!(
        lost(&before, &steer.world(&lab))
            .iter()
            .all(|line| !line.contains("rule"))
    );
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

#[test]
fn a_sysctl_that_was_changed_in_between_keeps_its_value() {
    let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
    let steer = Steer::new();
    let before = steer.world(&lab);
    steer.apply(&lab, &["--programs", "off"]);
    let key = |eni: &str, name: &str| format!("net.ipv4.conf.{eni}.{name}");
    assert_eq!(read_sysctl(&lab.host, &key("eth1", "rp_filter")), "2");
    assert_eq!(read_sysctl(&lab.host, &key("eth1", "arp_ignore")), "1");
    assert_eq!(read_sysctl(&lab.host, &key("eth1", "arp_announce")), "2");
    write_sysctl(&lab.host, &key("eth1", "rp_filter"), 0);
    write_sysctl(&lab.host, &key("eth0", "arp_announce"), 1);
    ip(&lab.host, "link set eth0 group 99");
    steer.ok(&lab, &["remove"]);
    let changed = diff(&before, &steer.world(&lab));
    let is_new = |line: &&str| line.starts_with('+') && !line.contains("group 99");
    let changed: Vec<&str> = changed.lines().filter(is_new).collect();
    assert_eq!(
        changed,
        [
            "+ net/ipv4/conf/eth0/arp_announce = 1",
            "+ net/ipv4/conf/eth1/rp_filter = 0",
        ]
    );
    let link = run_ok(&lab.host, "ip", ["link", "show", "eth0"]);
    assert!(link.contains("group 99"), "{link}");
}

/// eni-steer's qdisc, on which another program has put a filter.
#[test]
fn a_qdisc_of_ours_stays_while_others_have_filters_on_it() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    steer.apply(&lab, &["--rules", "off", "--attach", "clsact"]);
    let add = ["filter", "add", "dev", "eth1", "egress", "prio", "7"];
    run_ok(
        &lab.host,
        "tc",
        add.into_iter().chain(["bpf", "bytecode", "1,6 0 0 0"]),
    );
    steer.ok(&lab, &["remove"]);
    let changed = diff(&before, &steer.world(&lab));
    assert!(
        changed.contains("+ filter protocol all pref 7 bpf"),
        "{changed}"
    );
    assert!(
        changed.contains("+ qdisc clsact ffff: dev eth1"),
        "{changed}"
    );
    assert!(
        !changed.contains("eni_steer") && !changed.contains("eth0"),
        "{changed}"
    );
    tc(&lab, "filter del dev eth1 egress prio 7");
    tc(&lab, "qdisc del dev eth1 clsact");
    assert_unchanged(&before, &steer.world(&lab));
}

/// A program after eni-steer's still decides about every packet that is not steered, and `status`
/// reports that it is there.
#[test]
fn programs_of_others_go_on_deciding_and_status_names_them() {
    for &kind in attach_kinds() {
        let lab = Lab::builder(Shape::SameSubnet).build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &["--rules", "off", "--attach", kind]);
        if kind == "tcx" {
            tc(&lab, "qdisc add dev eth0 clsact");
        }
        let address: IpAddr = lab.eni(0).v4().into();
        let pings = || {
            let patience = Duration::from_millis(100);
            Ping::to(address)
                .count(5)
                .patience(patience)
                .run(&lab.client)
                .received
        };
        assert_eq!(pings(), 5);
        for (hook, way) in [("ingress", Way::In), ("egress", Way::Out)] {
            let before = Counters::read(&steer, &lab)
                .cell(address, "eth0", way)
                .passed
                .packets;
            let add = ["filter", "add", "dev", "eth0", hook, "prio", "300"];
            // Classic BPF: return TC_ACT_SHOT.
            let program = ["bpf", "da", "bytecode", "1,6 0 0 2"];
            run_ok(&lab.host, "tc", add.into_iter().chain(program));
            assert_eq!(pings(), 0, "{kind} {hook}: it is not asked");
            let after = Counters::read(&steer, &lab)
                .cell(address, "eth0", way)
                .passed
                .packets;
            assert_eq!(after - before, 5, "{kind} {hook}: counted before it");
            let status = steer.ok(&lab, &["status"]);
            assert!(
                status.contains("after eni-steer's"),
                "{kind} {hook}: {status}"
            );
            run_ok(
                &lab.host,
                "tc",
                ["filter", "del", "dev", "eth0", hook, "prio", "300"],
            );
        }
        assert_eq!(pings(), 5);
    }
}

/// eni-steer does not use a group that somebody chose unless the configuration names it.
#[test]
fn a_group_that_was_chosen_is_used_when_named_and_given_back() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    for eni in ["eth0", "eth1"] {
        ip(&lab.host, &format!("link set {eni} group 7"));
    }
    let steer = Steer::new();
    let before = steer.world(&lab);
    steer.apply(&lab, &["--group", "7"]);
    let address: IpAddr = lab.eni(1).v4().into();
    expect_symmetry(&lab, 1, address);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// eni-steer resolves gateways ahead of the first packet; it does not replace a permanent entry.
#[test]
fn a_permanent_neighbour_of_the_gateway_stays() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let eni = lab.eni(1);
    for gateway in [IpAddr::from(eni.gateway_v4), eni.gateway_v6.into()] {
        ip(
            &lab.host,
            &format!(
                "neigh replace {gateway} lladdr {} dev eth1 nud permanent",
                eni.gateway_mac
            ),
        );
    }
    let before = neighbours(&lab.host);
    assert_eq!(before.len(), 2, "{before:?}");
    Steer::new().apply(&lab, &[]);
    let after = neighbours(&lab.host);
    for entry in &before {
        assert!(after.contains(entry), "{entry:?} is not in {after:?}");
    }
}

/// eni-steer makes no routes that deliver packets here.
#[test]
fn a_local_route_is_not_ours_whatever_its_protocol() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    for net in ["198.51.100.9", "2001:db8:100::9"] {
        ip(
            &lab.host,
            &format!("route add local {net} dev lo table 77 proto 229"),
        );
    }
    let before = steer.world(&lab);
    steer.apply(&lab, &[]);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}
