//! What `verify` and `status` report is true, and their exit codes agree.

use std::net::IpAddr;
use std::time::Duration;

use eni_steer_tests::{Lab, Ping, Shape, Steer, ping, run_ok};
use serde_json::Value;

const BRIEFLY: Duration = Duration::from_millis(2);

fn verify(steer: &Steer, lab: &Lab, code: i32) -> (String, Value) {
    let text = steer
        .run(lab, &["verify", "--require-traffic", "none"])
        .expect_code(code);
    let json = steer
        .run(lab, &["verify", "--require-traffic", "none", "-j"])
        .expect_code(code);
    (text.stdout, json.json())
}

/// Returns the verdict on an address.
fn verdict<'a>(report: &'a Value, address: &str) -> &'a str {
    let mut rows = report["traffic"]["addresses"]
        .as_array()
        .into_iter()
        .flatten();
    let row = rows.find(|row| {
        row["address"]
            .as_str()
            .is_some_and(|a| a.starts_with(address))
    });
    let row = row.unwrap_or_else(|| panic!("no {address} in {report:#}"));
    row["verdict"].as_str().expect("a word")
}

#[test]
fn no_traffic_is_not_called_symmetric() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    // Without programs nothing is counted, and the report says so.
    steer.apply(&lab, &["--programs", "off"]);
    let (text, report) = verify(&steer, &lab, 0);
    assert!(text.contains("PASS  routing "), "{text}");
    assert!(text.contains("not measured"), "{text}");
    assert!(report["traffic"].is_null(), "{report:#}");
    // Counted, but without traffic.
    steer.apply(&lab, &["--programs", "on"]);
    let (text, report) = verify(&steer, &lab, 0);
    assert!(text.contains("no traffic"), "{text}");
    assert!(!text.contains("symmetric"), "{text}");
    for eni in lab.enis() {
        for address in eni.both() {
            assert_eq!(verdict(&report, &format!("{address}/")), "no-traffic");
        }
    }
    // One address has traffic; the others have none.
    assert!(ping(&lab.client, None, lab.eni(1).v4().into(), 3, BRIEFLY).all_answered());
    let (_, report) = verify(&steer, &lab, 0);
    assert_eq!(verdict(&report, "172.16.20.177/"), "symmetric");
    assert_eq!(verdict(&report, "172.16.20.176/"), "no-traffic");
    // In a window in which nothing happens, nothing is known.
    let window = steer
        .run(
            &lab,
            &[
                "verify",
                "--require-traffic",
                "none",
                "--window",
                "100ms",
                "-j",
            ],
        )
        .expect_code(0)
        .json();
    assert_eq!(verdict(&window, "172.16.20.177/"), "no-traffic");
}

#[test]
fn asymmetric_traffic_is_reported_with_numbers_and_its_own_exit_code() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "count"]);
    // The rules are right, but a socket is bound to the wrong device.
    for (from, address, wrong) in [
        (lab.eni(1).v4().into(), "172.16.20.177/", 1),
        // What comes for the other address shows nothing about the first one.
        (lab.eni(1).v6().into(), "fd00:20::177/", 2),
    ] {
        let to = lab.client_address(from);
        let told = Ping::to(to)
            .from(from)
            .device("eth0")
            .count(4)
            .patience(Duration::from_millis(50));
        assert_eq!(told.run(&lab.host).sent, 4);
        let (text, report) = verify(&steer, &lab, 4);
        let counted = format!("FAIL  traffic   {wrong} asymmetric");
        assert!(text.contains(&counted), "{text}");
        let host = address.trim_end_matches('/');
        let line = text
            .lines()
            .find(|line| line.starts_with(host))
            .expect("a line of the address");
        assert!(
            line.contains("eth0 4") && line.contains("asymmetric, 4 of 4 out"),
            "{line}"
        );
        assert_eq!(verdict(&report, address), "asymmetric");
        assert!(
            report["policy"]["drift"]
                .as_array()
                .expect("a list")
                .is_empty(),
            "{report:#}"
        );
    }
    // A request to each address whose answer was right came later: what was wrong is history, and
    // still shown.
    std::thread::sleep(Duration::from_millis(200));
    for address in lab.eni(1).both() {
        assert!(ping(&lab.client, None, address, 1, BRIEFLY).all_answered());
    }
    let (text, report) = verify(&steer, &lab, 0);
    assert_ne!(verdict(&report, "172.16.20.177/"), "asymmetric");
    assert!(text.contains("before: 4 by another ENI"), "{text}");
}

#[test]
fn a_steered_packet_is_not_called_symmetric() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "steer"]);
    run_ok(
        &lab.host,
        "ip",
        ["rule", "add", "pref", "100", "lookup", "main"],
    );
    let address: IpAddr = lab.eni(1).v4().into();
    assert!(ping(&lab.client, None, address, 3, BRIEFLY).all_answered());
    // The report names the rule all the same: steering is a safety net and does not replace the
    // rule.
    let (text, report) = verify(&steer, &lab, 4);
    assert!(text.contains("FAIL  traffic   1 steered"), "{text}");
    assert!(text.contains("exit 4 (also 3)"), "{text}");
    assert_eq!(verdict(&report, "172.16.20.177/"), "steered");
    assert_eq!(report["exits"], serde_json::json!([4, 3]));
}

#[test]
fn the_foreign_rule_that_wins_is_named() {
    for (family, lookup) in [("-4", "172.16.20.177"), ("-6", "fd00:20::177")] {
        let lab = Lab::builder(Shape::SameSubnet).build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &["--programs", "off"]);
        verify(&steer, &lab, 0);
        run_ok(
            &lab.host,
            "ip",
            [family, "rule", "add", "pref", "100", "lookup", "main"],
        );
        let (text, report) = verify(&steer, &lab, 3);
        let mut lines = text.lines().skip_while(|line| !line.starts_with("CAUSE 1"));
        let mut next = || lines.next().unwrap_or_else(|| panic!("{text}"));
        let cause = next();
        assert!(
            cause.contains("100") && cause.contains("lookup main"),
            "{cause}"
        );
        assert!(next().contains("1 address of eth1 leave by eth0"), "{text}");
        let example = next();
        assert!(example.contains(lookup), "{example}");
        assert!(example.contains("should leave by eth1"), "{example}");
        let hint = next();
        let (_, command) = hint.split_once(": ip ").unwrap_or_else(|| panic!("{hint}"));
        assert!(hint.contains("a priority above 20999"), "{hint}");
        let misrouted = report["policy"]["misrouted"].as_array().expect("a list");
        assert!(!misrouted.is_empty());
        for entry in misrouted {
            assert_eq!(entry["rule"]["priority"], 100, "{entry:#}");
            assert_eq!(entry["rule_is_ours"], false, "{entry:#}");
            assert_eq!(entry["owner"], "eth1", "{entry:#}");
            assert_eq!(entry["by"], "eth0", "{entry:#}");
        }
        // It is not drift: the plan is empty, and the rule stays.
        steer.exits(&lab, &["plan"], 0);
        // The command that the hint gives ends it.
        run_ok(&lab.host, "ip", command.split(' '));
        verify(&steer, &lab, 0);
    }
}

#[test]
fn a_tool_that_is_known_by_its_rule_is_named() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &["--programs", "off"]);
    run_ok(
        &lab.host,
        "ip",
        ["rule", "add", "pref", "5270", "lookup", "52"],
    );
    run_ok(
        &lab.host,
        "ip",
        ["route", "add", "default", "dev", "eth0", "table", "52"],
    );
    let (text, _) = verify(&steer, &lab, 3);
    assert!(
        text.contains("Tailscale") && text.contains("lookup 52"),
        "{text}"
    );
}

#[test]
fn drift_is_listed_line_by_line() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--programs", "off"]);
    run_ok(&lab.host, "ip", ["route", "flush", "table", "21001"]);
    let rule = [
        "-6",
        "rule",
        "del",
        "from",
        "fd00:20::177",
        "lookup",
        "21001",
    ];
    run_ok(&lab.host, "ip", rule);
    let plan = steer.run(&lab, &["plan", "-v"]).expect_code(3).stdout;
    let (text, report) = verify(&steer, &lab, 3);
    let drift = report["policy"]["drift"].as_array().expect("a list");
    assert_eq!(drift.len(), plan.lines().count());
    for line in plan.lines() {
        assert!(text.contains(&format!("\n  {line}\n")), "{line}:\n{text}");
    }
    let status = steer.ok(&lab, &["status"]);
    assert!(
        status.contains(&format!("{} differences from the policy", drift.len())),
        "{status}"
    );
    steer.ok(&lab, &["apply"]);
    verify(&steer, &lab, 0);
}

#[test]
fn a_host_without_policy_is_reported_as_misrouted() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let enis = ["--eni", "eth0", "--eni", "eth1"];
    let verify = steer
        .run(
            &lab,
            &[&["verify", "--require-traffic", "none"][..], &enis].concat(),
        )
        .expect_code(3);
    assert!(verify.stdout.contains("172.16.20.177"), "{verify}");
    // The kernel's own rule decides: no other program is the cause, but a rule is missing.
    for part in [
        "no rule with a route matches 1 address of eth1, so the main table is used: packets leave by \
         eth0",
        "fix      eni-steer apply",
    ] {
        assert!(verify.stdout.contains(part), "{part}: {verify}");
    }
}

/// A program that runs before eni-steer's may end the chain; eni-steer does not see those
/// packets.
#[test]
fn a_program_that_runs_before_ours_is_named() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    run_ok(&lab.host, "tc", ["qdisc", "add", "dev", "eth1", "clsact"]);
    let add = ["filter", "add", "dev", "eth1", "ingress", "prio", "1"];
    run_ok(
        &lab.host,
        "tc",
        add.into_iter().chain(["bpf", "bytecode", "1,6 0 0 0"]),
    );
    steer.apply(&lab, &["--attach", "clsact"]);
    let (text, report) = verify(&steer, &lab, 0);
    assert!(text.contains("runs before eni-steer's on eth1"), "{text}");
    assert_eq!(
        report["blind"].as_array().map(Vec::len),
        Some(1),
        "{report:#}"
    );
    let status = steer.ok(&lab, &["status"]);
    assert!(status.contains("runs before eni-steer's"), "{status}");
}

/// Keys that other programs rely on. Keys are only ever added.
#[test]
fn every_report_is_json_with_its_keys() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let has = |report: &Value, keys: &[&str]| {
        assert_eq!(report["schema"], 1);
        for key in keys {
            assert!(report.get(key).is_some(), "no {key} in {report:#}");
        }
    };
    let enis = ["plan", "-j", "--eni", "eth0", "--eni", "eth1"];
    let plan = steer.run(&lab, &enis).expect_code(3).json();
    has(&plan, &["empty", "steps"]);
    assert_eq!(plan["empty"], false);
    let text = steer.plan(&lab, &["-v"]).expect_code(3).stdout;
    let lines: Vec<&str> = text.lines().collect();
    let steps = plan["steps"].as_array().expect("a list");
    let told: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["line"].as_str())
        .collect();
    assert_eq!(told, lines, "the JSON has the lines that are shown");
    let applied = steer
        .run(&lab, &["apply", "-j", "--eni", "eth0", "--eni", "eth1"])
        .expect_code(0);
    assert_eq!(applied.json()["steps"], plan["steps"]);
    let plan = steer.run(&lab, &["plan", "-j"]).expect_code(0).json();
    assert_eq!(
        (&plan["empty"], &plan["steps"]),
        (&Value::Bool(true), &Value::Array(vec![]))
    );
    assert!(ping(&lab.client, None, lab.eni(1).v4().into(), 3, BRIEFLY).all_answered());
    let status = steer.json(&lab, &["status"]);
    has(
        &status,
        &[
            "policy", "applied", "enis", "drift", "findings", "traffic", "maps",
        ],
    );
    assert_eq!(status["enis"].as_array().map(Vec::len), Some(2));
    for key in [
        "name",
        "mac",
        "table",
        "mode",
        "gateways",
        "primary",
        "addresses",
        "programs",
    ] {
        assert!(
            status["enis"][1].get(key).is_some(),
            "no {key} in {status:#}"
        );
    }
    let verify = steer.json(&lab, &["verify"]);
    has(&verify, &["policy", "traffic", "blind"]);
    for key in [
        "drift",
        "misrouted",
        "overruled",
        "probes",
        "refused",
        "notes",
    ] {
        assert!(
            verify["policy"].get(key).is_some(),
            "no {key} in {verify:#}"
        );
    }
    let counters = steer.json(&lab, &["counters"]);
    has(
        &counters,
        &[
            "taken_at", "since", "enis", "cells", "sources", "other", "maps",
        ],
    );
    for key in ["name", "mac", "totals", "fates", "losses"] {
        assert!(
            counters["enis"][0].get(key).is_some(),
            "no {key} in {counters:#}"
        );
    }
    let removed = steer.json(&lab, &["remove"]);
    has(&removed, &["empty", "steps"]);
}
