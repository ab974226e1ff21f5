//! eni-steer refuses what can not be done with an error that names the object, and nothing
//! changes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use eni_steer_common::names;
use eni_steer_tests::{
    Call, DefaultRoute, Lab, Shape, Steer, assert_unchanged, attach_kinds, binary, expect_error,
    ip, pin_some_map,
};

const BOTH: [&str; 5] = ["apply", "--eni", "eth0", "--eni", "eth1"];

fn both<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&BOTH[..], more].concat()
}

/// Both `apply` and `plan` refuse it; `plan` plans the same.
#[track_caller]
fn refused(lab: &Lab, steer: &Steer, apply: &[&str], code: i32, naming: &[&str]) -> String {
    let plan = [&["plan"], &apply[1..]].concat();
    let told = steer.refuses(lab, &plan, code, naming);
    assert_eq!(told, steer.refuses(lab, apply, code, naming));
    told
}

fn lab() -> (Lab, Steer) {
    (Lab::builder(Shape::SameSubnet).build(), Steer::new())
}

#[test]
fn an_interface_that_is_not_there() {
    let (lab, steer) = lab();
    let told = refused(
        &lab,
        &steer,
        &["apply", "--eni", "eth0", "--eni", "eth9"],
        2,
        &["eth9"],
    );
    assert!(
        told.contains("hint: this host has the interfaces lo, eth0, eth1"),
        "{told}"
    );
    refused(
        &lab,
        &steer,
        &["apply", "--eni", "02:00:00:00:00:99"],
        2,
        &["02:00:00:00:00:99"],
    );
}

#[test]
fn an_interface_named_twice() {
    let (lab, steer) = lab();
    let mac = lab.eni(1).mac.to_string();
    refused(
        &lab,
        &steer,
        &["apply", "--eni", "eth1", "--eni", &mac],
        2,
        &["eth1"],
    );
}

#[test]
fn an_interface_that_is_not_ethernet() {
    let (lab, steer) = lab();
    refused(
        &lab,
        &steer,
        &["apply", "--eni", "eth0", "--eni", "lo"],
        2,
        &["lo", "Ethernet"],
    );
}

#[test]
fn an_interface_that_is_down() {
    let (lab, steer) = lab();
    ip(&lab.host, "link set eth1 down");
    let told = refused(&lab, &steer, &BOTH, 2, &["eth1", "down"]);
    assert!(told.contains("hint: ip link set dev eth1 up"), "{told}");
}

#[test]
fn an_interface_without_an_address() {
    let (lab, steer) = lab();
    ip(&lab.host, "address flush dev eth1 scope global");
    let told = refused(&lab, &steer, &BOTH, 2, &["eth1", "address"]);
    assert!(told.contains("dev eth1"), "{told}");
}

#[test]
fn an_eni_without_a_gateway() {
    let lab = Lab::builder(Shape::DifferentSubnets).build();
    let steer = Steer::new();
    let told = refused(&lab, &steer, &BOTH, 2, &["IPv4 gateway", "eth1"]);
    assert!(told.contains("--gateway eth1=ADDRESS"), "{told}");
    let v4 = both(&["--gateway", "eth1=172.16.21.253"]);
    refused(&lab, &steer, &v4, 2, &["IPv6 gateway", "eth1"]);
    let absent = Lab::builder(Shape::SameSubnet)
        .default_route(DefaultRoute::Absent)
        .build();
    refused(&absent, &steer, &BOTH, 2, &["gateway", "eth0"]);
}

#[test]
fn secondaries_alone_while_mains_default_leaves_by_the_primary() {
    let (lab, steer) = lab();
    let words = ["the main table's IPv4 default", "eth0", "eth1"];
    let told = refused(&lab, &steer, &["apply", "--eni", "eth1"], 2, &words);
    assert!(told.contains("--eni eth0"), "{told}");
}

#[test]
fn a_gateway_that_is_the_enis_own_address() {
    let (lab, steer) = lab();
    let own = both(&["--gateway", "eth1=172.16.20.177"]);
    refused(&lab, &steer, &own, 2, &["172.16.20.177", "eth1"]);
}

#[test]
fn an_interface_enslaved_to_a_bridge() {
    let (lab, steer) = lab();
    ip(&lab.host, "link add br7 type bridge");
    ip(&lab.host, "link set dev eth1 master br7");
    let told = refused(&lab, &steer, &BOTH, 2, &["eth1", "br7"]);
    assert!(told.contains("name it"), "{told}");
}

#[test]
fn nothing_that_looks_like_an_eni() {
    // The lab's interfaces are virtual; only a flag or the configuration makes them ENIs.
    let (lab, steer) = lab();
    for command in [&["apply"][..], &["plan"], &["verify"]] {
        steer.refuses(&lab, command, 2, &["no ENI found"]);
    }
}

#[test]
fn counters_where_nothing_is_counted() {
    let (lab, steer) = lab();
    steer.refuses(&lab, &["counters"], 1, &["no counters"]);
}

#[test]
fn a_foreign_rule_inside_our_priority_band() {
    for family in ["-4", "-6"] {
        let (lab, steer) = lab();
        ip(
            &lab.host,
            &format!("{family} rule add pref 20005 lookup main"),
        );
        refused(
            &lab,
            &steer,
            &BOTH,
            2,
            &["20005", "lookup main", "20000", "20999"],
        );
        // In another band the rule does not matter, and programs need no rules.
        steer.ok(&lab, &both(&["--band", "21000-21999"]));
        steer.ok(&lab, &["remove"]);
        steer.ok(&lab, &both(&["--rules", "off"]));
    }
}

#[test]
fn a_band_that_cannot_hold_the_rules() {
    let (lab, steer) = lab();
    for band in ["20000-20010", "32000-32766", "0-999"] {
        let numbers: Vec<&str> = band.split('-').collect();
        refused(&lab, &steer, &both(&["--band", band]), 2, &numbers);
    }
}

#[test]
fn a_table_that_another_program_uses() {
    let (lab, steer) = lab();
    for (family, net) in [("-4", "198.51.100.0/24"), ("-6", "2001:db8:100::/48")] {
        let route = |verb: &str, kind: &str| {
            let dev = if kind == "unicast" { "dev eth1" } else { "" };
            let words = format!("{family} route {verb} {kind} {net} {dev} table 21001");
            ip(&lab.host, &words);
        };
        for kind in ["unicast", "blackhole", "unreachable", "prohibit", "throw"] {
            route("add", kind);
            refused(&lab, &steer, &BOTH, 2, &["21001", "eth1", net]);
            route("del", kind);
        }
    }
    ip(
        &lab.host,
        "route add unreachable 198.51.100.0/24 table 21001",
    );
    steer.ok(&lab, &both(&["--table", "eth1=1001"]));
}

#[test]
fn tables_that_cannot_be() {
    let (lab, steer) = lab();
    let same = both(&["--table", "eth0=1001", "--table", "eth1=1001"]);
    refused(&lab, &steer, &same, 2, &["1001", "eth1"]);
    for table in ["0", "253", "254", "255"] {
        let flag = format!("eth1={table}");
        refused(
            &lab,
            &steer,
            &both(&["--table", &flag]),
            2,
            &["eth1", "the kernel's own"],
        );
    }
}

#[test]
fn a_group_that_the_user_chose() {
    let (lab, steer) = lab();
    ip(&lab.host, "link set eth1 group 7");
    refused(&lab, &steer, &BOTH, 2, &["eth1", "7"]);
    ip(&lab.host, "link set eth1 group 0");
    ip(&lab.host, "link set lo group 20229");
    refused(&lab, &steer, &BOTH, 2, &["lo", "20229"]);
}

#[test]
fn a_flag_for_an_eni_that_is_not_managed() {
    let (lab, steer) = lab();
    for flag in [
        ["--gateway", "eth7=172.16.20.1"],
        ["--table", "eth7=1001"],
        ["--mode", "eth7=steer"],
        ["--address", "eth7=172.16.20.9"],
        ["--prefix", "eth7=172.16.20.64/28"],
    ] {
        let told = refused(&lab, &steer, &both(&flag), 2, &["eth7"]);
        assert!(told.contains("eth0, eth1"), "{told}");
    }
}

#[test]
fn a_protocol_number_that_differs_from_the_one_in_effect() {
    let (lab, steer) = lab();
    steer.apply(&lab, &["--programs", "off"]);
    let told = refused(
        &lab,
        &steer,
        &both(&["--protocol", "200"]),
        2,
        &["200", "229"],
    );
    assert!(told.contains("eni-steer remove"), "{told}");
}

#[test]
fn arguments_that_make_no_sense() {
    let (lab, steer) = lab();
    let before = steer.world(&lab);
    for (flag, value) in [
        ("--gateway", "172.16.20.1"),
        ("--gateway", "eth1=172.16.20"),
        ("--table", "eth1=many"),
        ("--mode", "steel"),
        ("--mode", "eth1="),
        ("--address", "eth1=nowhere"),
        ("--prefix", "eth1=172.16.20.0/33"),
        ("--rules", "maybe"),
        ("--primary", "half"),
        ("--attach", "xdp"),
        ("--exempt", "everything"),
        ("--exempt-mark", "0x1/0"),
        ("--band", "20000"),
        ("--band", "300-200"),
        ("--protocol", "3"),
        ("--protocol", "256"),
        ("--group", "all"),
        ("--confirm", "soon"),
    ] {
        let output = steer.run(&lab, &both(&[flag, value])).expect_code(2);
        expect_error(&output, &[flag, value]);
    }
    for (words, name) in [
        (&["aply"][..], "aply"),
        (&["apply", "--nonsense"], "--nonsense"),
    ] {
        expect_error(&steer.run(&lab, words).expect_code(2), &[name]);
    }
    expect_error(&steer.run(&lab, &[]).expect_code(2), &["subcommand"]);
    assert_unchanged(&before, &steer.world(&lab));
}

#[test]
fn a_bpffs_that_is_missing_and_cannot_be_mounted() {
    let (lab, steer) = lab();
    let nowhere = both(&["--bpffs", "/proc/nowhere"]);
    let told = steer.refuses(&lab, &nowhere, 5, &["step failed"]);
    assert!(
        told.contains("caused by: no BPF file system (bpffs) is mounted at /proc/nowhere"),
        "{told}"
    );
    assert!(told.contains("caused by: No such file"), "{told}");
    assert!(
        told.contains("hint: mount one: mount -t bpf bpf /proc/nowhere"),
        "{told}"
    );
    // Without programs eni-steer needs no bpffs.
    steer.ok(
        &lab,
        &both(&["--programs", "off", "--bpffs", "/proc/nowhere"]),
    );
}

#[test]
fn a_directory_of_the_run_files_that_cannot_be() {
    let (lab, steer) = lab();
    // eni-steer cannot keep other processes away, nor save the previous values of sysctls.
    let told = steer.refuses(
        &lab,
        &both(&["--run-dir", "/proc/nowhere"]),
        1,
        &["changes.lock"],
    );
    assert!(told.contains("/proc/nowhere"), "{told}");
}

/// Returns the directory of eni-steer's maps on this host.
fn maps_of(lab: &Lab, steer: &Steer) -> std::path::PathBuf {
    let here = || std::fs::metadata("/proc/thread-self/ns/net").map(|ns| ns.ino());
    let namespace = lab.host.run(here).expect("a namespace has a number");
    let path = format!("eni-steer/{namespace}/v{}/maps", names::LAYOUT);
    steer.bpffs().path().join(path)
}

#[test]
fn pins_of_another_layout() {
    let (lab, steer) = lab();
    let before = steer.world(&lab);
    let maps = maps_of(&lab, &steer);
    std::fs::create_dir_all(&maps).expect("a bpffs has directories");
    for name in names::PINNED.into_iter().take(3) {
        pin_some_map(&maps.join(name));
    }
    for words in [
        &BOTH[..],
        &["plan", "--eni", "eth0", "--eni", "eth1"],
        &["verify"],
        &["counters"],
    ] {
        let told = steer.refuses(&lab, words, 1, &[]);
        assert!(
            told.contains("/maps/") && told.contains("does not fit this version"),
            "{told}"
        );
        assert!(told.contains("eni-steer remove"), "{told}");
    }
    // `status` always answers, with what it can say without the maps.
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    for words in ["/maps/", "does not fit this version", "eni-steer remove"] {
        assert!(status.contains(words), "{words}: {status}");
    }
    // The command that the hint names solves the problem.
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
    steer.ok(&lab, &BOTH);
}

/// A process that was killed while it pinned the maps leaves them like this, or a careless
/// administrator does.
#[test]
fn pins_of_which_some_are_missing() {
    for &kind in attach_kinds() {
        let (lab, steer) = lab();
        let before = steer.world(&lab);
        steer.apply(&lab, &["--attach", kind, "--mode", "steer"]);
        let lost = maps_of(&lab, &steer).join(names::PINNED[8]);
        std::fs::remove_file(&lost).expect("the map was pinned");
        // Commands that need the maps name the missing one; `apply` makes it.
        let half = steer.world(&lab);
        let told = steer.refuses(&lab, &["status"], 1, &[names::PINNED[8], "missing"]);
        assert!(told.contains("eni-steer remove"), "{told}");
        steer.exits(&lab, &["plan"], 3);
        steer.exits(&lab, &["remove", "--dry-run"], 0);
        assert_unchanged(&half, &steer.world(&lab));
        steer.ok(&lab, &["apply"]);
        steer.exits(&lab, &["plan"], 0);
        steer.ok(&lab, &["status"]);
        std::fs::remove_file(&lost).expect("the map is pinned again");
        steer.ok(&lab, &["remove"]);
        assert_unchanged(&before, &steer.world(&lab));
    }
}

/// A command by a user who may not even read.
#[test]
fn a_user_who_is_not_root() {
    let (lab, steer) = lab();
    // The user may have no access to the directory in which the binary was built.
    let place = tempfile::tempdir().expect("a temporary directory");
    let everybody = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(place.path(), everybody(0o755)).expect("it is ours");
    let copy = place.path().join("eni-steer");
    std::fs::copy(binary(), &copy).expect("the binary can be copied");
    std::fs::set_permissions(&copy, everybody(0o755)).expect("it is ours");
    let before = steer.world(&lab);
    for words in [
        &BOTH[..],
        &["plan"],
        &["status"],
        &["verify"],
        &["counters"],
        &["remove"],
    ] {
        let output = Call::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&copy)
            .args(words)
            .env("ENI_STEER_BPFFS", steer.bpffs().path())
            .env("ENI_STEER_RUN", steer.run_dir())
            .run(&lab.host)
            .expect_code(5);
        expect_error(&output, &["root"]);
        assert!(output.stderr.contains("CAP_NET_ADMIN"), "{output}");
    }
    assert_unchanged(&before, &steer.world(&lab));
}

#[test]
fn nothing_to_confirm() {
    let (lab, steer) = lab();
    steer.refuses(&lab, &["confirm"], 1, &["nothing to confirm"]);
}
