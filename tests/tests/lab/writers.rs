//! Several processes of eni-steer at once: one of them at a time changes the host, so the result is
//! always that of one after the other.

use std::fs::File;
use std::time::Duration;

use eni_steer_tests::{Kept, Lab, SOON, Shape, Steer, assert_unchanged, eventually};
use nix::sys::signal::Signal;

use crate::common::namespace_of;

const LONG: Duration = Duration::from_secs(60);

/// The lock file of the lab's host.
fn lock_file(steer: &Steer, lab: &Lab) -> std::path::PathBuf {
    let directory = steer.run_dir().join(namespace_of(lab));
    std::fs::create_dir_all(&directory).expect("it is made");
    directory.join("changes.lock")
}

#[test]
fn commands_at_the_same_time_have_the_result_of_one_after_the_other() {
    let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let bare = steer.world(&lab);
    let enis = ["--eni", "eth0", "--eni", "eth1"];
    let apply = |mode| [&["apply", "--mode", mode][..], &enis].concat();
    let commands = [
        apply("steer"),
        apply("count"),
        apply("drop"),
        vec!["remove"],
    ];
    let mut outcomes = [0, 0];
    for round in 0..24 {
        let (first, second) = (&commands[round % 4], &commands[(round / 4 + round) % 4]);
        let mut processes =
            [first, second].map(|words| steer.call(words).start_in_background(&lab.host));
        for (process, words) in processes.iter_mut().zip([first, second]) {
            let status = process.wait(LONG);
            assert!(status.success(), "{words:?}: {}", process.output());
        }
        if steer.world(&lab) == bare {
            assert!(first[0] == "remove" || second[0] == "remove", "{round}");
            outcomes[0] += 1;
            continue;
        }
        outcomes[1] += 1;
        let status = steer.json(&lab, &["status"]);
        let modes: Vec<_> = status["enis"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|eni| eni["mode"].as_str().expect("a mode").to_owned())
            .collect();
        assert_eq!(modes[0], modes[1], "no mixture: {status:#}");
        let by_one = [first, second]
            .iter()
            .any(|words| words.contains(&modes[0].as_str()));
        assert!(by_one, "{modes:?} of {first:?} and {second:?}");
        steer.exits(&lab, &["plan"], 0);
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&bare, &steer.world(&lab));
}

#[test]
fn a_command_that_waits_says_for_whom_and_changes_nothing_if_its_time_is_up() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let path = lock_file(&steer, &lab);
    let file = File::create(&path).expect("it is made");
    std::fs::write(&path, r#"{"pid":4711,"command":"apply"}"#).expect("it is written");
    file.lock().expect("it is free");
    let before = steer.world(&lab);
    for command in ["apply", "remove"] {
        let output = steer
            .run(&lab, &[command, "--wait", "700ms"])
            .expect_code(1);
        let said = &output.stderr;
        let waits = "'eni-steer apply' (pid 4711) is at work on this host: waiting for it to end";
        assert!(said.starts_with(waits), "{said}");
        assert!(
            said.contains("error: 'eni-steer apply' (pid 4711)"),
            "{said}"
        );
        assert!(said.contains("hint: nothing was changed"), "{said}");
    }
    assert_unchanged(&before, &steer.world(&lab));
    // Commands that only read do not wait.
    for command in ["status", "plan", "verify", "counters"] {
        let output = steer.run(&lab, &[command]);
        assert!(!output.stderr.contains("waiting"), "{output}");
    }
    // Once it is released, the file that a killed process left behind holds nothing.
    drop(file);
    steer.apply(&lab, &[]);
    steer.ok(&lab, &["remove"]);
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let run = Kept::by(&["run", "--eni", "eth0", "--eni", "eth1"]);
    let pid = run.report()["pid"].as_u64().expect("a pid").to_string();
    let second = run.steer.run(&run.lab, &["run"]).expect_code(8);
    let said = format!("error: the daemon runs already (pid {pid})");
    assert!(second.stderr.starts_with(&said), "{second}");
    assert_eq!(
        run.report()["pid"].as_u64().expect("a pid").to_string(),
        pid
    );
    run.steer
        .refuses(&run.lab, &["remove"], 8, &["remove", &pid]);
}

#[test]
fn a_remove_beside_a_daemon_that_starts_comes_before_it_or_is_refused() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let bare = steer.world(&lab);
    for round in 0..8 {
        let mut daemon = steer
            .call(&["run", "--eni", "eth0", "--eni", "eth1"])
            .start_in_background(&lab.host);
        std::thread::sleep(Duration::from_millis(round * 4));
        let remove = steer.run(&lab, &["remove"]);
        match remove.code() {
            Some(0) => {}
            Some(8) => assert!(remove.stderr.contains("while the daemon runs"), "{remove}"),
            _ => panic!("{remove}"),
        }
        // Either way the daemon's policy is in place in the end.
        let in_place = || steer.run(&lab, &["plan"]).code() == Some(0);
        assert!(eventually(SOON, in_place), "{}", daemon.output());
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.wait(LONG).success(), "{}", daemon.output());
        steer.ok(&lab, &["remove"]);
        assert_unchanged(&bare, &steer.world(&lab));
    }
}
