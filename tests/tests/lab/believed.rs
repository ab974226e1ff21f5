//! Who may write what eni-steer believes: its directories must be root's alone, and what is damaged
//! or not root's is named, not used.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use eni_steer_common::names;
use eni_steer_tests::{Call, Lab, Shape, Steer, all_ours, assert_unchanged, expect_error, ip};

use crate::common::namespace_of;

const NOBODY: u32 = 65534;
const COMMANDS: [&[&str]; 4] = [
    &["apply", "--eni", "eth0", "--eni", "eth1"],
    &["plan"],
    &["status"],
    &["remove"],
];

/// A directory with a file that nobody may lose.
struct Precious(tempfile::TempDir);

impl Precious {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for part in ["links", "maps", "v1/links", "v1/maps"] {
            fs::create_dir_all(directory.path().join(part)).expect("it is made");
            for name in ["5-020000000001-in", "ENIS", "precious"] {
                fs::write(directory.path().join(part).join(name), "precious").expect("written");
            }
        }
        Self(directory)
    }

    #[track_caller]
    fn is_whole(&self) {
        for part in ["links", "maps", "v1/links", "v1/maps"] {
            for name in ["5-020000000001-in", "ENIS", "precious"] {
                let path = self.0.path().join(part).join(name);
                assert!(path.exists(), "{} was deleted", path.display());
            }
        }
    }
}

/// Every command refuses, names `path` and its owner, and changes nothing; the command in the hint
/// removes what is in the way. Returns that command.
#[track_caller]
fn refused(lab: &Lab, steer: &Steer, path: &Path, owner: &str) -> String {
    let before = steer.world(lab);
    let mut remedy = String::new();
    for words in COMMANDS {
        let output = steer.run(lab, words);
        // Without the programs, `status` still answers: it names what is in the way as a finding.
        let told = if words[0] == "status" && output.stdout.starts_with("ATTENTION") {
            &output.stdout
        } else {
            assert_ne!(output.code(), Some(0), "{words:?}: {output}");
            expect_error(&output, &[]);
            &output.stderr
        };
        let said = format!("{} ", path.display());
        assert!(told.contains(&said), "{words:?}: {output}");
        assert!(told.contains(owner), "{words:?}: {output}");
        let (_, rest) = told.split_once("then run '").expect("a command");
        remedy = rest.split_once("', and let").expect("its end").0.to_owned();
        assert!(remedy.contains(&path.display().to_string()), "{remedy}");
    }
    assert_unchanged(&before, &steer.world(lab));
    remedy
}

#[test]
fn a_link_or_directory_that_another_user_planted_in_bpffs_is_refused_and_its_target_whole() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    // The mode that the kernel gives a bpffs.
    let bpffs = steer.bpffs().path().to_owned();
    fs::set_permissions(&bpffs, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let namespace = namespace_of(&lab);
    let layout = format!("v{}", names::LAYOUT);
    let old = "v1".to_owned();
    let here = |parts: &[&str]| {
        let parts = [&["eni-steer"], parts].concat();
        parts
            .iter()
            .fold(bpffs.clone(), |path, part| path.join(part))
    };
    let places: Vec<PathBuf> = vec![
        here(&[]),
        here(&[&namespace]),
        here(&[&namespace, &layout]),
        here(&[&namespace, &layout, "links"]),
        here(&[&namespace, &layout, "maps"]),
    ];
    for place in places.iter().chain([&here(&[&namespace, &old, "links"])]) {
        for planted_link in [true, false] {
            let precious = Precious::new();
            fs::create_dir_all(place.parent().expect("a parent")).expect("it is made");
            if planted_link {
                symlink(precious.0.path(), place).expect("bpffs has links");
            } else {
                fs::create_dir(place).expect("it is made");
            }
            lchown(place, Some(NOBODY), None).expect("root may");
            let owner = "uid 65534";
            // The layout of an older version matters only to those who would remove it.
            if place.ends_with("v1/links") {
                let output = steer.run(&lab, COMMANDS[0]);
                assert_ne!(output.code(), Some(0), "{output}");
                assert!(output.stderr.contains(owner), "{output}");
                assert_eq!(all_ours(&lab.host).len(), 0, "nothing was changed");
                precious.is_whole();
                fs::remove_dir_all(here(&[])).expect("it is ours");
                continue;
            }
            let remedy = refused(&lab, &steer, place, owner);
            precious.is_whole();
            drop(
                Call::new("sh")
                    .args(["-c", &remedy])
                    .run(&lab.host)
                    .expect_success(),
            );
            precious.is_whole();
            steer.ok(&lab, COMMANDS[0]);
            steer.ok(&lab, &["remove"]);
            precious.is_whole();
            assert!(!here(&[]).exists(), "nothing is left");
        }
    }
}

#[test]
fn only_files_with_names_of_ours_are_deleted_from_bpffs() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.ok(&lab, COMMANDS[0]);
    let directory = steer
        .bpffs()
        .path()
        .join("eni-steer")
        .join(namespace_of(&lab));
    // What an older version pinned, and what another program put beside it.
    let old = directory.join("v1/maps");
    fs::create_dir_all(&old).expect("it is made");
    for name in ["ENIS", "precious"] {
        eni_steer_tests::pin_some_map(&old.join(name));
    }
    steer.ok(&lab, &["apply"]);
    assert!(!old.join("ENIS").exists(), "the older version's map");
    assert!(old.join("precious").exists());
    fs::remove_file(old.join("precious")).expect("it is there");
    steer.ok(&lab, &["remove"]);
}

#[test]
fn no_bpffs_is_mounted_over_a_directory_that_has_something_in_it() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let full = tempfile::tempdir().expect("a directory");
    fs::write(full.path().join("precious"), "precious").expect("it is written");
    let path = full.path().to_string_lossy().into_owned();
    let words = [COMMANDS[0], &["--bpffs", &path]].concat();
    let told = steer.refuses(&lab, &words, 1, &[]);
    assert!(told.contains(&format!("{path} is not empty")), "{told}");
    assert!(full.path().join("precious").exists());
}

#[test]
fn a_run_directory_that_another_user_made_or_can_write_is_refused() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let run = steer.run_dir().to_owned();
    let own = run.join(namespace_of(&lab));
    fs::create_dir(&own).expect("it is made");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    for path in [&run, &own] {
        lchown(path, Some(NOBODY), None).expect("root may");
        refused(&lab, &steer, path, "uid 65534");
        lchown(path, Some(0), None).expect("root may");
        mode(path, 0o777);
        refused(&lab, &steer, path, "mode 0777");
        mode(path, 0o700);
    }
    steer.ok(&lab, COMMANDS[0]);
    // eni-steer does not read a state file that another user owns.
    let state = own.join("state.json");
    lchown(&state, Some(NOBODY), None).expect("root may");
    for words in COMMANDS {
        let output = steer.run(&lab, words).expect_code(1);
        assert!(output.stderr.contains("state.json"), "{output}");
        assert!(output.stderr.contains("uid 65534"), "{output}");
    }
    lchown(&state, Some(0), None).expect("root may");
    steer.ok(&lab, &["remove"]);
}

#[test]
fn a_damaged_state_file_is_named_and_remove_removes_everything_else() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let rules = |words: &str| ip(&lab.host, words);
    let before = (all_ours(&lab.host), rules("-4 rule"), steer.bpffs().pins());
    for cut in [0, 1, 40] {
        steer.ok(&lab, COMMANDS[0]);
        let state = steer.run_dir().join(namespace_of(&lab)).join("state.json");
        let bytes = fs::read(&state).expect("it is there");
        fs::write(&state, &bytes[..bytes.len() * cut / 41]).expect("it is ours");
        // Commands that only read say so and answer all the same.
        let status = steer.json(&lab, &["status"]);
        let damaged = |finding: &&serde_json::Value| finding["code"] == "state-damaged";
        let findings = status["findings"].as_array().expect("a list");
        let finding = findings.iter().find(damaged);
        let finding = finding.unwrap_or_else(|| panic!("{status:#}"));
        let why = finding["why"].as_str().expect("a sentence");
        assert!(why.contains("state.json is damaged"), "{why}");
        assert!(why.contains("sysctls"), "what is lost: {why}");
        assert!(state.exists(), "reading changes nothing");
        let output = steer.run(&lab, &["remove"]).expect_success();
        assert!(output.stderr.contains("state.json is damaged"), "{output}");
        let kept = state.with_file_name("state.json.damaged");
        assert!(
            output.stderr.contains(&kept.display().to_string()) && kept.exists(),
            "{output}"
        );
        let after = (all_ours(&lab.host), rules("-4 rule"), steer.bpffs().pins());
        assert_eq!(after, before);
        // apply goes on too.
        steer.ok(&lab, COMMANDS[0]);
        fs::write(&state, "{").expect("it is ours");
        let output = steer.run(&lab, COMMANDS[0]).expect_success();
        assert!(output.stderr.contains("state.json is damaged"), "{output}");
        steer.exits(&lab, &["plan"], 0);
        steer.ok(&lab, &["remove"]);
        assert!(!state.exists() && !kept.exists(), "nothing is left");
    }
}

#[test]
fn a_change_that_is_in_force_is_no_failure_although_its_report_cannot_be_printed() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let before = all_ours(&lab.host);
    let binary = eni_steer_tests::binary().display().to_string();
    for words in ["apply --eni eth0 --eni eth1", "remove"] {
        let script = format!("{binary} {words} > /dev/full");
        let output = Call::new("sh")
            .args(["-c", &script])
            .env("ENI_STEER_BPFFS", steer.bpffs().path())
            .env("ENI_STEER_RUN", steer.run_dir())
            .run(&lab.host)
            .expect_success();
        assert!(output.stderr.contains("not printed"), "{output}");
        assert_eq!(all_ours(&lab.host) == before, words == "remove");
    }
}

#[test]
fn control_characters_in_names_are_escaped_in_reports_errors_and_logs() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let nasty = "e\x1b[2J1";
    let rename = ["link", "set", "eth1", "down", "name", nasty];
    drop(eni_steer_tests::run_ok(&lab.host, "ip", rename));
    drop(eni_steer_tests::run_ok(
        &lab.host,
        "ip",
        ["link", "set", nasty, "up"],
    ));
    let enis = ["--eni", "eth0", "--eni", nasty];
    let commands: [&[&str]; 6] = [
        &[&["plan"], &enis[..]].concat(),
        &[&["apply"], &enis[..]].concat(),
        &["status", "-v"],
        &["verify"],
        &["counters"],
        &["apply", "--eni", "e\x1b[3J"],
    ];
    for words in commands {
        let output = steer.run(&lab, words);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(!all.contains('\x1b'), "{words:?}: {all:?}");
        assert!(all.contains(r"\x1b["), "{words:?}: {output}");
    }
}

#[test]
fn the_secret_of_the_source_table_is_random_and_lasts_as_long_as_the_maps() {
    use aya::maps::{Array, Map, MapData};
    use eni_steer_common::SourceSecret;

    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let maps = format!("eni-steer/{}/v{}/maps", namespace_of(&lab), names::LAYOUT);
    let pin = steer.bpffs().path().join(maps).join(names::SECRET);
    let secret = || -> SourceSecret {
        let map = MapData::from_pin(&pin).expect("it is pinned");
        let map = Array::<_, SourceSecret>::try_from(Map::Array(map)).expect("an array");
        map.get(&0, 0).expect("it has one entry")
    };
    steer.ok(&lab, COMMANDS[0]);
    let first = secret();
    assert!(first.iter().all(|number| *number != 0), "{first:x?}");
    // Programs that are attached later find sources in the same sets.
    steer.ok(&lab, &["apply", "--program-log-level", "3"]);
    assert_eq!(secret(), first);
    steer.ok(&lab, &["remove"]);
    assert!(!pin.exists());
    steer.ok(&lab, COMMANDS[0]);
    assert_ne!(secret(), first, "no two sets of maps have the same");
}
