//! The primary is an ENI too: where the main table alone does not decide about its packets, it gets
//! rules, and these never cut the host off.

use std::net::IpAddr;
use std::time::Duration;

use eni_steer_tests::{
    Capture, DefaultRoute, Lab, Ping, Shape, Steer, advertise, eventually, expect_symmetry, ip,
    ping, run, write_sysctl,
};
use nix::sys::signal::Signal;

const BRIEFLY: Duration = Duration::from_millis(5);
/// Far longer than any pass of the daemon takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(15);

const TWO_ENIS: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n";

/// `verify` finds everything right, and `plan` nothing to change.
#[track_caller]
fn expect_in_place(steer: &Steer, lab: &Lab) {
    steer.exits(lab, &["verify", "--require-traffic", "none"], 0);
    steer.exits(lab, &["plan"], 0);
}

/// Packets of an ENI's address to a neighbour leave by this ENI and by no other.
#[track_caller]
fn expect_neighbour_by(lab: &Lab, eni: usize) {
    let own: IpAddr = lab.eni(eni).v4().into();
    let peer: IpAddr = lab.peer_v4(0).into();
    let captures = lab
        .enis()
        .iter()
        .map(|one| Capture::start(&lab.host, &one.name));
    let captures: Vec<Capture> = captures.collect();
    let sent = Ping::to(peer)
        .from(own)
        .count(3)
        .patience(SOON)
        .run(&lab.host);
    for (index, capture) in captures.into_iter().enumerate() {
        let frames = capture.stop();
        let left = frames.iter().filter(|frame| frame.is_between(own, peer));
        let expected = if index == eni { 3 } else { 0 };
        assert_eq!(left.count(), expected, "{own} by eth{index}: {sent:?}");
    }
}

/// Main has two routes for a subnet that two ENIs share. Which of them wins depends on which
/// interface came up first.
#[test]
fn on_a_shared_subnet_the_primary_reaches_its_neighbours_after_its_link_was_down() {
    let lab = Lab::builder(Shape::SameSubnet).peer().build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured(TWO_ENIS);
    steer.ok(&lab, &["apply"]);
    for eni in [0, 1] {
        expect_neighbour_by(&lab, eni);
    }
    ip(&lab.host, "link set eth0 down");
    ip(&lab.host, "link set eth0 up");
    ip(&lab.host, "route add default via 172.16.20.253 dev eth0");
    steer.exits(&lab, &["verify", "--require-traffic", "none"], 3);
    steer.ok(&lab, &["apply"]);
    for eni in [0, 1] {
        expect_neighbour_by(&lab, eni);
    }
    expect_symmetry(&lab, 0, lab.eni(0).v4().into());
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    steer.exits(&lab, &["plan"], 0);
    let status = steer.ok(&lab, &["status"]);
    assert!(
        status.contains("table 21000, because eth1 is on the same subnet"),
        "{status}"
    );
    assert!(status.contains("main+21000"), "{status}");
}

/// The rules of the primary lead to no default route of their own where main's is enough: its
/// gateway can change while no daemon runs.
#[test]
fn without_a_daemon_the_primarys_gateway_can_change() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let gateway = |rest: &str| {
            let device = &lab.eni(0).gateway_device;
            ip(&lab.router, &format!("address {rest} dev {device}"));
        };
        let steer = Steer::configured(&format!(
            "{TWO_ENIS}gateway = 'last'\ngateway6 = '{}'",
            lab.eni(1).gateway_v6
        ));
        let mut daemon = steer.call(&["run"]).start_in_background(&lab.host);
        let in_place = || steer.run(&lab, &["plan"]).code() == Some(0);
        assert!(eventually(SOON, in_place), "{}", daemon.output());
        daemon.signal(Signal::SIGTERM);
        daemon.wait(SOON);
        ip(
            &lab.host,
            "route replace default via 172.16.20.252 dev eth0",
        );
        gateway("del 172.16.20.253/24");
        gateway("add 172.16.20.252/24");
        ip(&lab.host, "neigh flush dev eth0");
        let eth0 = lab.eni(0).v4().into();
        ping(&lab.client, None, eth0, 3, BRIEFLY).expect_all_answered();
        expect_symmetry(&lab, 0, eth0);
    }
}

/// Two defaults of equal metric: the kernel takes the older one, and after a flap the other.
#[test]
fn beside_a_default_route_that_is_as_good_the_primary_has_a_table() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    ip(&lab.host, "route append default via 172.16.21.253 dev eth1");
    ip(
        &lab.host,
        "-6 route append default via fd00:21::253 dev eth1",
    );
    let steer = Steer::configured(TWO_ENIS);
    steer.ok(&lab, &["apply"]);
    let both_right = || {
        for eni in lab.enis() {
            for address in eni.both() {
                expect_symmetry(&lab, eni.index, address);
            }
        }
        expect_in_place(&steer, &lab);
    };
    both_right();
    ip(&lab.host, "route del default via 172.16.20.253 dev eth0");
    ip(&lab.host, "route append default via 172.16.20.253 dev eth0");
    steer.ok(&lab, &["apply"]);
    both_right();
    let status = steer.ok(&lab, &["status"]);
    assert!(
        status.contains("because main has a default route by eth"),
        "{status}"
    );
    assert!(
        status.contains("the daemon does not run, so the default"),
        "{status}"
    );
}

#[test]
fn with_router_advertisements_on_both_enis_each_answers_by_its_own() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .default_route(DefaultRoute::Absent)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    ip(&lab.host, "route add default via 172.16.20.253 dev eth0");
    let steer = Steer::configured(&format!("{TWO_ENIS}gateway = 'last'"));
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    for eni in lab.enis() {
        write_sysctl(
            &lab.host,
            &format!("net.ipv6.conf.{}.accept_ra", eni.name),
            2,
        );
    }
    // eth1's comes first, so it is the primary for IPv6 at first.
    for (at, eni) in [(1, lab.eni(1)), (0, lab.eni(0))] {
        advertise(&lab.router, &eni.gateway_device, Duration::from_secs(1800));
        let learned = || {
            let routes = run(
                &lab.host,
                "ip",
                ["-6", "route", "list", "default", "dev", &eni.name],
            );
            routes.stdout.contains("proto ra")
        };
        assert!(eventually(SOON, learned), "eth{at}");
    }
    let in_place = || steer.run(&lab, &["plan"]).code() == Some(0);
    let has_table = || {
        let table = run(
            &lab.host,
            "ip",
            ["-6", "route", "list", "default", "table", "21000"],
        );
        table.stdout.contains("dev eth0")
    };
    assert!(
        eventually(SOON, || has_table() && in_place()),
        "{}",
        daemon.output()
    );
    for eni in lab.enis() {
        for address in eni.both() {
            expect_symmetry(&lab, eni.index, address);
        }
    }
    steer.exits(&lab, &["verify", "--require-traffic", "none"], 0);
}
