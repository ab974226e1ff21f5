//! Another version, another configuration, other names of interfaces: eni-steer takes them over
//! without a gap.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use eni_steer_tests::{
    Counters, Kept, Lab, SOON, Shape, Steer, Until, Way, all_ours, attach_kinds, eventually, ping,
    run_ok, udp_blast,
};
use nix::sys::signal::Signal;

const ENIS: [&str; 4] = ["--eni", "eth0", "--eni", "eth1"];

/// A host on which all of eni-steer's rules are useless, so only the programs keep symmetry.
fn steered_only(attach: &str) -> (Lab, Steer) {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "steer", "--attach", attach]);
    eni_steer_tests::ip(&lab.host, "-4 rule add pref 100 lookup main");
    (lab, steer)
}

/// Sends from eth1's address to the client while the work goes on; without steering all of it
/// would leave by eth0. Returns how many packets were sent.
fn while_sending(lab: &Lab, work: impl FnOnce()) -> u64 {
    let from = IpAddr::from(lab.eni(1).v4());
    let to = SocketAddr::new(lab.client_v4().into(), 9);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                sent += udp_blast(&lab.host, Some(from), &[to], 100, Until::Count(200)).sent;
                std::thread::sleep(Duration::from_millis(10));
            }
            sent
        });
        work();
        done.store(true, std::sync::atomic::Ordering::Release);
        sender.join().expect("the sender ends")
    })
}

#[test]
fn replacing_the_programs_leaves_no_packet_unsteered_or_uncounted() {
    for &attach in attach_kinds() {
        let (lab, steer) = steered_only(attach);
        let seen = lab.router_seen(0);
        let before = Counters::read(&steer, &lab);
        let sent = while_sending(&lab, || {
            for n in 0..8 {
                // Programs with another log level are different programs, so they are replaced.
                let level = if n % 2 == 0 { "3" } else { "0" };
                steer.ok(&lab, &["apply", "--program-log-level", level]);
            }
        });
        assert!(sent > 1000, "{attach}: only {sent} packets were sent");
        assert_eq!(lab.router_seen(0).since(seen).wrong.packets, 0, "{attach}");
        let after = Counters::read(&steer, &lab);
        let steered = after.fate("eth0", "steered") - before.fate("eth0", "steered");
        assert_eq!(steered, sent, "{attach}: each was counted and steered");
        let address = lab.eni(1).v4();
        let out = |counters: &Counters| counters.cell(address, "eth1", Way::Out).passed.packets;
        assert_eq!(out(&after) - out(&before), sent, "{attach}");
    }
}

#[test]
fn pins_of_another_layout_are_deleted_once_the_new_programs_are_active() {
    for &attach in attach_kinds() {
        let (lab, steer) = steered_only(attach);
        let pins = steer.bpffs().pins();
        let layout = pins
            .iter()
            .find(|pin| pin.ends_with("/maps"))
            .and_then(|maps| maps.strip_suffix("/maps"))
            .expect("maps are pinned");
        let (here, other) = (
            steer.bpffs().path().join(layout),
            steer.bpffs().path().join(layout).with_file_name("v7"),
        );
        std::fs::rename(&here, &other).expect("a directory of a bpffs can be renamed");
        let seen = lab.router_seen(0);
        while_sending(&lab, || {
            let plan = steer.run(&lab, &["plan"]).expect_code(3).stdout;
            assert!(plan.contains("(layout 7)"), "{plan}");
            steer.ok(&lab, &["apply"]);
        });
        assert_eq!(
            steer.bpffs().pins(),
            pins,
            "{attach}: this version's, no other's"
        );
        assert_eq!(lab.router_seen(0).since(seen).wrong.packets, 0, "{attach}");
        steer.exits(&lab, &["plan"], 0);
        // If only another version's maps are there, remove deletes them too.
        std::fs::rename(&here, &other).expect("it can be renamed again");
        steer.ok(&lab, &["remove"]);
        assert!(
            steer.bpffs().pins().is_empty(),
            "{:?}",
            steer.bpffs().pins()
        );
        let tc = |what: &str| run_ok(&lab.host, "tc", [what, "show", "dev", "eth0"]);
        assert!(!tc("qdisc").contains("clsact"), "{attach}: {}", tc("qdisc"));
    }
}

/// A daemon that reads its settings from a file.
fn configured(text: &str) -> Kept {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    Kept::on(lab, Steer::configured(text), &["run"])
}

fn mode(kept: &Kept) -> String {
    let status = kept.steer.json(&kept.lab, &["status"]);
    let eni = status["enis"]
        .as_array()
        .and_then(|enis| enis.first().cloned());
    let mode = eni.and_then(|eni| eni["mode"].as_str().map(str::to_owned));
    mode.unwrap_or_else(|| format!("no mode: {status}"))
}

const COUNT: &str =
    "[policy]\nmode = \"count\"\n[[eni]]\nname = \"eth0\"\n[[eni]]\nname = \"eth1\"\n";

#[test]
fn a_hangup_reads_the_configuration_again_and_a_bad_one_keeps_the_old_one_in_effect() {
    let kept = configured(COUNT);
    let steering = || {
        let plan = kept.steer.run(&kept.lab, &["plan"]);
        plan.code() == Some(0) && mode(&kept) == "steer"
    };
    assert_eq!(mode(&kept), "count");
    kept.steer
        .configure("config.toml", &COUNT.replace("count", "steer"));
    kept.daemon.signal(Signal::SIGHUP);
    assert!(eventually(SOON, steering), "{}", kept.daemon.output());

    let rules = all_ours(&kept.lab.host);
    kept.steer
        .configure("config.toml", &COUNT.replace("count", "stear"));
    kept.daemon.signal(Signal::SIGHUP);
    let said = "so the daemon keeps the old one";
    assert!(
        eventually(SOON, || kept.daemon.output().contains(said)),
        "{}",
        kept.daemon.output()
    );
    assert!(
        kept.daemon.output().contains("stear"),
        "the mistake is named"
    );
    // The old configuration stays in effect, and the daemon still repairs it.
    kept.ip("-4 rule del from 172.16.20.177 lookup 21001");
    kept.heals(&rules, "a rule of the old policy");
    kept.ip("-4 rule add pref 100 lookup main");
    let to = kept.lab.eni(1).v4().into();
    ping(&kept.lab.client, None, to, 3, Duration::from_millis(5)).expect_all_answered();
}

#[test]
fn an_eni_that_is_renamed_is_followed_by_its_mac_address() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let mac = lab.eni(1).mac.to_string();
    let kept = Kept::on(lab, Steer::new(), &["run", "--eni", "eth0", "--eni", &mac]);
    assert!(
        all_ours(&kept.lab.host)
            .iter()
            .any(|line| line.contains("21001"))
    );
    // From 6.2 on an interface can be renamed while it is up; before, it has to be down.
    kept.ip("link set eth1 down");
    kept.ip("link set eth1 name ens9");
    kept.ip("link set ens9 up");
    let there = || {
        let ours = all_ours(&kept.lab.host);
        let new = "default via 172.16.20.253 dev ens9 table 21009";
        ours.iter().any(|line| line.contains(new))
            && !ours.iter().any(|line| line.contains("21001"))
    };
    assert!(
        eventually(SOON, there),
        "{:#?}\n{}",
        all_ours(&kept.lab.host),
        kept.daemon.output()
    );
    let to = kept.lab.eni(1).v4().into();
    let answered = || ping(&kept.lab.client, None, to, 1, Duration::ZERO).all_answered();
    assert!(eventually(SOON, answered), "{}", kept.daemon.output());
}

#[test]
fn a_gateway_that_changes_is_followed() {
    let kept = Kept::by(&[&["run"], &ENIS[..]].concat());
    let default = |gateway: &str| {
        let wanted = format!("default via {gateway} dev eth1 table 21001");
        let lines = || all_ours(&kept.lab.host).into_iter();
        eventually(SOON, || {
            lines().any(|line| line.contains(&wanted))
                && lines()
                    .filter(|line| line.contains("default via 172"))
                    .count()
                    == 1
        })
    };
    assert!(default("172.16.20.253"), "{}", kept.daemon.output());
    kept.ip("-4 route replace default via 172.16.20.252 dev eth0");
    assert!(default("172.16.20.252"), "{}", kept.daemon.output());
}

#[test]
fn the_kernels_own_rule_is_reported_missing_and_restored_only_if_the_policy_says_so() {
    let main_rule = |kept: &Kept| {
        let rules = run_ok(&kept.lab.host, "ip", ["-4", "rule"]);
        rules.lines().any(|line| line.starts_with("32766:"))
    };
    let kept = configured(COUNT);
    kept.ip("-4 rule del pref 32766");
    let said = "the kernel's own rule for the main table is gone";
    assert!(eventually(SOON, || kept.daemon.output().contains(said)));
    let status = kept.steer.ok(&kept.lab, &["status"]);
    assert!(status.contains(said), "{status}");
    assert!(!main_rule(&kept), "it is not ours");

    let restoring = COUNT.replace("mode", "restore-default-rules = true\nmode");
    kept.steer.configure("config.toml", &restoring);
    kept.daemon.signal(Signal::SIGHUP);
    assert!(
        eventually(SOON, || main_rule(&kept)),
        "{}",
        kept.daemon.output()
    );
    kept.ip("-4 rule del pref 32766");
    assert!(
        eventually(SOON, || main_rule(&kept)),
        "{}",
        kept.daemon.output()
    );
    drop(kept.daemon);
    kept.steer.ok(&kept.lab, &["remove"]);
    let rules = run_ok(&kept.lab.host, "ip", ["-4", "rule"]);
    assert!(
        rules.contains("32766:"),
        "remove leaves the kernel's rule: {rules}"
    );
}
