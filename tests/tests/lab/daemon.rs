//! `eni-steer run`: what is deleted comes back, and what is new is managed.

use std::time::Duration;

use eni_steer_tests::{
    Call, DefaultRoute, Kept, Lab, SOON, Shape, Steer, all_ours, eventually, kernel_has_tcx, ours,
    ping, run_ok,
};
use nix::sys::signal::Signal;

/// Deletes the rule of eth1's address.
const SOURCE_RULE: &str = "-4 rule del from 172.16.20.177 lookup 21001";

fn running(args: &[&str]) -> Kept {
    Kept::by(&args_of_run(args))
}

/// Returns the arguments of `run` for the lab's two ENIs.
fn args_of_run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--eni", "eth0", "--eni", "eth1"], more].concat()
}

#[test]
fn what_another_program_deletes_comes_back() {
    let run = running(&[]);
    let before = all_ours(&run.lab.host);
    assert!(before.len() > 6, "{before:#?}");
    run.ip(SOURCE_RULE);
    run.heals(&before, "one rule");
    for family in ["-4", "-6"] {
        // All at once: deletions one after another, with repairs in between, count as a fight.
        run.ip(&format!("{family} rule flush protocol 229"));
    }
    run.heals(&before, "every rule");
    run.ip("-4 route flush table 21001");
    run.ip("-6 route flush table 21001");
    run.heals(&before, "every table");
    let answers = ping(
        &run.lab.client,
        None,
        run.lab.eni(1).v4().into(),
        3,
        Duration::from_millis(20),
    );
    answers.expect_all_answered();
    let restored = run.report();
    assert!(
        restored["restored"]
            .as_object()
            .is_some_and(|objects| objects.len() > 6),
        "{restored}"
    );
    // A command ends before the daemon can look up its name; the report then only shows that
    // there was one.
    let who = restored["removed_by"].as_object();
    assert!(who.is_some_and(|who| !who.is_empty()), "{restored}");
}

#[test]
fn restored_objects_are_counted_by_the_program_that_removed_them() {
    let run = running(&[]);
    let before = all_ours(&run.lab.host);
    // An `ip` that is still running when the daemon looks up its name.
    let script = format!("(echo '{}'; sleep 5) | ip -batch -", &SOURCE_RULE[3..]);
    let remover = Call::new("sh")
        .args(["-c", &script])
        .start_in_background(&run.lab.host);
    let restored = || run.report()["restored"].clone();
    let once = || restored().as_object().is_some_and(|all| !all.is_empty());
    assert!(eventually(SOON, once), "{}", run.report());
    run.heals(&before, "the rule");
    let report = run.report();
    drop(remover);
    let rule = "+ ip -4 rule add pref 20300 from 172.16.20.177 lookup 21001 protocol 229";
    assert_eq!(
        report["restored"],
        serde_json::json!({ rule: 1 }),
        "{report}"
    );
    assert_eq!(
        report["removed_by"],
        serde_json::json!({ "ip": 1 }),
        "{report}"
    );
}

#[test]
fn a_link_that_flaps_gets_its_routes_back() {
    let run = running(&[]);
    let before = all_ours(&run.lab.host);
    run.ip("link set eth1 down");
    assert!(eventually(SOON, || !all_ours(&run.lab.host)
        .iter()
        .any(|line| line.contains("via 172.16.20.253 dev eth1"))));
    run.ip("link set eth1 up");
    // IPv6 addresses disappear with the link; the administrator (or DHCP) restores them.
    let lost = run_ok(&run.lab.host, "ip", ["-6", "addr", "show", "dev", "eth1"]);
    if !lost.contains("fd00:20::177") {
        run.ip("-6 addr add fd00:20::177/64 dev eth1 nodad");
    }
    run.heals(&before, "the table of eth1");
}

#[test]
fn an_address_deleted_and_added_again_gets_its_rule_back() {
    let run = running(&[]);
    let before = all_ours(&run.lab.host);
    run.ip("-4 addr del 172.16.20.177/24 dev eth1");
    assert!(
        eventually(SOON, || !all_ours(&run.lab.host)
            .iter()
            .any(|line| line.contains("from 172.16.20.177"))),
        "no rule is left for an address that is gone"
    );
    run.ip("-4 addr add 172.16.20.177/24 dev eth1");
    run.heals(&before, "the rule of the address");
}

#[test]
fn an_address_added_at_run_time_gets_its_rule_and_its_owner() {
    let run = running(&[]);
    run.lab.allow(1, "172.16.20.200");
    run.ip("-4 addr add 172.16.20.200/24 dev eth1");
    assert!(
        eventually(SOON, || ours(&run.lab.host, &["-4", "rule"])
            .iter()
            .any(|rule| rule.contains("from 172.16.20.200"))),
        "{}",
        run.daemon.output()
    );
    let to = "172.16.20.200".parse().expect("an address");
    let answered = eventually(SOON, || {
        ping(&run.lab.client, None, to, 1, Duration::from_millis(10)).all_answered()
    });
    assert!(answered, "replies of the new address leave by eth1");
    // The address moves to another ENI, and its owner changes.
    run.ip("-4 addr del 172.16.20.200/24 dev eth1");
    run.ip("-4 addr add 172.16.20.200/24 dev eth0");
    let owner = || {
        let status = run.steer.json(&run.lab, &["verify"]);
        let addresses = status["traffic"]["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        addresses
            .iter()
            .find(|one| one["address"] == "172.16.20.200/32")
            .and_then(|one| one["owner"].as_str().map(str::to_owned))
    };
    assert!(
        eventually(SOON, || owner().as_deref() == Some("eth0")),
        "{:?}",
        owner()
    );
}

#[test]
fn an_eni_that_is_plugged_in_is_managed_and_one_that_is_unplugged_leaves_nothing() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .enis(2)
        .default_route(DefaultRoute::AllWithMetric(200))
        .build();
    let steer = Steer::new();
    let args = ["run", "--eni", "eth0", "--eni", "eth1", "--eni", "eth7"];
    let mut daemon = steer.call(&args).start_in_background(&lab.host);
    let table = || run_ok(&lab.host, "ip", ["-4", "route", "show", "table", "all"]);
    assert!(
        eventually(SOON, || table().contains("table 21001")),
        "{}",
        daemon.output()
    );
    let ip = |line: &str| run_ok(&lab.host, "ip", line.split_whitespace());
    let links = || {
        let pins = steer.bpffs().pins();
        pins.iter().filter(|pin| pin.contains("links/")).count()
    };
    for _ in 0..3 {
        ip("link add eth7 type veth peer name r7");
        ip("addr add 172.16.27.10/24 dev eth7");
        ip("link set r7 up");
        ip("link set eth7 up");
        ip("route add default via 172.16.27.253 dev eth7 metric 900");
        assert!(
            eventually(SOON, || table()
                .contains("default via 172.16.27.253 dev eth7 table 21007")),
            "{}",
            daemon.output()
        );
        assert!(
            eventually(SOON, || match kernel_has_tcx() {
                true => links() == 6,
                false => ["ingress", "egress"].iter().all(|hook| {
                    let words = ["filter", "show", "dev", "eth7", hook];
                    run_ok(&lab.host, "tc", words).contains("eni_steer")
                }),
            }),
            "{}",
            daemon.output()
        );
        ip("link del eth7");
        assert!(
            eventually(SOON, || {
                ours(&lab.host, &["-4", "rule"])
                    .iter()
                    .all(|rule| !rule.contains("172.16.27.10"))
            }),
            "{}",
            daemon.output()
        );
        assert!(
            eventually(SOON, || links() == if kernel_has_tcx() { 4 } else { 0 }),
            "links of a device that is gone are unpinned: {:?}",
            steer.bpffs().pins()
        );
    }
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait(SOON).success());
}

#[test]
fn stopping_leaves_everything_in_effect_and_remove_deletes_it() {
    let mut run = running(&["--mode", "steer"]);
    let before = eni_steer_tests::dump(&run.lab.host);
    run.daemon.signal(Signal::SIGTERM);
    assert!(run.daemon.wait(SOON).success(), "{}", run.daemon.output());
    eni_steer_tests::assert_unchanged(&before, &eni_steer_tests::dump(&run.lab.host));
    run.steer.ok(&run.lab, &["remove"]);
    assert!(all_ours(&run.lab.host).is_empty());
    assert!(
        run.steer.bpffs().pins().is_empty(),
        "{:?}",
        run.steer.bpffs().pins()
    );
}

#[test]
fn commands_that_a_running_daemon_would_undo_are_refused() {
    let run = running(&[]);
    let before = run.steer.world(&run.lab);
    let pid = run.daemon.pid().to_string();
    for refused in [&["remove"][..], &["apply", "--mode", "steer"]] {
        let told = run.steer.refuses(&run.lab, refused, 8, &["daemon", &pid]);
        assert!(told.contains("SIGTERM"), "{told}");
    }
    run.steer.ok(&run.lab, &["apply"]);
    run.steer.ok(&run.lab, &["remove", "--dry-run"]);
    eni_steer_tests::assert_unchanged(&before, &run.steer.world(&run.lab));
}

#[test]
fn a_daemon_killed_at_any_moment_is_replaced_without_a_leftover_and_counters_go_on() {
    let mut run = running(&["--mode", "steer"]);
    let before = all_ours(&run.lab.host);
    let counted = || {
        let report = run.steer.json(&run.lab, &["counters"]);
        report["enis"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|eni| eni["totals"]["ingress"]["ipv4"]["packets"].as_u64())
            .sum::<u64>()
    };
    ping(
        &run.lab.client,
        None,
        run.lab.eni(1).v4().into(),
        5,
        Duration::from_millis(5),
    )
    .expect_all_answered();
    let packets = counted();
    assert!(packets >= 5);
    let pins = run.steer.bpffs().pins();
    for round in 0..6u64 {
        run.daemon.signal(Signal::SIGKILL);
        run.daemon.wait(SOON);
        // The rule may be gone already, if the last daemon was killed before it could restore it.
        run.run_ip(SOURCE_RULE);
        run.daemon = run.start(&args_of_run(&["--mode", "steer"]));
        // In some rounds the daemon is killed while it starts.
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(13 * round));
        } else {
            run.heals(&before, "the rule");
        }
    }
    run.heals(&before, "the rule");
    assert_eq!(run.steer.bpffs().pins(), pins, "the same pins, none twice");
    assert!(counted() >= packets, "counters go on");
}

#[test]
fn a_fight_is_recognised_and_steering_holds_meanwhile() {
    let run = running(&["--mode", "steer"]);
    let seen = run.lab.router_seen(0);
    for _ in 0..40 {
        // The rule may be gone already, while the daemon pauses repairs.
        let gone = !run.run_ip(SOURCE_RULE);
        ping(
            &run.lab.client,
            None,
            run.lab.eni(1).v4().into(),
            1,
            Duration::from_millis(1),
        )
        .expect_all_answered();
        // Without a report the first pass is still under way.
        let paused = run.report()["paused"].as_array().cloned();
        if gone && paused.is_some_and(|paused| !paused.is_empty()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    let report = run.report();
    assert!(
        report["paused"]
            .as_array()
            .is_some_and(|paused| paused.len() == 1),
        "{report}"
    );
    let said = run.daemon.output().matches("pauses its repair").count();
    assert_eq!(said, 1, "the daemon logs it once: {}", run.daemon.output());
    assert_eq!(
        run.lab.router_seen(0).since(seen).wrong.packets,
        0,
        "no packet left by eth0"
    );
}

#[test]
fn the_daemons_own_changes_and_silence_cause_no_passes() {
    let run = running(&[]);
    std::thread::sleep(Duration::from_millis(300));
    let passes = || {
        run.ip("-4 rule add pref 31000 from 198.51.100.1 lookup main");
        run.ip("-4 rule del pref 31000");
        eventually(Duration::from_millis(500), || false);
        run.report()["passes"].as_u64()
    };
    // Two bursts of rule changes by another program cause a few passes. Reacting to the daemon's
    // own changes would cause many.
    let first = passes();
    let second = passes();
    assert!(
        second.unwrap_or(0) <= first.unwrap_or(0) + 4,
        "{first:?} {second:?}"
    );
}

#[test]
fn pins_and_a_clsact_qdisc_that_were_deleted_by_hand_come_back() {
    let run = running(&["--attach", "clsact", "--mode", "steer"]);
    run_ok(
        &run.lab.host,
        "tc",
        ["qdisc", "del", "dev", "eth0", "clsact"],
    );
    let filters = || {
        run_ok(
            &run.lab.host,
            "tc",
            ["filter", "show", "dev", "eth0", "egress"],
        )
    };
    assert!(
        eventually(SOON, || filters().contains("eni_steer_out")),
        "{}\n{}",
        filters(),
        run.daemon.output()
    );
}

#[test]
fn the_daemon_keeps_three_capabilities_only() {
    let run = running(&[]);
    let caps = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.daemon.pid()))
            .expect("the daemon runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("CapEff:"))
            .unwrap_or_default();
        u64::from_str_radix(line.trim_start_matches("CapEff:").trim(), 16).expect("a number")
    };
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39 (linux/capability.h).
    let kept = 1u64 << 12 | 1 << 38 | 1 << 39;
    assert!(eventually(SOON, || caps() == kept), "{:x}", caps());
}

#[test]
fn a_neighbour_that_ages_does_not_wake_the_daemon() {
    let run = running(&[]);
    std::thread::sleep(Duration::from_secs(1));
    let before = run.wake_ups();
    for state in ["reachable", "stale", "delay", "permanent", "noarp"] {
        for (address, device) in [("172.16.20.99", "eth0"), ("fd00:20::99", "eth1")] {
            let entry = format!("{address} lladdr 02:00:00:00:00:99 dev {device}");
            run.ip(&format!("neigh replace {entry} nud {state}"));
        }
    }
    assert_eq!(run.wake_ups(), before, "the daemon reacted to neighbours");
    // An entry that is deleted by hand becomes FAILED first.
    run.ip("neigh del 172.16.20.99 dev eth0");
    let woken = || run.wake_ups() > before;
    assert!(
        eventually(SOON, woken),
        "the daemon reacts to a neighbour that is lost"
    );
}

#[test]
fn a_reader_of_its_log_that_ends_does_not_end_it_and_many_enis_find_descriptors() {
    let run = running(&[]);
    let of_process = |file: &str| {
        let path = format!("/proc/{}/{file}", run.daemon.pid());
        std::fs::read_to_string(path).expect("the daemon runs")
    };
    // The shell that started it gave SIGPIPE its default action, which ends a process.
    let status = of_process("status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.expect("a line").trim();
    let ignored = u64::from_str_radix(ignored, 16).expect("a number");
    assert_ne!(ignored & 1 << (13 - 1), 0, "SIGPIPE: {ignored:x}");
    let limits = of_process("limits");
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let files: Vec<&str> = files.expect("a line").split_whitespace().collect();
    assert_eq!(files[0], files[1], "the soft limit is the hard one");
}

#[test]
fn each_repair_is_a_plain_line_of_the_log_with_who_removed_the_object() {
    let run = running(&[]);
    let before = all_ours(&run.lab.host);
    run.ip(SOURCE_RULE);
    run.heals(&before, "a deleted rule");
    let said = || {
        let output = run.daemon.output();
        output.contains("restored what ") && output.contains("from 172.16.20.177 lookup")
    };
    assert!(eventually(SOON, said), "{}", run.daemon.output());
    let output = run.daemon.output();
    assert!(output.contains("by its netlink port"), "{output}");
    assert!(!output.contains('\x1b'), "no colours in a file: {output}");
    // More of the same cause within the minute is no further line.
    for _ in 0..3 {
        run.ip(SOURCE_RULE);
        run.heals(&before, "a deleted rule");
    }
    let lines = run.daemon.output();
    let lines = lines.lines().filter(|line| line.contains("restored what"));
    // Each process may be named by another number.
    assert!(lines.count() <= 4, "{}", run.daemon.output());
}

#[test]
fn a_link_that_flaps_often_is_no_fight() {
    let run = running(&[]);
    let before = all_ours(&run.lab.host);
    for _ in 0..14 {
        run.ip("link set eth1 down");
        run.ip("link set eth1 up");
        run.ip("addr add fd00:20::177/64 dev eth1 nodad");
        run.heals(&before, "the routes of a link that flapped");
    }
    assert_eq!(run.report()["paused"], serde_json::json!([]));
}
