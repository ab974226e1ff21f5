//! `[balance]`: new connections without a source are spread over the ENIs by their weights, and
//! each connection stays on the ENI where it began.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use eni_steer_tests::{
    Lab, Shape, Steer, TcpTransfer, Until, assert_unchanged, expect_symmetry, ip, read_sysctl,
    udp_blast, write_sysctl,
};

/// How many destinations there are. Each is spread independently. With this many, a share is
/// within a tenth of its weight by five standard deviations (of 1 in 4: sqrt(0.1875 / 8000) is
/// 0.0048).
const DESTINATIONS: u16 = 8000;

/// A host with these weights, and a client with many addresses.
fn balanced(shape: Shape, weights: &str) -> (Lab, Steer) {
    let lab = Lab::builder(shape).drop_wrong_source().build();
    for (far, client) in [
        ("198.18.0.0/15", "192.0.2.10"),
        ("3fff:18::/32", "2001:db8:1::10"),
    ] {
        ip(&lab.router, &format!("route add {far} via {client}"));
        ip(&lab.client, &format!("route add local {far} dev lo"));
    }
    write_sysctl(&lab.client, "net.ipv6.ip_nonlocal_bind", 1);
    let gateways = match shape {
        Shape::SameSubnet => "",
        Shape::DifferentSubnets => "gateway = 'last'\ngateway6 = 'fd00:21::253'",
    };
    let steer = Steer::configured(&format!(
        "[policy]\nprimary = 'full'\nprograms = false\n[[eni]]\nname = 'eth0'\n\
         [[eni]]\nname = 'eth1'\n{gateways}\n[balance]\nweights = {weights}"
    ));
    steer.ok(&lab, &["apply"]);
    (lab, steer)
}

fn destination(v4: bool, n: u16, port: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    let ip: IpAddr = if v4 {
        [198, 18, high, low].into()
    } else {
        [0x3fff, 0x18, 0, 0, 0, 0, 0, n].into()
    };
    (ip, port).into()
}

/// Returns how many packets left by each ENI with that ENI's own address.
fn right(lab: &Lab) -> Vec<u64> {
    (0..lab.enis().len())
        .map(|eni| lab.router_seen(eni).right.packets)
        .collect()
}

/// Sends one datagram without a source to each destination, and returns how many left by each
/// ENI. None may leave by an ENI that does not own the source it got.
#[track_caller]
fn spread(lab: &Lab, to: &[SocketAddr]) -> Vec<u64> {
    let before = right(lab);
    let blast = udp_blast(&lab.host, None, to, 32, Until::Count(to.len() as u64));
    assert_eq!((blast.sent, blast.refused), (to.len() as u64, 0));
    for eni in lab.enis() {
        let seen = lab.router_seen(eni.index);
        assert_eq!(seen.wrong.packets, 0, "{}: {seen:?}", eni.name);
    }
    right(lab)
        .iter()
        .zip(before)
        .map(|(now, before)| now - before)
        .collect()
}

#[track_caller]
fn expect_share(packets: u64, of: u64, weight: u64, all: u64) {
    let (share, wanted) = (packets as f64 / of as f64, weight as f64 / all as f64);
    assert!(
        (share - wanted).abs() <= wanted / 10.0,
        "{packets} of {of}, {share:.3}, is not within a tenth of {wanted:.3}"
    );
}

#[test]
fn new_connections_are_spread_by_the_weights_and_none_leaves_by_the_wrong_eni() {
    for shape in Shape::ALL {
        for (weights, eth0, eth1) in [
            ("{ eth0 = 1, eth1 = 1 }", 1, 1),
            ("{ eth0 = 1, eth1 = 3 }", 1, 3),
        ] {
            let (lab, _steer) = balanced(shape, weights);
            let _report = lab.on_failure_print();
            for v4 in [true, false] {
                let to: Vec<_> = (1..=DESTINATIONS)
                    .map(|n| destination(v4, n, 9000))
                    .collect();
                let left = spread(&lab, &to);
                let all = u64::from(DESTINATIONS);
                assert_eq!(left.iter().sum::<u64>(), all, "{shape:?} {left:?}");
                expect_share(left[0], all, eth0, eth0 + eth1);
                expect_share(left[1], all, eth1, eth0 + eth1);
            }
        }
    }
}

#[test]
fn verify_tries_balance_and_names_the_foreign_rule_that_takes_its_place() {
    let (lab, steer) = balanced(Shape::SameSubnet, "{ eth0 = 1, eth1 = 1 }");
    let _report = lab.on_failure_print();
    steer.exits(&lab, &["verify", "--require-traffic", "none"], 0);
    for family in ["-4", "-6"] {
        ip(
            &lab.host,
            &format!("{family} rule add pref 15000 iif lo uidrange 0-0 lookup main"),
        );
        let text = steer
            .run(&lab, &["verify", "--require-traffic", "none"])
            .expect_code(3)
            .stdout;
        let ours =
            format!("Routing: the rule 'ip {family} rule pref 20900 from all iif lo lookup 21999");
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&ours));
        let line = lines.next().unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("has no effect"), "{line}");
        assert!(line.ends_with("leaves by eth0"), "{line}");
        let cause = lines.next().unwrap_or_default();
        assert!(cause.contains("another program's rule"), "{cause}");
        assert!(cause.contains("pref 15000"), "{cause}");
        ip(&lab.host, &format!("{family} rule del pref 15000"));
    }
    steer.exits(&lab, &["verify", "--require-traffic", "none"], 0);
}

/// A TCP connection would break if one of its packets left by another ENI, because the cloud
/// drops it.
#[test]
fn every_spread_connection_is_whole() {
    let (lab, _steer) = balanced(Shape::SameSubnet, "{ eth0 = 1, eth1 = 1 }");
    let _report = lab.on_failure_print();
    let mut sources: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for v4 in [true, false] {
        for n in 1..=20 {
            let there = destination(v4, n, 8000);
            let transfer = TcpTransfer::of(50_000).run(&lab.client, there, &lab.host, there);
            assert!(transfer.complete, "{there}: {transfer:?}");
            let seen = transfer.client_seen.expect("it came from somewhere");
            *sources.entry(seen.ip()).or_default() += 1;
        }
    }
    for own in lab.enis().iter().flat_map(|eni| eni.both()) {
        assert!(
            sources.contains_key(&own),
            "none of 20 by {own}: {sources:?}"
        );
    }
    assert_eq!(
        lab.router_seen(0).wrong.packets + lab.router_seen(1).wrong.packets,
        0
    );
    // A request to an address is answered from that address, as without balance.
    for eni in lab.enis() {
        for address in eni.both() {
            expect_symmetry(&lab, eni.index, address);
        }
    }
}

/// The kernel spreads by destination address, so a client stays with one ENI. With another sysctl
/// it also spreads by ports.
#[test]
fn one_destination_keeps_one_eni_unless_the_kernel_hashes_ports_too() {
    let (lab, _steer) = balanced(Shape::SameSubnet, "{ eth0 = 1, eth1 = 1 }");
    let _report = lab.on_failure_print();
    for (v4, family) in [(true, "ipv4"), (false, "ipv6")] {
        let key = format!("net.{family}.fib_multipath_hash_policy");
        assert_eq!(read_sysctl(&lab.host, &key), "0");
        let ports: Vec<_> = (1..=200)
            .map(|port| destination(v4, 1, 9000 + port))
            .collect();
        let left = spread(&lab, &ports);
        assert!(left.contains(&200), "by one: {left:?}");
        write_sysctl(&lab.host, &key, 1);
        let left = spread(&lab, &ports);
        assert!(!left.contains(&0), "by both: {left:?}");
    }
}

/// Only what main would send by its default route is spread.
#[test]
fn what_main_sends_elsewhere_or_to_a_neighbour_is_not_spread() {
    let (lab, steer) = balanced(Shape::DifferentSubnets, "{ eth0 = 1, eth1 = 1 }");
    let _report = lab.on_failure_print();
    ip(
        &lab.host,
        "route add 198.18.7.0/24 via 172.16.21.253 dev eth1",
    );
    // The table gets main's own route with the next apply, or at once with the daemon.
    steer.ok(&lab, &["apply"]);
    let to: Vec<_> = (1..=200)
        .map(|n| destination(true, 0x700 + n, 9000))
        .collect();
    assert_eq!(spread(&lab, &to), [0, 200]);
    // The gateway is on-link of one ENI: it is a neighbour like any other.
    for eni in lab.enis() {
        let gateway: Vec<SocketAddr> = (1..=50)
            .map(|port| (eni.gateway_v4, 9000 + port).into())
            .collect();
        let mut expected = [0, 0];
        expected[eni.index] = 50;
        assert_eq!(spread(&lab, &gateway), expected);
    }
}

#[test]
fn an_eni_that_is_down_gets_no_share_until_it_is_up_and_remove_leaves_no_trace_of_balance() {
    let (lab, steer) = balanced(Shape::SameSubnet, "{ eth0 = 1, eth1 = 1 }");
    let _report = lab.on_failure_print();
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    ip(&lab.host, "link set eth1 down");
    let multipath = || ip(&lab.host, "route list table 21999").contains("nexthop");
    assert!(
        eni_steer_tests::eventually(std::time::Duration::from_secs(15), || !multipath()),
        "{}",
        daemon.output()
    );
    let to: Vec<_> = (1..=200).map(|n| destination(true, n, 9000)).collect();
    assert_eq!(spread(&lab, &to), [200, 0]);
    ip(&lab.host, "link set eth1 up");
    assert!(
        eni_steer_tests::eventually(std::time::Duration::from_secs(15), || {
            multipath() && steer.run(&lab, &["plan"]).code() == Some(0)
        }),
        "{}",
        daemon.output()
    );
    // The gateway's hardware address must be known again before anything is counted.
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    let left = spread(&lab, &to);
    assert!(!left.contains(&0), "it has its share again: {left:?}");
    drop(daemon);
    steer.ok(&lab, &["remove"]);
    let plain = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let rules = |lab: &Lab| ip(&lab.host, "-4 rule list") + &ip(&lab.host, "-6 rule list");
    assert_unchanged(&rules(&plain), &rules(&lab));
    let main = ip(&lab.host, "-4 route list table all") + &ip(&lab.host, "-6 route list table all");
    assert!(!main.contains("proto 229"), "{main}");
}
