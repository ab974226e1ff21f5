//! eni-steer refuses what is wrong with an error that names the object, and nothing changes. What
//! is wrong with one ENI is a warning, and the rest is served.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use eni_steer_common::names;
use eni_steer_tests::{
    Call, Lab, Output, Shape, Steer, assert_unchanged, attach_kinds, binary, eventually,
    expect_error, expect_symmetry, ip, pin_some_map,
};

/// Far longer than any pass of the daemon takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(15);
use crate::common::namespace_of;

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
        8,
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
        8,
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
        8,
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
        8,
        &["lo", "Ethernet"],
    );
}

/// Everything is served but what these parts of a warning name. `apply` and `plan` say the same, and
/// so do `status` and `verify`.
#[track_caller]
fn served_but(lab: &Lab, steer: &Steer, apply: &[&str], naming: &[&str]) -> String {
    let plan = steer.run(lab, &[&["plan"], &apply[1..]].concat());
    let applied = steer.run(lab, apply).expect_code(0);
    // What `apply` adds about the next boot is no warning about this host.
    let about_host = |output: &Output| {
        let lines = output.stderr.lines();
        let lines: Vec<_> = lines.filter(|line| !line.starts_with("note: ")).collect();
        lines.join("\n")
    };
    assert_eq!(about_host(&plan), about_host(&applied));
    let warning = |line: &&str| line.starts_with("warning: ");
    let warnings: Vec<&str> = applied.stderr.lines().filter(warning).collect();
    for part in naming {
        let named = warnings.iter().any(|line| line.contains(part));
        assert!(named, "no {part} in {applied}");
    }
    let status = steer.ok(lab, &["status"]);
    for part in naming {
        assert!(status.contains(part), "no {part} in {status}");
    }
    steer.exits(lab, &["plan"], 0);
    expect_symmetry(lab, 0, lab.eni(0).v4().into());
    applied.stderr
}

#[test]
fn an_interface_that_is_down() {
    let (lab, steer) = lab();
    ip(&lab.host, "link set eth1 down");
    served_but(
        &lab,
        &steer,
        &BOTH,
        &["eth1 is down", "ip link set dev eth1 up"],
    );
    ip(&lab.host, "link set eth1 up");
    steer.ok(&lab, &["apply"]);
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
}

#[test]
fn an_interface_without_an_address() {
    let (lab, steer) = lab();
    ip(&lab.host, "address flush dev eth1 scope global");
    served_but(
        &lab,
        &steer,
        &BOTH,
        &["eth1 has no global address", "dev eth1"],
    );
}

#[test]
fn an_eni_without_a_gateway() {
    let lab = Lab::builder(Shape::DifferentSubnets).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    served_but(
        &lab,
        &steer,
        &BOTH,
        &[
            "no IPv4 gateway for eth1",
            "no IPv6 gateway for eth1",
            "gateway6 = \"ADDRESS\" under [[eni]] name = \"eth1\"",
        ],
    );
    // Its replies leave by eth0, and no command calls that right.
    let verify = steer
        .run(&lab, &["verify", "--require-traffic", "none"])
        .expect_code(3);
    let cause = "eni-steer knows no gateway for eth1: name it: --gateway eth1=ADDRESS";
    assert!(verify.stdout.contains(cause), "{verify}");
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    // One family is enough for the other to be served.
    let v4 = both(&["--gateway", "eth1=172.16.21.253"]);
    let warnings = served_but(&lab, &steer, &v4, &["no IPv6 gateway for eth1"]);
    assert!(!warnings.contains("IPv4"), "{warnings}");
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    steer.ok(&lab, &["apply", "--gateway", "eth1=fd00:21::253"]);
    expect_symmetry(&lab, 1, lab.eni(1).v6().into());
}

/// The configuration names three ENIs, of which the host has two; then one, which it lacks too.
#[test]
fn an_eni_of_the_configuration_that_the_host_lacks() {
    let (lab, _) = lab();
    let all = |names: &[&str]| -> String {
        let eni = |name: &&str| format!("[[eni]]\nname = '{name}'\n");
        names.iter().map(eni).collect()
    };
    let steer = Steer::configured(&all(&["eth0", "eth1", "eth7"]));
    let warnings = served_but(
        &lab,
        &steer,
        &["apply"],
        &["this host has no interface eth7"],
    );
    assert!(warnings.contains("lo, eth0, eth1"), "{warnings}");
    expect_symmetry(&lab, 1, lab.eni(1).v6().into());
    steer.configure("config.toml", &all(&["eth7"]));
    steer.refuses(&lab, &["apply"], 8, &["this host has no interface eth7"]);
}

/// The daemon logs what it leaves out.
#[test]
fn a_daemon_beside_an_eni_without_a_gateway() {
    let lab = Lab::builder(Shape::DifferentSubnets).build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'");
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let says = || daemon.output().contains("no IPv4 gateway for eth1");
    assert!(eventually(SOON, says), "{}", daemon.output());
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    assert!(status.contains("no IPv4 gateway for eth1"), "{status}");
}

#[test]
fn secondaries_alone_while_mains_default_leaves_by_the_primary() {
    let (lab, steer) = lab();
    let alone = [
        "apply",
        "--eni",
        "eth1",
        "--gateway",
        "eth1=172.16.20.253",
        "--gateway",
        "eth1=fd00:20::253",
    ];
    let words = ["eth0 carries the main table's IPv4 default", "--eni eth0"];
    served_but(&lab, &steer, &alone, &words);
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
}

#[test]
fn a_gateway_that_is_the_enis_own_address() {
    let (lab, steer) = lab();
    let own = both(&["--gateway", "eth1=172.16.20.177"]);
    refused(&lab, &steer, &own, 8, &["172.16.20.177", "eth1"]);
}

#[test]
fn an_interface_enslaved_to_a_bridge() {
    let (lab, steer) = lab();
    ip(&lab.host, "link add br7 type bridge");
    ip(&lab.host, "link set dev eth1 master br7");
    let told = refused(&lab, &steer, &BOTH, 8, &["eth1", "br7"]);
    assert!(told.contains("name it"), "{told}");
}

/// The programs of a macvlan and of the ENI below it would redirect packets to each other for ever.
#[test]
fn an_interface_made_on_another_eni() {
    let (lab, steer) = lab();
    ip(&lab.host, "link add mv0 link eth1 type macvlan mode bridge");
    ip(&lab.host, "address add 172.16.20.179/24 dev mv0");
    ip(&lab.host, "link set mv0 up");
    let stacked = both(&["--eni", "mv0", "--mode", "steer"]);
    refused(&lab, &steer, &stacked, 8, &["mv0 is made on eth1"]);
    let all = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n[[eni]]\nname = 'mv0'";
    let configured = Steer::configured(all);
    served_but(&lab, &configured, &["apply"], &["mv0 is made on eth1"]);
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
}

#[test]
fn nothing_that_looks_like_an_eni() {
    // The lab's interfaces are virtual; only a flag or the configuration makes them ENIs.
    let (lab, steer) = lab();
    for command in [&["apply"][..], &["plan"], &["verify"]] {
        steer.refuses(&lab, command, 8, &["no ENI found"]);
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
            8,
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
        refused(&lab, &steer, &both(&["--band", band]), 8, &numbers);
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
            refused(&lab, &steer, &BOTH, 8, &["21001", "eth1", net]);
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
    refused(&lab, &steer, &same, 8, &["1001", "eth1"]);
    for table in ["0", "253", "254", "255"] {
        let flag = format!("eth1={table}");
        refused(
            &lab,
            &steer,
            &both(&["--table", &flag]),
            8,
            &["eth1", "the kernel's own"],
        );
    }
}

#[test]
fn a_group_that_the_user_chose() {
    let (lab, steer) = lab();
    ip(&lab.host, "link set eth1 group 7");
    refused(&lab, &steer, &BOTH, 8, &["eth1", "7"]);
    ip(&lab.host, "link set eth1 group 0");
    ip(&lab.host, "link set lo group 20229");
    refused(&lab, &steer, &BOTH, 8, &["lo", "20229"]);
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
        8,
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
    let namespace = namespace_of(lab);
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
