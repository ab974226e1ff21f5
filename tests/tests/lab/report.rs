//! `report` and `--from`: what the commands say about a host can be computed anywhere, by anyone,
//! from one file.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use eni_steer_tests::{Call, Lab, Output, Shape, Steer, assert_unchanged, binary, ip, ping};
use serde_json::Value;

/// A user without any privilege.
const NOBODY: &str = "65534";

/// A copy of the command and a report file, in a directory that anyone may read.
struct Elsewhere {
    directory: tempfile::TempDir,
}

impl Elsewhere {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path(), open(0o755)).expect("it is ours");
        let command = directory.path().join("eni-steer");
        std::fs::copy(binary(), &command).expect("it can be copied");
        std::fs::set_permissions(&command, open(0o755)).expect("it is ours");
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("report.json")
    }

    /// Runs the command as a user without privileges on another machine: the client.
    fn run(&self, lab: &Lab, args: &[&str]) -> Output {
        let command = self.directory.path().join("eni-steer");
        let file = self.file();
        Call::new("setpriv")
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(command)
            .args(args)
            .arg("--from")
            .arg(file)
            .env("ENI_STEER_BPFFS", "/nonexistent")
            .env("ENI_STEER_RUN", "/nonexistent")
            .run(&lab.client)
    }
}

/// The words of a text without durations, which differ between two moments.
fn calm(text: &str) -> String {
    // "4 s" is one duration.
    let text = text.replace(" s ", "s ");
    let is_time = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &word[digits.len()..];
        !digits.is_empty()
            && digits.chars().all(|c| c.is_ascii_digit())
            && ["us", "ms", "s", "m", "h"].contains(&unit)
    };
    let words = text.split_whitespace().filter(|word| !is_time(word));
    words.collect::<Vec<_>>().join(" ")
}

/// The commands whose words are compared.
const COMMANDS: [&[&str]; 15] = [
    &["status"],
    &["status", "-v"],
    &["status", "--all"],
    &["status", "--bad"],
    &["status", "eth1"],
    &["status", "--check"],
    &["plan"],
    &["plan", "-v"],
    &["plan", "--mode", "drop"],
    &["doctor"],
    &["verify"],
    &["verify", "--require-traffic", "all"],
    &["explain", "172.16.20.177"],
    &["explain", "fd00:20::177", "-v"],
    &["explain", "--to", "203.0.113.113"],
];

/// Compares what each command says on the host with what it says from a file.
#[track_caller]
fn compare(steer: &Steer, lab: &Lab, elsewhere: &Elsewhere, what: &str) {
    // The first look at a changed host begins a new epoch.
    drop(steer.run(lab, &["verify"]));
    let file = elsewhere.file();
    let before = steer.world(lab);
    steer.ok(lab, &["report", "-o", file.to_str().expect("a path")]);
    assert_unchanged(&before, &steer.world(lab));
    for command in COMMANDS {
        let here = steer.run(lab, command);
        let there = elsewhere.run(lab, command);
        assert_eq!(
            (
                there.code(),
                calm(&there.stdout),
                calm(&without_origin(&there))
            ),
            (here.code(), calm(&here.stdout), calm(&here.stderr)),
            "{what}: {command:?}\n{there}\n{here}"
        );
        let json = |mut report: Value| {
            let report = report.as_object_mut().expect("a report");
            [
                "report", "schema", "version", "host", "ok", "verdict", "exit",
            ]
            .map(|key| report.remove(key).unwrap_or_else(|| panic!("no {key}")))
        };
        let json_of = [command, &["-j"]].concat();
        let here = json(steer.run(lab, &json_of).json());
        let there = json(elsewhere.run(lab, &json_of).json());
        assert_eq!(here, there, "{what}: {command:?}");
    }
}

/// What a command prints to stderr, without the line that names the file's host and time.
fn without_origin(output: &Output) -> String {
    let lines = output.stderr.lines();
    let lines = lines.filter(|line| !line.starts_with("From a report of "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_commands_say_the_same_from_a_file_as_on_the_host_as_any_user() {
    let lab = Lab::builder(Shape::SameSubnet).container().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let elsewhere = Elsewhere::new();
    // What the kernel knows of gateways changes with time.
    for eni in lab.enis() {
        for gateway in [eni.gateway_v4.to_string(), eni.gateway_v6.to_string()] {
            let words = format!(
                "neigh replace {gateway} dev {} lladdr {} nud permanent",
                eni.name, eni.gateway_mac
            );
            ip(&lab.host, &words);
        }
    }
    compare(&steer, &lab, &elsewhere, "nothing is applied");
    steer.apply(&lab, &[]);
    let eth1 = lab.eni(1).v4().into();
    let briefly = Duration::from_millis(2);
    assert!(ping(&lab.client, None, eth1, 4, briefly).all_answered());
    compare(&steer, &lab, &elsewhere, "all is well");
    ip(&lab.host, "rule add pref 100 lookup main");
    drop(ping(&lab.client, None, eth1, 4, briefly));
    compare(&steer, &lab, &elsewhere, "another rule wins");
    ip(&lab.host, "link set eth1 down");
    compare(&steer, &lab, &elsewhere, "an ENI is down");
    steer.configure("config.toml", "[policy]\nmode = 'no such mode'\n");
    compare(&steer, &lab, &elsewhere, "the configuration is wrong");
}

#[test]
fn a_command_that_reads_a_file_names_its_host_and_asks_nothing_anew() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    let elsewhere = Elsewhere::new();
    let file = elsewhere.file();
    steer.ok(&lab, &["report", "-o", file.to_str().expect("a path")]);
    let said = elsewhere.run(&lab, &["verify"]);
    assert!(said.stderr.starts_with("From a report of "), "{said}");
    assert!(said.stderr.contains("asked anew"), "{said}");
    // A packet that nobody asked the kernel about.
    let said = elsewhere.run(&lab, &["explain", "172.16.20.177", "--to", "8.8.8.8"]);
    assert!(
        said.stdout.contains("own evaluation of the rules"),
        "{said}"
    );
    assert_eq!(said.code(), Some(0), "{said}");
    // A window cannot be waited for.
    let said = elsewhere.run(&lab, &["verify", "--window", "1s"]);
    assert_eq!(said.code(), Some(2), "{said}");
    for content in ["", "{}", "{\"format\": 99}", "[1]"] {
        std::fs::write(&file, content).expect("it is ours");
        let said = elsewhere.run(&lab, &["status"]);
        assert_eq!(said.code(), Some(2), "{content}: {said}");
        eni_steer_tests::expect_error(&said, &["report.json"]);
    }
}

#[test]
fn a_redacted_report_has_none_of_the_addresses_and_the_same_verdicts() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    let eth1 = lab.eni(1).v4().into();
    let briefly = Duration::from_millis(2);
    for rule in [None, Some("rule add pref 100 lookup main")] {
        if let Some(rule) = rule {
            ip(&lab.host, rule);
        }
        drop(ping(&lab.client, None, eth1, 4, briefly));
        drop(steer.run(&lab, &["verify"]));
        let elsewhere = Elsewhere::new();
        let file = elsewhere.file();
        let name = file.to_str().expect("a path");
        steer.ok(&lab, &["report", "--redact", "-o", name]);
        let text = std::fs::read_to_string(&file).expect("it was written");
        let client = lab.client_v4().to_string();
        let mac = lab.eni(1).mac.to_string();
        for address in ["172.16.20.17", "fd00:20::17", &client, &mac] {
            assert!(!text.contains(address), "{address} in {text}");
        }
        for command in [&["status", "-j"][..], &["verify", "-j"], &["plan", "-j"]] {
            let here = steer.run(&lab, command).json();
            let there = elsewhere.run(&lab, command).json();
            for key in ["ok", "verdict", "exit", "exits"] {
                assert_eq!(here.get(key), there.get(key), "{command:?} {key} {there:#}");
            }
            let causes = |report: &Value| report["causes"].as_array().map(Vec::len);
            assert_eq!(causes(&here), causes(&there), "{there:#}");
        }
    }
}

#[test]
fn a_report_of_15_enis_with_50_addresses_each_is_at_most_5_megabytes() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let mut script = String::new();
    for eni in 0..15 {
        script += &format!("link add d{eni} type veth peer name p{eni}\n");
        script += &format!("link set d{eni} up\nlink set p{eni} up\n");
        for address in 10..60 {
            script += &format!("addr add 10.1.{eni}.{address}/24 dev d{eni}\n");
        }
    }
    let batch = Call::new("ip").args(["-batch", "-"]).stdin(script);
    drop(batch.run(&lab.host).expect_success());
    let mut args = vec!["apply".to_owned(), "--eni".to_owned(), "eth0".to_owned()];
    for eni in 0..15 {
        let named = [
            format!("--eni=d{eni}"),
            format!("--gateway=d{eni}=10.1.{eni}.1"),
        ];
        args.extend(named);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    steer.ok(&lab, &args);
    let file = steer.run_dir().join("report.json");
    steer.ok(&lab, &["report", "-o", file.to_str().expect("a path")]);
    let size = std::fs::metadata(&file).expect("it was written").len();
    eprintln!("{size} bytes");
    assert!(size <= 5_000_000, "{size} bytes");
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(text.contains("10.1.14.59"), "the last address is in it");
}
