//! JSON that one can build on: every report begins alike, also that of an error.

use eni_steer_tests::{Lab, Shape, Steer};
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
