//! `apply --confirm` undoes itself unless somebody confirms.

use std::time::Duration;

use eni_steer_tests::{
    Background, Lab, Shape, Steer, assert_unchanged, eventually, expect_symmetry,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const APPLY: [&str; 8] = [
    "apply",
    "--eni",
    "eth0",
    "--eni",
    "eth1",
    "--mode",
    "steer",
    "--confirm",
];
/// Longer than any test takes to confirm, and than anybody wants to wait.
const LONG: Duration = Duration::from_secs(20);

fn apply_with(time: &str) -> Vec<&str> {
    APPLY.into_iter().chain([time]).collect()
}

/// Returns whether `apply` has done everything; it writes the policy to the state file last.
fn applied(steer: &Steer, lab: &Lab) -> bool {
    steer
        .run(
            lab,
            &["plan", "--eni", "eth0", "--eni", "eth1", "--mode", "steer"],
        )
        .code()
        == Some(0)
}

#[test]
fn what_nobody_confirms_is_undone() {
    let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    let output = steer
        .call(&apply_with("1s"))
        .timeout(LONG)
        .run(&lab.host)
        .expect_code(6);
    assert!(
        output
            .stderr
            .contains("Not confirmed in time: eni-steer undoes the change."),
        "{output}"
    );
    // "Undone" is only reported when it is done.
    assert!(
        output
            .stderr
            .contains("Undone, because nobody confirmed it"),
        "{output}"
    );
    let left = eni_steer_tests::diff(&without_note(&before), &without_note(&steer.world(&lab)));
    assert_eq!(left, "");
    // The reason stays in status until the next apply.
    let status = steer.run(&lab, &["status"]).stdout;
    assert!(
        status.contains("undid the last 'apply --confirm'"),
        "{status}"
    );
    // The confirmation comes too late.
    let late = steer.run(&lab, &["confirm"]).expect_code(6);
    assert!(late.stderr.contains("too late"), "{late}");
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// The note that the change was undone, which `confirm` reads, stays until the next apply or
/// remove.
fn without_note(world: &str) -> String {
    world
        .split("== run directory")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn what_nobody_confirms_is_undone_when_the_session_is_gone() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    let mut apply = steer.call(&apply_with("2s")).start_in_background(&lab.host);
    assert!(
        eventually(LONG, || applied(&steer, &lab)),
        "{}",
        apply.output()
    );
    killed_it_is_undone(&mut apply, &before, &steer, &lab);
}

/// If apply is killed in the middle of its work, the guard removes what it has done.
#[test]
fn an_apply_that_was_cut_off_is_undone_too() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    let mut apply = steer.call(&apply_with("1s")).start_in_background(&lab.host);
    // The first pins are there, so some steps are done.
    assert!(
        eventually(LONG, || !steer.bpffs().pins().is_empty()),
        "{}",
        apply.output()
    );
    killed_it_is_undone(&mut apply, &before, &steer, &lab);
}

/// Kills the apply, and waits until the host is as before.
#[track_caller]
fn killed_it_is_undone(apply: &mut Background, before: &str, steer: &Steer, lab: &Lab) {
    apply.signal(Signal::SIGKILL);
    apply.wait(LONG);
    let left = || eni_steer_tests::diff(&without_note(before), &without_note(&steer.world(lab)));
    assert!(eventually(LONG, || left().is_empty()), "{}", left());
}

#[test]
fn what_is_confirmed_stays() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let mut apply = steer
        .call(&apply_with("60s"))
        .start_in_background(&lab.host);
    assert!(
        eventually(LONG, || apply.output().contains("Run 'eni-steer confirm'")),
        "{}",
        apply.output()
    );
    // A second one, with or without a confirmation, has to wait for the first: the undo would undo
    // both.
    for second in [apply_with("60s"), vec!["apply", "--mode", "count"]] {
        let second = steer.run(&lab, &second).expect_code(1);
        assert!(second.stderr.contains("is not confirmed yet"), "{second}");
    }
    let status = steer.run(&lab, &["status"]).stdout;
    assert!(status.starts_with("UNCONFIRMED"), "{status}");
    let applied = steer.world(&lab);
    assert_eq!(
        steer.ok(&lab, &["confirm"]),
        "Confirmed: the change stays.\n"
    );
    assert!(apply.wait(LONG).success(), "{}", apply.output());
    assert_eq!(without_note(&applied), without_note(&steer.world(&lab)));
    steer.exits(&lab, &["plan"], 0);
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    let nothing = steer.run(&lab, &["confirm"]).expect_code(1);
    assert!(
        nothing.stderr.contains("there is nothing to confirm"),
        "{nothing}"
    );
}

/// The policy from before the change is in effect again, rather than none.
#[test]
fn an_unconfirmed_change_goes_back_to_what_was_before_it() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "count"]);
    let before = steer.world(&lab);
    let change = [
        "apply",
        "--mode",
        "steer",
        "--table",
        "eth1=1001",
        "--confirm",
        "1s",
    ];
    let output = steer.call(&change).timeout(LONG).run(&lab.host);
    assert_eq!(output.code(), Some(6), "{output}");
    let left = || eni_steer_tests::diff(&without_note(&before), &without_note(&steer.world(&lab)));
    assert!(eventually(LONG, || left().is_empty()), "{}", left());
    assert!(eventually(LONG, || steer.run(&lab, &["plan"]).code() == Some(0)));
    let report = steer.json(&lab, &["status"]);
    assert_eq!(report["enis"][1]["mode"], "count", "{report:#}");
}

#[test]
fn undo_goes_back_at_once() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    steer.refuses(&lab, &["undo"], 1, &["nothing to undo"]);
    let mut apply = waiting(&steer, &lab, "60");
    let undone = steer.run(&lab, &["undo"]).expect_code(6);
    assert!(
        undone.stderr.contains("'eni-steer undo' was run"),
        "{undone}"
    );
    assert_eq!(apply.wait(LONG).code(), Some(6), "{}", apply.output());
    let left = eni_steer_tests::diff(&without_note(&before), &without_note(&steer.world(&lab)));
    assert_eq!(left, "");
}

/// The other way to write 60 s is 60; a time that undoes the change at once is a mistake.
#[test]
fn a_time_that_makes_no_sense_is_refused_and_changes_nothing() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    for wrong in ["0", "0s", "30h", "soon"] {
        let arguments = apply_with(wrong);
        steer.refuses(&lab, &arguments, 2, &["--confirm"]);
    }
    assert_unchanged(&before, &steer.world(&lab));
}

/// A daemon that starts meanwhile would restore what the undo removes, so it waits.
#[test]
fn a_daemon_that_starts_meanwhile_waits_for_the_outcome() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    let mut apply = waiting(&steer, &lab, "3");
    let configuration = ["run", "--eni", "eth0", "--eni", "eth1", "--rules", "off"];
    let daemon = steer.call(&configuration).start_in_background(&lab.host);
    assert!(
        eventually(LONG, || daemon
            .output()
            .contains("waits for its confirmation")),
        "{}",
        daemon.output()
    );
    assert_eq!(apply.wait(LONG).code(), Some(6), "{}", apply.output());
    // Undone first, and then the daemon does what its own policy says.
    let rules = || eni_steer_tests::ip(&lab.host, "rule");
    assert!(!rules().contains("20300"), "{}", rules());
    assert!(eventually(LONG, || !steer.bpffs().pins().is_empty()));
    assert!(!rules().contains("20300"), "{}", rules());
    daemon.signal(Signal::SIGTERM);
    drop(daemon);
    assert!(eventually(LONG, || steer.run(&lab, &["remove"]).success()));
    let left = eni_steer_tests::diff(&without_note(&before), &without_note(&steer.world(&lab)));
    assert_eq!(left, "");
}

/// Starts `apply --confirm` and waits until it waits.
#[track_caller]
fn waiting(steer: &Steer, lab: &Lab, time: &str) -> Background {
    let apply = steer.call(&apply_with(time)).start_in_background(&lab.host);
    assert!(
        eventually(LONG, || apply.output().contains("Run 'eni-steer confirm'")),
        "{}",
        apply.output()
    );
    apply
}

/// The process that undoes the change; `None`: there is none.
fn guard(steer: &Steer) -> Option<Pid> {
    let namespaces = std::fs::read_dir(steer.run_dir()).ok()?;
    namespaces.filter_map(Result::ok).find_map(|directory| {
        let text = std::fs::read_to_string(directory.path().join("guard.lock")).ok()?;
        let holder: serde_json::Value = serde_json::from_str(&text).ok()?;
        let pid = i32::try_from(holder["pid"].as_i64()?).ok()?;
        Some(Pid::from_raw(pid)).filter(|pid| kill(*pid, None).is_ok())
    })
}

/// What happens to the processes of a change.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The guard is killed.
    GuardKilled,
    /// The guard stops and never goes on.
    GuardStopped,
    /// `apply` is killed.
    ApplyKilled,
    /// `apply` stops and never goes on.
    ApplyStopped,
    /// The file about the change is overwritten.
    FileDamaged,
    /// Both are killed, so nobody is left.
    BothKilled,
}

const FAULTS: [Fault; 6] = [
    Fault::GuardKilled,
    Fault::GuardStopped,
    Fault::ApplyKilled,
    Fault::ApplyStopped,
    Fault::FileDamaged,
    Fault::BothKilled,
];

/// Whatever happens to one of the processes, at whatever moment, the host is as before in the end.
/// If both are killed, `status` says that nobody is left, and `undo` completes it.
#[test]
fn an_unconfirmed_change_is_undone_whatever_is_killed_and_whenever() {
    // ENI_STEER_FAULTS=1000 for a long run.
    let rounds = std::env::var("ENI_STEER_FAULTS");
    let rounds: usize = rounds.ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = without_note(&steer.world(&lab));
    for round in 0..rounds {
        let fault = FAULTS[round % FAULTS.len()];
        // From the start of the guard until after the end of the time.
        let at = Duration::from_millis((round as u64 * 197) % 1_600);
        let mut apply = steer.call(&apply_with("1")).start_in_background(&lab.host);
        assert!(
            eventually(LONG, || guard(&steer).is_some()),
            "{}",
            apply.output()
        );
        std::thread::sleep(at);
        inflict(fault, &steer, &apply);
        let is_left =
            || !eni_steer_tests::diff(&before, &without_note(&steer.world(&lab))).is_empty();
        if matches!(fault, Fault::BothKilled) {
            apply.wait(LONG);
            let status = || steer.run(&lab, &["status"]).stdout;
            // A process that was killed takes a moment to end.
            let is_named = || status().contains("eni-steer undo");
            assert!(
                eventually(LONG, || !is_left() || is_named()),
                "round {round}, {fault:?} after {at:?}: {}",
                status()
            );
            if is_left() {
                steer.exits(&lab, &["undo"], 6);
            }
            assert!(!is_left(), "round {round}, {fault:?} after {at:?}");
        }
        let patience = Duration::from_secs(40);
        assert!(
            eventually(patience, || !is_left() && guard(&steer).is_none()),
            "round {round}, {fault:?} after {at:?}: {}\n{}",
            apply.output(),
            eni_steer_tests::diff(&before, &without_note(&steer.world(&lab)))
        );
        if apply.ended().is_none() {
            apply.signal(Signal::SIGKILL);
            apply.wait(LONG);
        }
        steer.ok(&lab, &["remove"]);
    }
}

fn inflict(fault: Fault, steer: &Steer, apply: &Background) {
    let to_guard = |signal| {
        if let Some(guard) = guard(steer) {
            // It may have ended by itself meanwhile.
            let _ended = kill(guard, signal);
        }
    };
    match fault {
        Fault::GuardKilled => to_guard(Signal::SIGKILL),
        Fault::GuardStopped => to_guard(Signal::SIGSTOP),
        Fault::ApplyKilled => apply.signal(Signal::SIGKILL),
        Fault::ApplyStopped => apply.signal(Signal::SIGSTOP),
        Fault::BothKilled => {
            apply.signal(Signal::SIGKILL);
            to_guard(Signal::SIGKILL);
        }
        Fault::FileDamaged => {
            let namespaces = std::fs::read_dir(steer.run_dir()).expect("the run directory");
            for directory in namespaces.filter_map(Result::ok) {
                let file = directory.path().join("unconfirmed.json");
                if file.exists() {
                    std::fs::write(file, "{").expect("it can be written");
                }
            }
        }
    }
}

const PROBED: [&str; 7] = ["apply", "--eni", "eth0", "--eni", "eth1", "--mode", "steer"];

/// Applies with probes of these targets, and returns what the command said.
#[track_caller]
fn probed(steer: &Steer, lab: &Lab, targets: &[&str], code: i32) -> String {
    let probes = targets.iter().map(|target| match *target {
        "" => "--probe".to_owned(),
        target => format!("--probe={target}"),
    });
    let words: Vec<String> = PROBED
        .map(str::to_owned)
        .into_iter()
        .chain(probes)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = steer.call(&words).timeout(LONG).run(&lab.host);
    output.expect_code(code).stderr
}

#[test]
fn a_change_stays_if_every_probe_is_answered() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let client = (lab.client_v4(), lab.client_v6());
    let server = std::net::SocketAddr::new(client.0.into(), 7100);
    let listener = lab
        .client
        .run(|| std::net::TcpListener::bind(server).expect("a listener"));
    let targets = [
        "".to_owned(),
        format!("eth1={}", client.0),
        format!("eth1={}", client.1),
        format!("eth1={server}"),
        client.0.to_string(),
    ];
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let said = probed(&steer, &lab, &targets, 0);
    assert!(
        said.contains("Every probe was answered: the change stays."),
        "{said}"
    );
    drop(listener);
    steer.exits(&lab, &["plan"], 0);
    steer.refuses(&lab, &["confirm"], 1, &["nothing to confirm"]);
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
}

#[test]
fn a_change_is_undone_if_a_probe_is_not_answered_or_leaves_by_the_wrong_eni() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = without_note(&steer.world(&lab));
    let expect_undone = |targets: &[&str], reason: &str| {
        let said = probed(&steer, &lab, targets, 6);
        assert!(said.contains("Undone") && said.contains(reason), "{said}");
        let status = steer.run(&lab, &["status"]).stdout;
        assert!(status.contains(reason), "{status}");
    };
    expect_undone(
        &["", "eth1=192.0.2.77"],
        "the probe of eth1=192.0.2.77 was not answered",
    );
    let closed = format!("eth1={}:7101", lab.client_v4());
    expect_undone(&[&closed], "was not answered");
    let left = eni_steer_tests::diff(&before, &without_note(&steer.world(&lab)));
    assert_eq!(left, "");
    // Another program's rule comes first: the answers would come, by the wrong ENI.
    eni_steer_tests::ip(
        &lab.host,
        "rule add pref 100 from 172.16.20.177 lookup main",
    );
    let client = format!("eth1={}", lab.client_v4());
    expect_undone(&[&client], "leave by eth0 and not by eth1");
}

#[test]
fn a_probe_that_cannot_be_asked_is_refused_and_changes_nothing() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let before = steer.world(&lab);
    for (target, naming) in [("eth7=192.0.2.10", "eth7"), ("example.org", "--probe")] {
        let words = [&PROBED[..], &["--probe", target]].concat();
        steer.refuses(&lab, &words, 2, &[naming]);
    }
    assert_unchanged(&before, &steer.world(&lab));
}
