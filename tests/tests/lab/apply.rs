//! What `apply` installs does its job, also when it is repeated; commands that read change
//! nothing.

use std::net::SocketAddr;

use eni_steer_tests::{
    DefaultRoute, Lab, Output, Ping, Shape, Steer, TcpTransfer, assert_unchanged, attach_kinds,
    expect_symmetry, ping, run_ok, tcp_transfer,
};

const RULES_ONLY: [&str; 2] = ["--programs", "off"];

#[test]
fn a_reply_leaves_by_the_eni_that_owns_its_source() {
    for shape in Shape::ALL {
        // The source check drops, so a reply that left by the wrong ENI would be missing too.
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &RULES_ONLY);
        for index in [0, 1] {
            for address in lab.eni(index).both() {
                expect_symmetry(&lab, index, address);
            }
        }
    }
}

#[test]
fn a_gateway_is_found_in_a_default_route_with_a_metric() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .default_route(DefaultRoute::AllWithMetric(200))
        .build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.ok(
        &lab,
        &[
            "apply",
            "--eni",
            "eth0",
            "--eni",
            "eth1",
            "--programs",
            "off",
        ],
    );
    for address in lab.eni(1).both() {
        expect_symmetry(&lab, 1, address);
    }
}

#[test]
fn every_address_of_an_eni_is_served() {
    let lab = Lab::builder(Shape::SameSubnet).enis(3).addresses(3).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &RULES_ONLY);
    for eni in lab.enis() {
        let v6s = eni.v6s.iter().map(|v6| (*v6).into());
        for address in eni.v4s.iter().map(|v4| (*v4).into()).chain(v6s) {
            expect_symmetry(&lab, eni.index, address);
        }
    }
}

#[test]
fn a_neighbour_is_answered_directly_and_not_through_the_gateway() {
    let lab = Lab::builder(Shape::SameSubnet).peer().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &RULES_ONLY);
    for (address, peer) in [
        (lab.eni(1).v4().into(), lab.peer_v4(1).into()),
        (
            lab.eni(1).v6().into(),
            std::net::IpAddr::from(lab.peer_v6(1)),
        ),
    ] {
        let capture = eni_steer_tests::Capture::start(&lab.router, "r1");
        let told = ping(
            lab.peer(),
            None,
            address,
            3,
            std::time::Duration::from_millis(5),
        );
        assert!(told.all_answered(), "{address}: {told:?}");
        let replies = capture.stop();
        let replies: Vec<_> = replies
            .iter()
            .filter(|f| f.is_between(address, peer))
            .collect();
        assert_eq!(replies.len(), 3, "{replies:?}");
        for reply in replies {
            assert_ne!(reply.dst_mac(), lab.eni(1).gateway_mac, "{reply}");
        }
    }
}

/// With the textbook's single rule the answer leaves by eth1, and the container gets nothing.
#[test]
fn a_container_gets_its_answer_from_the_address_of_any_eni() {
    let lab = Lab::builder(Shape::SameSubnet).masquerade().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let addresses = || [0, 1].into_iter().flat_map(|index| lab.eni(index).both());
    let reaches = |address| {
        let there = SocketAddr::new(address, 8080);
        let short = std::time::Duration::from_millis(700);
        TcpTransfer::of(10_000)
            .timeout(short)
            .run(&lab.host, there, lab.container(), there)
    };
    for primary in ["observe", "full"] {
        for way in [&["--programs", "off"], &["--mode", "steer"]] {
            steer.apply(&lab, &[&["--primary", primary], &way[..]].concat());
            for address in addresses() {
                let transfer = reaches(address);
                assert!(
                    transfer.complete,
                    "{address}, {primary}, {way:?}: {transfer:?}"
                );
            }
        }
    }
    steer.ok(&lab, &["remove"]);
    lab.textbook_cure(1);
    for address in lab.eni(1).both() {
        let transfer = reaches(address);
        assert!(
            !transfer.connected,
            "the textbook's rule alone lets {address} answer"
        );
    }
}

#[test]
fn applying_twice_changes_nothing() {
    for shape in Shape::ALL {
        for way in [
            &["--programs", "off"][..],
            &["--mode", "steer"],
            &["--mode", "steer", "--attach", "clsact"],
            &["--rules", "off"],
            &["--primary", "full", "--mode", "eth1=drop"],
        ] {
            let lab = Lab::builder(shape).rp_filter(1).build();
            let _report = lab.on_failure_print();
            let steer = Steer::new();
            // The steps alone, without the time that they took.
            let steps = [way, &["-v"]].concat();
            let planned = steer.plan(&lab, &steps).expect_code(3);
            assert!(!planned.stdout.is_empty());
            let said = steer.apply(&lab, &steps);
            assert_eq!(said, planned.stdout, "apply says what plan said");
            let once = steer.world(&lab);
            // With the same arguments, and without any: eni-steer remembers the policy in effect.
            for again in [steer.plan(&lab, way), steer.run(&lab, &["plan"])] {
                let again = again.expect_code(0);
                assert!(again.stdout.starts_with("nothing to do"), "{again}");
            }
            steer.apply(&lab, way);
            assert_unchanged(&once, &steer.world(&lab));
            steer.ok(&lab, &["apply"]);
            assert_unchanged(&once, &steer.world(&lab));
            // Answered or not: without rules and steering, a strict rp_filter drops.
            let briefly = std::time::Duration::from_millis(20);
            drop(
                Ping::to(lab.eni(1).v4())
                    .count(3)
                    .patience(briefly)
                    .run(&lab.client),
            );
            steer.apply(&lab, way);
            assert_unchanged(&once, &steer.world(&lab));
        }
    }
}

#[test]
fn a_change_of_policy_is_applied_and_undone_like_the_first() {
    let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
    let _report = lab.on_failure_print();
    let before = Steer::new().world(&lab);
    let steer = Steer::new();
    for way in [
        &["--mode", "count"][..],
        &["--mode", "steer", "--attach", "clsact"],
        &["--attach", attach_kinds()[0]],
        &["--table", "eth1=1001", "--primary", "full"],
        &["--programs", "off"],
        &["--programs", "on", "--rules", "off"],
        &["--rules", "on", "--sysctls", "off"],
        &[
            "--band",
            "21000-21999",
            "--table-base",
            "30000",
            "--sysctls",
            "on",
        ],
    ] {
        steer.apply(&lab, way);
        steer.exits(&lab, &["plan"], 0);
    }
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// The textbook's table number, if the user wants it.
#[test]
fn a_table_has_the_configured_number() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &["--table", "eth1=1001", "--programs", "off"]);
    let show = |args: &[&str]| eni_steer_tests::run_ok(&lab.host, "ip", args);
    let routes = show(&["-4", "route", "show", "table", "1001"]);
    assert!(
        routes.contains("default via 172.16.20.253 dev eth1"),
        "{routes}"
    );
    assert!(routes.contains("172.16.20.0/24 dev eth1"), "{routes}");
    assert_eq!(routes.lines().count(), 2, "{routes}");
    let rules = show(&["-4", "rule", "show"]);
    assert!(rules.contains("from 172.16.20.177 lookup 1001"), "{rules}");
}

#[test]
fn reading_changes_nothing() {
    let lab = Lab::builder(Shape::SameSubnet).rp_filter(1).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let enis = ["--eni", "eth0", "--eni", "eth1"];
    let read_all = |steer: &Steer| {
        let before = steer.world(&lab);
        for json in [&[][..], &["-j"]] {
            for command in [
                &["status"][..],
                &["plan"],
                &["plan", "--mode", "drop"],
                &["apply", "--dry-run", "--mode", "steer"],
                &["remove", "--dry-run"],
                &["verify"],
                &["verify", "--window", "10ms"],
                &["counters"],
                &["counters", "--all", "--window", "10ms"],
            ] {
                let takes_enis = !["status", "remove", "counters"].contains(&command[0]);
                let enis = if takes_enis { &enis[..] } else { &[] };
                let words = [command, enis, json].concat();
                let output = steer.run(&lab, &words);
                assert!(!output.timed_out, "{output}");
                assert_unchanged(&before, &steer.world(&lab));
            }
        }
    };
    read_all(&steer);
    for way in [
        &["--mode", "steer"][..],
        &["--attach", "clsact"],
        &["--programs", "off"],
    ] {
        steer.apply(&lab, way);
        read_all(&steer);
    }
    let there = SocketAddr::new(lab.eni(1).v4().into(), 8080);
    assert!(tcp_transfer(&lab.host, there, &lab.client, there, 1000).complete);
}

#[test]
fn a_low_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    // What 30 ENIs are to the usual limit of 1024, two are to this one.
    let script = format!(
        "ulimit -S -n 40; exec {} apply --eni eth0 --eni eth1",
        eni_steer_tests::binary().display()
    );
    let output = eni_steer_tests::Call::new("sh")
        .args(["-c", &script])
        .env("ENI_STEER_BPFFS", steer.bpffs().path())
        .env("ENI_STEER_RUN", steer.run_dir())
        .run(&lab.host);
    assert!(output.success(), "{output}");
    steer.exits(&lab, &["plan"], 0);
}

/// What a session over SSH sees of a change: whether it is affected, before it is made.
#[test]
fn plan_and_apply_end_with_what_changes_for_whom_and_whether_the_session_is_affected() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let enis = ["--eni", "eth0", "--eni", "eth1"];
    let run = |command: &str, server: &str| {
        let ssh = format!("{} 50000 {server} 22", lab.client_v4());
        let words = [&[command], &enis[..]].concat();
        steer.call(&words).env("SSH_CONNECTION", ssh).run(&lab.host)
    };
    let words = |output: &Output| {
        let words: Vec<&str> = output.stdout.split_whitespace().collect();
        words.join(" ")
    };
    let to_eth0 = run("plan", "172.16.20.176");
    let text = words(&to_eth0);
    assert!(
        text.contains("Plan for 2 ENIs (eth0 primary, eth1): "),
        "{to_eth0}"
    );
    assert!(text.contains("uses eth0: not affected."), "{to_eth0}");
    let steps = steer.plan(&lab, &["-v"]).stdout;
    assert!(
        !steps.contains("Plan for"),
        "with -v stdout has the steps alone: {steps}"
    );
    let to_eth1 = run("plan", "172.16.20.177");
    let affected = "IS AFFECTED: its answers leave by eth0 now, by eth1 after";
    assert!(words(&to_eth1).contains(affected), "{to_eth1}");
    let applied = run("apply", "172.16.20.177");
    assert_eq!(applied.code(), Some(0), "{applied}");
    assert!(words(&applied).contains(affected), "{applied}");
    assert!(words(&applied).contains("Applied in "), "{applied}");
    assert!(words(&applied).contains("eni-steer verify"), "{applied}");
    // The prophecy was right: the kernel now sends the session's answers by eth1.
    let client = lab.client_v4().to_string();
    let get = ["route", "get", &client, "from", "172.16.20.177"];
    let route = run_ok(&lab.host, "ip", get);
    assert!(route.contains("dev eth1"), "{route}");
    let report = steer.json(
        &lab,
        &[&["apply"], &enis[..], &["--mode", "steer"]].concat(),
    );
    assert_eq!(report["report"], "apply", "{report:#}");
    assert_eq!(report["verdict"], "ok", "{report:#}");
    let carried = &report["carried_out"];
    assert_eq!(carried["wrong"], 0, "{report:#}");
    assert!(carried["lookups"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["summary"]["enis"][1]["table"], 21001, "{report:#}");
    // Nothing to do: nothing is announced.
    let again = run("plan", "172.16.20.177");
    assert!(!again.stdout.contains("Plan for"), "{again}");
}
