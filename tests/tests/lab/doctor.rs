//! `doctor`: each condition, made in the lab, is found under its code, and a healthy host has none.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use eni_steer_tests::{
    Background, Call, Lab, SOON, Shape, Steer, assert_unchanged, binary, eventually, ip, nft, ping,
    run_ok,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const BRIEFLY: Duration = Duration::from_millis(2);

/// What is found in every lab: its interfaces have one queue, both are on one subnet, and no service
/// is installed.
const ALWAYS: [&str; 4] = ["ES0217", "ES0222", "ES0501", "ES0502"];

/// All codes that are found.
fn all_codes(report: &Value) -> BTreeSet<String> {
    let checks = report["checks"].as_array();
    let checks = checks.unwrap_or_else(|| panic!("{report:#}")).iter();
    let codes = checks.filter_map(|check| check["code"].as_str());
    codes.map(str::to_owned).collect()
}

/// The codes that are found beside those.
fn codes(report: &Value) -> BTreeSet<String> {
    let mut codes = all_codes(report);
    codes.retain(|code| !ALWAYS.contains(&code.as_str()));
    codes
}

#[track_caller]
fn expect(report: &Value, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(codes(report), wanted, "{report:#}");
}

/// The words after `ip` of the command with these words.
#[track_caller]
fn remedy<'a>(report: &'a Value, words: &str) -> &'a str {
    let all = report["remedies"].as_array().expect("a list").iter();
    let mut commands = all.filter_map(|remedy| remedy["command"].as_str());
    let command = commands.find(|command| command.contains(words));
    let command = command.and_then(|command| command.strip_prefix("ip "));
    command.unwrap_or_else(|| panic!("no command of ip with {words}: {report:#}"))
}

/// A host on which all is well, and traffic was seen.
fn healthy() -> (Lab, Steer) {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    for eni in lab.enis() {
        let address = eni.v4().into();
        assert!(ping(&lab.client, None, address, 3, BRIEFLY).all_answered());
    }
    (lab, steer)
}

#[test]
fn a_healthy_host_has_no_findings_and_doctor_changes_nothing() {
    let (lab, steer) = healthy();
    let _report = lab.on_failure_print();
    let before = steer.world(&lab);
    let report = steer.run(&lab, &["doctor", "-j"]).expect_code(0).json();
    expect(&report, &[]);
    let text = steer.run(&lab, &["doctor"]).expect_code(0).stdout;
    assert!(
        text.contains("2 of 2 answer") || text.contains("4 of 4 answer"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert_unchanged(&before, &steer.world(&lab));
}

#[test]
fn what_is_wrong_with_rules_is_found_with_the_command_that_ends_it() {
    let (lab, steer) = healthy();
    let _report = lab.on_failure_print();
    // Each rule, its code, and whether the command that doctor names removes it.
    let cases = [
        ("rule add pref 100 lookup main", &["ES0301"][..]),
        (
            "rule add pref 31000 from 172.16.20.177 lookup 1001",
            &["ES0302"],
        ),
        ("rule add from 10.9.9.9 lookup 21001", &["ES0303"]),
        (
            "rule add pref 31000 from 172.16.20.177 lookup 21001",
            &["ES0304"],
        ),
        ("rule add pref 20005 lookup main", &["ES0301", "ES0306"]),
    ];
    for (rule, wanted) in cases {
        ip(&lab.host, rule);
        // eni-steer may want to move its band, so there can be more.
        let found = codes(&steer.json(&lab, &["doctor"]));
        let is_found = |code: &&str| found.contains(*code);
        assert!(wanted.iter().all(is_found), "{rule}: {found:?}");
        ip(&lab.host, &rule.replace("rule add", "rule del"));
        expect(&steer.json(&lab, &["doctor"]), &[]);
    }
    ip(&lab.host, "rule del pref 32766");
    let report = steer.run(&lab, &["doctor", "-j"]).expect_code(3).json();
    expect(&report, &["ES0301", "ES0305"]);
    ip(&lab.host, remedy(&report, "pref 32766"));
    expect(&steer.json(&lab, &["doctor"]), &[]);
    // The command for a dead rule, as it is printed.
    ip(
        &lab.host,
        "rule add pref 31000 from 172.16.20.177 lookup 1001",
    );
    let report = steer.json(&lab, &["doctor"]);
    ip(&lab.host, remedy(&report, "1001"));
    expect(&steer.json(&lab, &["doctor"]), &[]);
}

#[test]
fn what_is_wrong_with_an_eni_is_found() {
    let (lab, steer) = healthy();
    let _report = lab.on_failure_print();
    let host = |words: &str| drop(ip(&lab.host, words));
    host("link set eth1 mtu 1400");
    steer.ok(&lab, &["apply"]);
    assert!(codes(&steer.json(&lab, &["doctor"])).contains("ES0208"));
    host("link set eth1 mtu 1500");
    steer.ok(&lab, &["apply"]);
    host("route add 198.18.0.0/15 via 172.16.20.253 dev eth0 mtu 9000");
    assert!(codes(&steer.json(&lab, &["doctor"])).contains("ES0209"));
    host("route del 198.18.0.0/15");
    nft(&lab.host, "add table netdev t");
    nft(
        &lab.host,
        "add chain netdev t c { type filter hook ingress device eth1 priority 0; }",
    );
    expect(&steer.json(&lab, &["doctor"]), &["ES0215", "ES0510"]);
    nft(&lab.host, "delete table netdev t");
    host("addr add 172.16.20.177/24 dev eth0");
    assert!(codes(&steer.json(&lab, &["doctor"])).contains("ES0205"));
    host("addr del 172.16.20.177/24 dev eth0");
    steer.ok(&lab, &["apply"]);
    host("link set eth1 down");
    let report = steer.run(&lab, &["doctor", "-j"]).json();
    assert!(codes(&report).contains("ES0203"), "{report:#}");
}

#[test]
fn sysctls_and_a_silent_gateway_are_found_and_gone_once_they_are_right() {
    let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let nobody = "eth1=172.16.20.99";
    steer.apply(&lab, &["--sysctls", "off", "--gateway", nobody]);
    let report = steer.run(&lab, &["doctor", "-j"]).expect_code(3).json();
    let found = codes(&report);
    for code in ["ES0206", "ES0207", "ES0210", "ES0510"] {
        assert!(found.contains(code), "{code}: {report:#}");
    }
    steer.apply(
        &lab,
        &["--sysctls", "on", "--gateway", "eth1=172.16.20.253"],
    );
    let found = codes(&steer.json(&lab, &["doctor"]));
    assert_eq!(found, BTreeSet::from(["ES0510".to_owned()]));
}

#[test]
fn programs_of_other_tools_are_found_on_either_side_of_eni_steers() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--attach", "clsact"]);
    expect(&steer.json(&lab, &["doctor"]), &["ES0510"]);
    // A filter of a lower priority number than eni-steer's runs first.
    for (priority, code) in [("1", "ES0212"), ("60000", "ES0213")] {
        let filter = ["dev", "eth1", "egress", "prio", priority];
        let program = ["protocol", "all", "bpf", "bytecode", "1,6 0 0 0"];
        let add = [&["filter", "add"], &filter[..], &program].concat();
        run_ok(&lab.host, "tc", add);
        expect(&steer.json(&lab, &["doctor"]), &[code, "ES0510"]);
        run_ok(&lab.host, "tc", [&["filter", "del"], &filter[..]].concat());
    }
}

#[test]
fn what_eni_steer_itself_lacks_is_found() {
    let lab = Lab::builder(Shape::SameSubnet).container().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let found = codes(&steer.json(&lab, &["doctor"]));
    for code in ["ES0201", "ES0204", "ES0505"] {
        assert!(found.contains(code), "{code}: {found:?}");
    }
    steer.configure(
        "config.toml",
        "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n",
    );
    steer.ok(&lab, &["apply"]);
    let left_out = ["ES0201", "ES0510"];
    expect(&steer.json(&lab, &["doctor"]), &left_out);
    let with = |code: &'static str| [left_out[0], code, left_out[1]];
    steer.configure("conf.d/1.toml", "[policy]\nmode = 'steer'\n");
    expect(&steer.json(&lab, &["doctor"]), &with("ES0504"));
    steer.configure("conf.d/1.toml", "[policy]\nmode = 'x'\n");
    let report = steer.run(&lab, &["doctor", "-j"]).expect_code(3).json();
    expect(&report, &with("ES0503"));
    steer.configure("conf.d/1.toml", "");
    ip(&lab.host, "rule del pref 20300");
    let report = steer.json(&lab, &["doctor"]);
    assert!(codes(&report).contains("ES0506"), "{report:#}");
    steer.ok(&lab, &["apply"]);
    ip(&lab.host, "rule add pref 100 lookup main");
    let eth1 = lab.eni(1).v4().into();
    drop(ping(&lab.client, None, eth1, 4, BRIEFLY));
    let report = steer.run(&lab, &["doctor", "-j"]).expect_code(4).json();
    expect(&report, &["ES0201", "ES0301", "ES0509"]);
    assert_eq!(report["exits"], serde_json::json!([4, 3]));
    ip(&lab.host, "rule del pref 100");
    let waits = steer
        .call(&["apply", "--mode", "steer", "--confirm", "60s"])
        .start_in_background(&lab.host);
    let waits_for = || codes(&steer.json(&lab, &["doctor"])).contains("ES0507");
    assert!(eventually(SOON, waits_for), "{}", waits.output());
    let confirmed = || steer.run(&lab, &["confirm"]).code() == Some(0);
    assert!(eventually(SOON, confirmed), "{}", waits.output());
    steer.ok(&lab, &["off"]);
    assert!(codes(&steer.json(&lab, &["doctor"])).contains("ES0516"));
}

#[test]
fn what_the_machine_lacks_is_found_and_the_rest_is_shown_all_the_same() {
    let (lab, steer) = healthy();
    let _report = lab.on_failure_print();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let call = steer.call(&["doctor", "-j"]);
    let no_bpffs = call.clone().env("ENI_STEER_BPFFS", elsewhere.path());
    let report = no_bpffs.run(&lab.host).json();
    assert!(codes(&report).contains("ES0103"), "{report:#}");
    let through = |words: &[&str]| {
        let mut call = Call::new(words[0]).args(&words[1..]);
        call = call.arg(binary()).args(["doctor", "-j"]);
        call.env("ENI_STEER_BPFFS", steer.bpffs().path())
            .env("ENI_STEER_RUN", steer.run_dir())
            .run(&lab.host)
    };
    let few = through(&["prlimit", "--nofile=60:60"]).json();
    expect(&few, &["ES0105"]);
    // A command that nobody may read cannot be run by nobody.
    let copy = elsewhere.path().join("eni-steer");
    std::fs::copy(binary(), &copy).expect("it can be copied");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(elsewhere.path(), open).expect("it is ours");
    let nobody = Call::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["doctor", "-j"])
        .run(&lab.host)
        .expect_code(5)
        .json();
    let found = codes(&nobody);
    assert!(
        found.contains("ES0102") && found.contains("ES0107"),
        "{nobody:#}"
    );
    // Of the maps, one is gone.
    let pins = steer.bpffs().pins();
    let map = pins.iter().find(|pin| pin.ends_with("/maps/OWNERS4"));
    let map = map.unwrap_or_else(|| panic!("{pins:?}"));
    std::fs::remove_file(steer.bpffs().path().join(map)).expect("it is ours");
    let report = steer.run(&lab, &["doctor", "-j"]).json();
    assert_eq!(report["ok"], false);
    assert!(codes(&report).contains("ES0107"), "{report:#}");
}

/// A process with the name of another program, in the lab's host.
fn pretend(lab: &Lab, directory: &Path, name: &str) -> Background {
    let copy = directory.join(name);
    std::fs::copy("/bin/sleep", &copy).expect("it can be copied");
    Call::new(&copy).arg("60").start_in_background(&lab.host)
}

#[test]
fn other_managers_are_named_only_if_they_run_in_this_network_namespace() {
    let (lab, steer) = healthy();
    let _report = lab.on_failure_print();
    let directory = tempfile::tempdir().expect("a directory");
    for (name, code) in [
        ("systemd-networkd", "ES0401"),
        ("nm-cloud-setup", "ES0402"),
        ("NetworkManager", "ES0405"),
        ("dockerd", "ES0406"),
        ("aws-k8s-agent", "ES0406"),
        ("keepalived", "ES0407"),
        ("tailscaled", "ES0408"),
    ] {
        let mut runs = pretend(&lab, directory.path(), name);
        let found = || codes(&steer.json(&lab, &["doctor"])).contains(code);
        assert!(eventually(SOON, found), "{name}");
        runs.signal(Signal::SIGKILL);
        let _killed = runs.wait(SOON);
        assert!(eventually(SOON, || !found()), "{name} has ended");
    }
    // In another namespace it is none of ours.
    let copy = directory.path().join("keepalived");
    let elsewhere = Call::new(&copy).arg("60").start_in_background(&lab.client);
    expect(&steer.json(&lab, &["doctor"]), &[]);
    drop(elsewhere);
}

#[test]
fn other_managers_are_found_by_their_files_and_networkd_by_its_settings() {
    let (lab, steer) = healthy();
    let _report = lab.on_failure_print();
    let directory = tempfile::tempdir().expect("a directory");
    let networkd = pretend(&lab, directory.path(), "systemd-networkd");
    // A mount namespace in which these files exist.
    let report = |prepare: &str| {
        let script = format!(
            "set -e\n\
             for d in /etc/systemd /etc/cloud /usr/lib/systemd /run; do\n\
               mkdir -p $d; mount -t tmpfs none $d\n\
             done\n\
             {prepare}\n\
             exec {} doctor -j",
            binary().display()
        );
        let call = Call::new("unshare").args(["-m", "sh", "-c", &script]);
        let call = call
            .env("ENI_STEER_BPFFS", steer.bpffs().path())
            .env("ENI_STEER_RUN", steer.run_dir());
        call.run(&lab.host).json()
    };
    let doctor = |prepare: &str| codes(&report(prepare));
    let put =
        |path: &str, text: &str| format!("mkdir -p $(dirname {path}); printf '{text}' > {path}");
    let has = |prepare: &str, code: &str| doctor(prepare).contains(code);
    let setting = |file: &str| {
        let text = r"[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n";
        put(&format!("/etc/systemd/{file}"), text)
    };
    assert!(has("", "ES0401"));
    assert!(!has(&setting("networkd.conf"), "ES0401"));
    assert!(!has(&setting("networkd.conf.d/eni-steer.conf"), "ES0401"));
    drop(networkd);
    let timer = "/etc/systemd/system/timers.target.wants/nm-cloud-setup.timer";
    assert!(has(&put(timer, ""), "ES0402"));
    let timer = "/usr/lib/systemd/system/refresh-policy-routes@.timer";
    assert!(has(&put(timer, ""), "ES0403"));
    let ran = put("/run/cloud-init/result.json", "");
    assert!(has(&ran, "ES0404"));
    let off = put("/etc/cloud/cloud-init.disabled", "");
    assert!(!has(&format!("{ran}\n{off}"), "ES0404"));
    let index = eni_index(&lab);
    let lease = format!("mkdir -p /run/systemd/netif/leases/{index}");
    assert!(has(&lease, "ES0512"), "a lease that is a directory");
    let gone = put("/run/systemd/netif/leases", "");
    assert!(has(&gone, "ES0508"), "a directory that cannot be read");
    let enabled = "/etc/systemd/system/multi-user.target.wants/eni-steer.service";
    let is_persistent = |prepare: &str| !all_codes(&report(prepare)).contains("ES0501");
    assert!(!is_persistent(""));
    assert!(is_persistent(&put(enabled, "")));
}

/// The interface index of eth1.
fn eni_index(lab: &Lab) -> String {
    let text = ip(&lab.host, "-o link show eth1");
    text.split(':').next().unwrap_or_default().to_owned()
}

#[test]
fn each_code_explains_itself() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    for entry in eni_steer_core::doctor::codes::ALL {
        let text = steer.ok(&lab, &["doctor", entry.code]);
        assert!(
            text.starts_with(entry.code) && text.contains("What to do: "),
            "{text}"
        );
    }
    steer.exits(&lab, &["doctor", "ES9999"], 2);
}
