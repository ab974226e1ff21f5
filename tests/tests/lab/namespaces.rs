//! Each network namespace has pins and saved values of its own, also when the kernel gives a new
//! namespace the inode number of a dead one.

use std::fs;

use eni_steer_tests::{Counters, Kept, Lab, SOON, Shape, Steer, eventually, ping};

use crate::common::namespace_of;

const APPLY: [&str; 5] = ["apply", "--eni", "eth0", "--eni", "eth1"];

/// The inode number in the name of a namespace's directories.
fn inode(name: &str) -> &str {
    name.split_once('-').expect("inode and cookie").0
}

#[test]
fn a_new_namespace_with_the_number_of_a_dead_one_inherits_nothing() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.ok(&lab, &APPLY);
    let name = namespace_of(&lab);
    let dead = format!("{}-1", inode(&name));
    // What the dead namespace left behind has its inode number and another cookie.
    let run = steer.run_dir();
    fs::create_dir(run.join(&dead)).expect("it is made");
    fs::copy(
        run.join(&name).join("state.json"),
        run.join(&dead).join("state.json"),
    )
    .expect("it is there");
    let pins = steer.bpffs().path().join("eni-steer");
    let maps = pins.join(&dead).join("v1/maps");
    fs::create_dir_all(&maps).expect("it is made");
    eni_steer_tests::pin_some_map(&maps.join("ENIS"));
    steer.ok(&lab, &["remove"]);
    // remove restored this namespace's interfaces by its own notes, and swept the dead one's.
    assert!(!run.join(&dead).exists());
    assert_eq!(steer.bpffs().pins(), Vec::<String>::new());
}

#[test]
fn what_a_namespace_that_has_ended_left_behind_is_swept_by_the_next_apply() {
    let steer = Steer::new();
    let first = Lab::builder(Shape::SameSubnet).build();
    steer.ok(&first, &APPLY);
    let dead = namespace_of(&first);
    // As long as it is alive, nobody touches its files.
    let second = Lab::builder(Shape::SameSubnet).build();
    steer.ok(&second, &APPLY);
    let pins = steer.bpffs().path().join("eni-steer");
    assert!(pins.join(&dead).exists() && steer.run_dir().join(&dead).exists());
    drop(first);
    let alive = namespace_of(&second);
    // The kernel ends a namespace some time after its last user.
    let swept = || {
        steer.ok(&second, &APPLY);
        !pins.join(&dead).exists() && !steer.run_dir().join(&dead).exists()
    };
    assert!(eventually(SOON, swept), "{:?}", steer.bpffs().pins());
    assert!(pins.join(&alive).exists() && steer.run_dir().join(&alive).exists());
    steer.exits(&second, &["plan"], 0);
    steer.ok(&second, &["remove"]);
}

#[test]
fn directories_that_an_older_version_named_by_inode_are_taken_over_with_their_counters() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.ok(&lab, &APPLY);
    let to = lab.eni(1).v4().into();
    assert!(
        ping(
            &lab.client,
            None,
            to,
            3,
            std::time::Duration::from_millis(5)
        )
        .all_answered()
    );
    let before = Counters::read(&steer, &lab);
    let name = namespace_of(&lab);
    let places = [
        steer.bpffs().path().join("eni-steer"),
        steer.run_dir().to_owned(),
    ];
    for place in &places {
        fs::rename(place.join(&name), place.join(inode(&name))).expect("it is there");
    }
    // Reading leaves the names alone.
    steer.exits(&lab, &["plan"], 0);
    let total = |counters: &Counters| counters.total("eth1", eni_steer_tests::Way::In);
    assert_eq!(total(&Counters::read(&steer, &lab)), total(&before));
    for place in &places {
        assert!(place.join(inode(&name)).exists() && !place.join(&name).exists());
    }
    steer.ok(&lab, &APPLY);
    for place in &places {
        assert!(!place.join(inode(&name)).exists() && place.join(&name).exists());
    }
    assert_eq!(total(&Counters::read(&steer, &lab)), total(&before));
    steer.exits(&lab, &["plan"], 0);
    steer.ok(&lab, &["remove"]);
    assert_eq!(steer.bpffs().pins(), Vec::<String>::new());
}

#[test]
fn while_a_daemon_of_an_older_version_runs_its_directories_keep_their_names() {
    let kept = Kept::by(&["run", "--eni", "eth0", "--eni", "eth1"]);
    let name = namespace_of(&kept.lab);
    let run = kept.steer.run_dir();
    fs::rename(run.join(&name), run.join(inode(&name))).expect("it is there");
    kept.steer.exits(&kept.lab, &["apply"], 0);
    assert!(run.join(inode(&name)).exists() && !run.join(&name).exists());
}
