//! The configuration files, through the command: errors name their place and change nothing,
//! later files override earlier ones, and each value shows where it comes from.

use std::net::IpAddr;
use std::time::Duration;

use eni_steer_tests::{Lab, Shape, Steer, assert_unchanged, eventually, expect_symmetry};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);
const ENIS: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n";

fn lab() -> Lab {
    Lab::builder(Shape::SameSubnet).drop_wrong_source().build()
}

/// Mistakes: the file, the place in it (line and column), and a word of the error.
const MISTAKES: [(&str, &str, &str); 16] = [
    ("[policy]\nmoed = 'steer'", "2:1", "unknown key 'moed'"),
    ("[polcy]\nmode = 'steer'", "1:2", "unknown key 'polcy'"),
    ("[policy]\nmode = 'stear'", "2:8", "stear"),
    ("[policy\n", "1:8", "unclosed"),
    (
        "[[eni]]\nname = 'eth1'\n[[eni]]\nname = 'eth1'",
        "4:8",
        "already",
    ),
    ("[[eni]]\ntable = 7", "1:1", "which ENI"),
    (
        "[[eni]]\nname = 'eth1'\ngateway = '172.16.20.256'",
        "3:11",
        "172.16.20.256",
    ),
    (
        "[[eni]]\nname = 'eth1'\naddresses = ['10.0.0.1', '10.0.0']",
        "3:26",
        "10.0.0",
    ),
    (
        "[[eni]]\nname = 'eth1'\nprefixes = ['10.0.0.1/24']",
        "3:13",
        "10.0.0.0/24",
    ),
    (
        "[[eni]]\nname = 'eth0'\ntable = 1001\n[[eni]]\nname = 'eth1'\ntable = 1001",
        "6:9",
        "1001",
    ),
    (
        "[[eni]]\nname = 'eth0'\naddresses = ['10.0.0.1']\n[[eni]]\nname = 'eth1'\n\
         addresses = ['10.0.0.1']",
        "6:13",
        "10.0.0.1",
    ),
    ("[[eni]]\nname = 'eth1'\ntable = 254", "3:9", "kernel"),
    ("[policy]\npriorities = '32000-32999'", "2:14", "kernel"),
    ("[policy]\npriorities = '20000-20100'", "2:14", "priorities"),
    ("[[rule]]\nto = '10.0.0.0/8'", "1:1", "action"),
    (
        "[balance]\nweights = { eth0 = 1, eth1 = 1 }",
        "2:11",
        "primary",
    ),
];

#[test]
fn a_mistake_is_reported_with_file_line_and_column_and_changes_nothing() {
    let lab = lab();
    let steer = Steer::new();
    for (text, place, said) in MISTAKES {
        steer.configure("config.toml", text);
        let at = format!("{}:{place}: ", steer.config().display());
        let told = steer.refuses(&lab, &["config", "check"], 2, &[&at, said]);
        let also = steer.refuses(&lab, &["apply"], 2, &[&at, said]);
        assert_eq!(told, also);
    }
    for command in ["plan", "verify", "run"] {
        steer.refuses(&lab, &[command], 2, &["config.toml:"]);
    }
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    assert!(status.contains("config.toml:"), "{status}");
}

#[test]
fn a_mistake_in_a_later_file_names_that_file_and_one_across_files_names_both() {
    let lab = lab();
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\ntable = 1001");
    steer.exits(&lab, &["config", "check"], 0);
    steer.configure("conf.d/20-mode.toml", "[policy]\n\nmode = 7");
    steer.refuses(&lab, &["apply"], 2, &["conf.d/20-mode.toml:3:8: "]);
    steer.configure("conf.d/20-mode.toml", "");
    steer.configure(
        "conf.d/30-eth1.toml",
        "[[eni]]\nname = 'eth1'\ntable = 1001",
    );
    let told = steer.refuses(&lab, &["apply"], 2, &["conf.d/30-eth1.toml:3:9: "]);
    assert!(told.contains("config.toml:3"), "the other one: {told}");
    // Files with other names are not read.
    steer.configure("conf.d/30-eth1.toml", "");
    steer.configure("conf.d/README", "not TOML");
    steer.configure("conf.d/old.toml.bak", "[");
    steer.exits(&lab, &["config", "check"], 0);
}

/// Returns the value and the origin that `config show -j` reports for a key.
#[track_caller]
fn shown(report: &Value, table: &str, number: u64, key: &str) -> (Value, Value) {
    let values = report["values"].as_array().expect("a list");
    let found = values
        .iter()
        .find(|one| one["table"] == table && one["number"] == number && one["key"] == key);
    let found = found.unwrap_or_else(|| panic!("no {table} {number} {key} in {report:#}"));
    (found["value"].clone(), found["from"].clone())
}

#[test]
fn without_a_file_everything_is_as_by_default() {
    let lab = lab();
    let steer = Steer::new();
    assert!(
        steer
            .ok(&lab, &["config", "check"])
            .starts_with("ok: there is no ")
    );
    let report = steer.json(&lab, &["config", "show"]);
    assert_eq!(report["source"], "automatic (nothing is applied)");
    let values = report["values"].as_array().expect("a list");
    assert!(values.len() > 15 && values.iter().all(|one| one["from"] == "default"));
    // A file that the command line names must exist.
    let missing = steer.config();
    let missing = missing.to_str().expect("a path of text");
    steer.refuses(
        &lab,
        &["--config", missing, "config", "check"],
        2,
        &[missing],
    );
}

#[test]
fn the_last_file_that_sets_a_key_wins_and_show_names_it() {
    let lab = lab();
    let steer = Steer::configured(&format!(
        "[policy]\nmode = 'count'\nattach = 'clsact'\n{ENIS}"
    ));
    steer.configure(
        "conf.d/10.toml",
        "[policy]\nmode = 'drop'\n[[eni]]\nname = 'eth1'\ntable = 1001",
    );
    steer.configure(
        "conf.d/20.toml",
        "[policy]\n\nmode = 'steer'\n[[rule]]\nuid = 7\naction = 'prohibit'",
    );
    let report = steer.json(&lab, &["config", "show", "--sysctls", "off"]);
    let file = |name: &str, line: u64, column: u64| {
        let path = steer.config().with_file_name(name);
        json!({ "file": { "path": path, "line": line, "column": column } })
    };
    for (table, number, key, value, from) in [
        (
            "[policy]",
            0,
            "mode",
            json!("steer"),
            file("conf.d/20.toml", 3, 8),
        ),
        (
            "[policy]",
            0,
            "attach",
            json!("clsact"),
            file("config.toml", 3, 10),
        ),
        ("[policy]", 0, "sysctls", json!(false), json!("flag")),
        ("[policy]", 0, "group", json!(20229), json!("default")),
        (
            "[[eni]]",
            1,
            "table",
            json!(1001),
            file("conf.d/10.toml", 5, 9),
        ),
        (
            "[[rule]]",
            0,
            "action",
            json!("prohibit"),
            file("conf.d/20.toml", 6, 10),
        ),
    ] {
        assert_eq!(
            shown(&report, table, number, key),
            (value, from),
            "{table} {key}"
        );
    }
    // Its output is a TOML configuration with the same meaning.
    let text = steer.ok(&lab, &["config", "show"]);
    assert!(text.contains("conf.d/20.toml:3"), "{text}");
    let again = Steer::configured(&text);
    let values = |report: &Value| -> Vec<Value> {
        let values = report["values"].as_array().expect("a list");
        values.iter().map(|one| one["value"].clone()).collect()
    };
    let effective = steer.json(&lab, &["config", "show"]);
    assert_eq!(
        values(&again.json(&lab, &["config", "show"])),
        values(&effective)
    );
    // And it is in effect.
    steer.ok(&lab, &["apply"]);
    let status = steer.json(&lab, &["status"]);
    assert_eq!(status["enis"][1]["table"], 1001, "{status:#}");
    assert_eq!(status["enis"][1]["mode"], "steer", "{status:#}");
    assert_eq!(status["enis"][1]["programs"], json!(["clsact", "clsact"]));
}

#[test]
fn a_daemon_reads_the_files_again_at_sighup_and_keeps_what_it_has_while_they_are_wrong() {
    let lab = lab();
    let steer = Steer::configured(ENIS);
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let mode = || steer.json(&lab, &["status"])["enis"][1]["mode"].clone();
    let told = || lab.dump(&lab.host);
    let settled = || steer.run(&lab, &["plan"]).code() == Some(0);
    assert!(eventually(SOON, settled), "{}", daemon.output());
    steer.configure("conf.d/mode.toml", "[policy]\nmode = 'steer'");
    assert!(!settled(), "files alone change nothing");
    daemon.signal(Signal::SIGHUP);
    assert!(eventually(SOON, settled), "{}", daemon.output());
    assert_eq!(mode(), "steer");
    let before = told();
    steer.configure("conf.d/mode.toml", "[policy]\nmode = 'stear'");
    daemon.signal(Signal::SIGHUP);
    let said = || daemon.output().contains("conf.d/mode.toml:2:8");
    assert!(eventually(SOON, said), "{}", daemon.output());
    assert_unchanged(&before, &told());
    let address: IpAddr = lab.eni(1).v4().into();
    expect_symmetry(&lab, 1, address);
}

/// What only a flag says is lost at a reboot: `apply` says so, `persist` refuses, and `config save`
/// writes it into the file, of which everything else stays as it was.
#[test]
fn what_a_flag_says_is_written_into_the_configuration_or_nobody_calls_it_kept() {
    let lab = lab();
    let _report = lab.on_failure_print();
    let text = format!("# web-7\n{ENIS}table = 1001 # as in the old rc.local\n");
    let steer = Steer::configured(&text);
    steer.ok(&lab, &["apply"]);
    let applied = steer
        .run(&lab, &["apply", "--mode", "steer"])
        .expect_success();
    for words in ["does not have [policy] mode = \"steer\"", "config save"] {
        assert!(applied.stderr.contains(words), "{words}: {applied}");
    }
    steer.refuses(&lab, &["persist"], 2, &["[policy] mode = \"steer\""]);

    let read = || std::fs::read_to_string(steer.config()).expect("it is there");
    let shown = steer.ok(&lab, &["config", "save", "--dry-run"]);
    assert_eq!(shown, "[policy] mode = \"steer\"  # was \"count\"\n");
    assert_eq!(read(), text, "only shown");
    steer.ok(&lab, &["config", "save"]);
    assert!(read().contains(&text), "{}", read());
    // Now the file decides, and a reboot loses nothing.
    steer.exits(&lab, &["plan"], 0);
    let again = steer.ok(&lab, &["config", "save"]);
    assert!(again.contains("nothing to save"), "{again}");
    // There is no systemd in the lab: this is as far as it goes, and no refusal.
    let persist = steer.run(&lab, &["persist"]);
    assert!(!persist.stderr.contains("would be lost"), "{persist}");
    let quiet = steer.run(&lab, &["apply"]).expect_success();
    assert!(!quiet.stderr.contains("note:"), "{quiet}");
}

/// Another file that comes later would win, so the command refuses and names it.
#[test]
fn a_value_that_another_file_overrides_is_not_saved() {
    let lab = lab();
    let steer = Steer::configured(ENIS);
    steer.configure("conf.d/10-mode.toml", "[policy]\nmode = 'count'\n");
    let before = std::fs::read_to_string(steer.config()).expect("it is there");
    let words = ["config", "save", "--mode", "steer"];
    steer.refuses(&lab, &words, 2, &["conf.d/10-mode.toml:2"]);
    let after = std::fs::read_to_string(steer.config()).expect("it is there");
    assert_eq!(before, after);
}
