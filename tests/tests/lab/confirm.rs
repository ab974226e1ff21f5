//! `apply --confirm` undoes itself unless somebody confirms.

use std::time::Duration;

use eni_steer_tests::{
    Background, Lab, Shape, Steer, assert_unchanged, eventually, expect_symmetry,
};
use nix::sys::signal::Signal;

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
    // The guard has decided, but may still be working.
    let left = || eni_steer_tests::diff(&without_note(&before), &without_note(&steer.world(&lab)));
    assert!(eventually(LONG, || left().is_empty()), "{}", left());
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
    // A second one has to wait for the first.
    let second = steer.run(&lab, &apply_with("60s")).expect_code(1);
    assert!(second.stderr.contains("is not confirmed yet"), "{second}");
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
