//! JSON that one can build on: every report begins alike, also that of an error.

use eni_steer_tests::{Lab, Shape, Steer, binary, ip, ping};
use serde_json::Value;

/// The keys with which every report begins.
const HEADER: [&str; 8] = [
    "report", "schema", "version", "host", "time", "ok", "verdict", "exit",
];

#[track_caller]
fn header(report: &Value) {
    for key in HEADER {
        assert!(report.get(key).is_some(), "no {key} in {report:#}");
    }
    let time = report["time"].as_str().expect("a time");
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
}

#[test]
fn with_j_an_error_is_a_report_on_stdout_with_the_exit_code_of_the_command() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["counters", "-j"], 1, "no counters"),
        (&["plan", "--eni", "eth7", "-j"], 8, "eth7"),
        (&["plan", "--no-such-option", "-j"], 2, "--no-such-option"),
        (&["-vj", "no-such-command"], 2, "no-such-command"),
        (
            &["plan", "--config", "/nonexistent", "--json"],
            2,
            "/nonexistent",
        ),
        (
            &["status", "--from", "/nonexistent", "-j"],
            2,
            "/nonexistent",
        ),
    ];
    for (words, code, names) in cases {
        let output = steer.run(&lab, words).expect_code(code);
        let report = output.json();
        header(&report);
        assert_eq!(report["report"], "error", "{output}");
        assert_eq!(report["exit"], code, "{output}");
        assert_eq!(report["ok"], false, "{output}");
        let error = report["error"].as_str().expect("a sentence");
        assert!(error.contains(names), "{output}");
        assert!(report["hint"].is_string(), "{output}");
        assert!(report["causes"].is_array(), "{output}");
        assert!(!output.stderr.contains("error:"), "{output}");
    }
    // Without it, stdout is empty.
    let output = steer.run(&lab, &["counters"]).expect_code(1);
    assert!(output.stdout.is_empty() && output.stderr.starts_with("error: "));
}

#[test]
fn every_report_begins_with_the_same_keys_and_names_its_exit_code() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let all: [&[&str]; 9] = [
        &["status"],
        &["status", "--check"],
        &["plan"],
        &["verify"],
        &["explain", "172.16.20.177"],
        &["counters"],
        &["config", "show"],
        &["config", "check"],
        &["apply", "--dry-run"],
    ];
    for applied in [false, true] {
        for words in all {
            let output = steer.run(&lab, &[words, &["-j"]].concat());
            let report = output.json();
            header(&report);
            assert_eq!(
                report["exit"].as_i64(),
                output.code().map(i64::from),
                "{output}"
            );
            if report["ok"] == true {
                assert_eq!(report["exit"], 0, "{output}");
            }
        }
        if !applied {
            steer.apply(&lab, &[]);
        }
    }
}

#[test]
fn plan_and_apply_dry_run_end_with_the_same_code() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let both = |code| {
        for words in [&["plan"][..], &["apply", "--dry-run"]] {
            steer.exits(
                &lab,
                &[words, &["--eni", "eth0", "--eni", "eth1"]].concat(),
                code,
            );
        }
    };
    both(3);
    steer.apply(&lab, &[]);
    both(0);
}

/// Runs each line of docs/json.md, as a shell would.
#[test]
fn the_lines_for_jq_of_the_documents_give_what_they_promise() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    let eth1 = lab.eni(1).v4().into();
    let briefly = std::time::Duration::from_millis(2);
    drop(ping(&lab.client, None, eth1, 4, briefly));
    ip(&lab.host, "rule add pref 100 lookup main");
    drop(ping(&lab.client, None, eth1, 4, briefly));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md");
    let page = std::fs::read_to_string(page).expect("docs/json.md is there");
    let (_, lines) = page.split_once("<!-- jq -->").expect("its lines");
    let (lines, _) = lines.split_once("<!-- /jq -->").expect("their end");
    let lines = lines.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| line.contains(" | jq ")).collect();
    assert!(lines.len() > 10, "{lines:?}");
    let directory = binary();
    let directory = directory.parent().expect("a program is in a directory");
    let path = format!(
        "{}:{}",
        directory.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut said = Vec::new();
    for line in &lines {
        let output = steer
            .call(&[])
            .instead("sh", &["-c", line])
            .env("PATH", &path)
            .run(&lab.host);
        assert_eq!(output.code(), Some(0), "{output}");
        assert!(output.stderr.is_empty(), "{output}");
        said.push((*line, output.stdout));
    }
    let of = |part: &str| {
        let mut all = said.iter();
        let found = all.find(|(line, _)| line.contains(part));
        found.map_or("no such line", |(_, said)| said.as_str())
    };
    assert_eq!(of("jq .ok"), "false\n");
    assert!(of(".causes[]").contains("pref 100"), "{said:?}");
    assert!(of("select(.wins)").contains("100"), "{said:?}");
    assert!(
        of("addresses[]?").contains("172.16.20.177/32\teth1\tasymmetric"),
        "{said:?}"
    );
    assert!(of("packets_wrong").contains("eth1"), "{said:?}");
    assert!(of("doctor -j").contains("ES0301"), "{said:?}");
    assert!(of("eth99").contains("eth99"), "{said:?}");
    assert_eq!(of("jq -c .exits"), "[4,3]\n");
}
