//! `off` and `on`: the emergency brake works without the daemon, beside one, and against one that
//! hangs.

use std::{fs, fs::File};

use eni_steer_tests::{Kept, Lab, SOON, Shape, Steer, all_ours, attach_kinds, dump, eventually};
use nix::sys::signal::Signal;

use crate::common::namespace_of;

const STEER: [&str; 7] = ["run", "--eni", "eth0", "--eni", "eth1", "--mode", "steer"];

/// The modes of the programs, as the maps have them.
fn modes(steer: &Steer, lab: &Lab) -> Vec<String> {
    use crate::common::{Inside, inside};
    inside(lab, || {
        let enis = Inside::look(steer).host.datapath.enis;
        enis.values().map(|eni| format!("{:?}", eni.mode)).collect()
    })
}

/// Nothing of eni-steer's decides about packets: no rule, no route, no tunable, no mode.
#[track_caller]
fn is_off(steer: &Steer, lab: &Lab, bare: &str) {
    assert_eq!(all_ours(&lab.host).len(), 0);
    assert_eq!(dump_without_programs(lab), bare);
    assert_eq!(modes(steer, lab), ["Count", "Count"]);
    let status = steer.ok(lab, &["status"]);
    assert!(status.starts_with("OFF  "), "{status}");
    let json = steer.json(lab, &["status"]);
    assert_eq!(
        (&json["verdict"], &json["off"]),
        (&"OFF".into(), &true.into())
    );
    steer.exits(lab, &["status", "--check"], 2);
}

/// The network configuration without the lines about programs and qdiscs, which stay.
fn dump_without_programs(lab: &Lab) -> String {
    let dump = dump(&lab.host);
    let lines = dump.lines().filter(|line| {
        !["clsact", "filter", "eni_steer", "tcx ingress", "tcx egress"]
            .iter()
            .any(|word| line.contains(word))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn without_a_daemon_off_takes_everything_away_and_on_brings_it_back() {
    for &attach in attach_kinds() {
        let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        let bare = dump_without_programs(&lab);
        steer.apply(&lab, &["--mode", "steer", "--attach", attach]);
        let (applied, pins) = (dump(&lab.host), steer.bpffs().pins());
        for _ in 0..2 {
            let said = steer.ok(&lab, &["off"]);
            assert!(said.contains("OFF"), "{said}");
            is_off(&steer, &lab, &bare);
            // Once more changes nothing, and apply does not bring anything back.
            steer.ok(&lab, &["off"]);
            steer.refuses(&lab, &["apply"], 8, &["off"]);
            is_off(&steer, &lab, &bare);
            assert_eq!(steer.bpffs().pins(), pins, "counters go on");
            steer.ok(&lab, &["on"]);
            assert_eq!(dump(&lab.host), applied);
            assert_eq!(modes(&steer, &lab), ["Steer", "Steer"]);
            steer.exits(&lab, &["plan"], 0);
        }
        steer.ok(&lab, &["off"]);
        steer.ok(&lab, &["remove"]);
        assert_eq!(dump_without_programs(&lab), bare);
        steer.ok(&lab, &["on"]);
        assert_eq!(all_ours(&lab.host).len(), 0, "nothing was applied any more");
    }
}

#[test]
fn off_works_with_a_wrong_configuration_and_beside_a_process_that_hangs() {
    let steer = Steer::configured("[policy]\nmode = \"steer\"\n");
    let lab = Lab::builder(Shape::SameSubnet).build();
    let bare = dump_without_programs(&lab);
    steer.ok(&lab, &["apply", "--eni", "eth0", "--eni", "eth1"]);
    steer.configure("config.toml", "[policy]\nmode = \"stee");
    // Another process holds the lock and never ends.
    let lock = steer
        .run_dir()
        .join(namespace_of(&lab))
        .join("changes.lock");
    let file = File::create(&lock).expect("it is made");
    file.lock().expect("it is free");
    steer.ok(&lab, &["off"]);
    is_off(&steer, &lab, &bare);
}

#[test]
fn a_daemon_that_hangs_does_not_undo_it_when_it_goes_on() {
    let kept = Kept::by(&STEER);
    let before = all_ours(&kept.lab.host);
    kept.daemon.signal(Signal::SIGSTOP);
    kept.steer.ok(&kept.lab, &["off"]);
    assert_eq!(all_ours(&kept.lab.host).len(), 0);
    assert_eq!(modes(&kept.steer, &kept.lab), ["Count", "Count"]);
    kept.daemon.signal(Signal::SIGCONT);
    let off = || kept.daemon.output().contains("eni-steer is off");
    assert!(eventually(SOON, off), "{}", kept.daemon.output());
    // The line comes at the end of the daemon's pass: it has seen the brake and left it on.
    assert_eq!(all_ours(&kept.lab.host).len(), 0);
    kept.steer.ok(&kept.lab, &["on"]);
    kept.heals(&before, "everything");
    assert_eq!(modes(&kept.steer, &kept.lab), ["Steer", "Steer"]);
}

#[test]
fn a_file_that_a_fleet_tool_drops_is_the_brake_also_for_a_daemon_that_starts() {
    let mut kept = Kept::by(&STEER);
    let before = all_ours(&kept.lab.host);
    let file = kept.steer.run_dir().join("off");
    fs::write(&file, "").expect("it is written");
    let off = |kept: &Kept| all_ours(&kept.lab.host).is_empty();
    assert!(eventually(SOON, || off(&kept)), "{}", kept.daemon.output());
    assert_eq!(modes(&kept.steer, &kept.lab), ["Count", "Count"]);
    kept.daemon.signal(Signal::SIGTERM);
    assert!(kept.daemon.wait(SOON).success(), "{}", kept.daemon.output());
    kept.daemon = kept.start(&STEER);
    let is_on_duty = || kept.report()["passes"].as_u64().unwrap_or(0) > 0;
    assert!(eventually(SOON, is_on_duty), "{}", kept.daemon.output());
    assert!(off(&kept), "it starts with the brake on");
    fs::remove_file(&file).expect("it is there");
    kept.heals(&before, "everything");
}

#[test]
fn rules_and_routes_go_although_the_maps_cannot_be_read() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "steer"]);
    let layout = eni_steer_common::names::LAYOUT;
    let maps = format!("eni-steer/{}/v{layout}/maps", namespace_of(&lab));
    let maps = steer.bpffs().path().join(maps);
    // A map of another version has the name of one of ours.
    fs::remove_file(maps.join("ENIS")).expect("it is pinned");
    eni_steer_tests::pin_some_map(&maps.join("ENIS"));
    let output = steer.run(&lab, &["off"]).expect_code(1);
    assert!(
        output.stderr.contains("the mode of the programs"),
        "{output}"
    );
    assert_eq!(all_ours(&lab.host).len(), 0, "{output}");
}
