//! The main table stays valid: its other routes through an ENI apply to that ENI's sources too,
//! what it sends elsewhere goes there, and eni-steer's default route in it comes last and is
//! removed without a trace.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use eni_steer_tests::{
    Attempt, Capture, Feature, Lab, Mac, Ping, Shape, Steer, TcpTransfer, Tunnel, UdpServer,
    assert_unchanged, eventually, expect_symmetry, ip, ping, requires, run_ok,
};
use nix::errno::Errno;

/// Far longer than any pass of the daemon takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(15);
const BRIEFLY: Duration = Duration::from_millis(5);

/// Returns the MAC address to which a datagram from eth1's address is sent on eth1; `None` if it
/// leaves by another interface or not at all.
pub(super) fn next_hop_by_eth1(lab: &Lab, to: IpAddr) -> Option<Mac> {
    let from: IpAddr = match to {
        IpAddr::V4(_) => lab.eni(1).v4().into(),
        IpAddr::V6(_) => lab.eni(1).v6().into(),
    };
    let capture = Capture::start(&lab.host, "eth1");
    let sent = Ping::to(to).from(from).patience(Duration::from_millis(400));
    let _whether_answered = sent.run(&lab.host);
    let frames = capture.stop();
    let out = frames.iter().find(|frame| frame.is_between(from, to));
    out.map(|frame| frame.dst_mac())
}

/// Routes of main through eth1 by a router that is not the gateway, in both families.
const STATIC: [(&str, &str); 2] = [
    ("198.51.100.0/24 via 172.16.21.50 dev eth1", "198.51.100.7"),
    ("3fff:1::/48 via fd00:21::50 dev eth1", "3fff:1::7"),
];

#[test]
fn mains_static_route_through_an_eni_holds_for_its_sources_and_follows_changes() {
    let lab = Lab::builder(Shape::DifferentSubnets).peer().build();
    let _report = lab.on_failure_print();
    let (gateway, peer) = (lab.eni(1).gateway_mac, lab.peer_mac(1));
    let steer = Steer::configured(
        "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\ngateway = 'last'\n\
         gateway6 = 'fd00:21::253'",
    );
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let settled = || steer.run(&lab, &["plan"]).code() == Some(0);
    assert!(eventually(SOON, settled), "{}", daemon.output());
    let table = |to: &str| {
        let family = if to.contains(':') { "-6" } else { "-4" };
        ip(&lab.host, &format!("{family} route list table 21001"))
    };
    for (route, to) in STATIC {
        let to: IpAddr = to.parse().expect("an address");
        assert_eq!(
            next_hop_by_eth1(&lab, to),
            Some(gateway),
            "{route}: not yet"
        );
        let net = route.split_whitespace().next().expect("a prefix");
        ip(&lab.host, &format!("route add {route}"));
        let is_there = || table(net).contains(net);
        assert!(
            eventually(SOON, is_there),
            "{}\n{}",
            table(net),
            daemon.output()
        );
        assert_eq!(next_hop_by_eth1(&lab, to), Some(peer), "{route}");
        // The route changes: it leads as the default route does, so no copy is needed ...
        let changed = route.replace(".50 ", ".253 ").replace("::50 ", "::253 ");
        ip(&lab.host, &format!("route replace {changed}"));
        let is_gone = || !table(net).contains(net);
        assert!(
            eventually(SOON, is_gone),
            "{}\n{}",
            table(net),
            daemon.output()
        );
        assert_eq!(next_hop_by_eth1(&lab, to), Some(gateway), "{changed}");
        // ... until it changes again, and is deleted.
        let again = format!("{changed} mtu 1400");
        ip(&lab.host, &format!("route replace {again}"));
        assert!(
            eventually(SOON, is_there),
            "{}\n{}",
            table(net),
            daemon.output()
        );
        ip(&lab.host, &format!("route del {again}"));
        assert!(
            eventually(SOON, is_gone),
            "{}\n{}",
            table(net),
            daemon.output()
        );
    }
}

/// Routes of main through eth1 with what a route can have beside its next hop. Ours of the table
/// must not differ in any of it.
const ATTRIBUTES: [&str; 9] = [
    "default via 172.16.21.253 dev eth1 metric 200 mtu lock 1400 advmss 1360 initcwnd 20 src \
     172.16.21.177",
    "198.51.100.0/25 via 172.16.21.50 dev eth1 window 65535 rtt 100ms rttvar 20ms ssthresh 30 cwnd \
     40 reordering 5 hoplimit 61 initrwnd 50",
    "198.51.100.128/25 via 172.16.21.50 dev eth1 quickack 1 congctl lock cubic features ecn \
     rto_min 300ms",
    "198.51.101.0/24 via 169.254.7.7 dev eth1 onlink src 172.16.21.177 realms 3/7",
    "198.51.102.0/24 via 172.16.21.50 dev eth1 tos 0x10 mtu 1300",
    "198.51.103.0/24 nexthop via 172.16.21.50 dev eth1 weight 3 realms 5 nexthop via 172.16.21.51 \
     dev eth1 weight 2",
    "default via fd00:21::253 dev eth1 metric 2000 mtu 1400 advmss 1340 pref high",
    "3fff:1::/48 via fd00:21::50 dev eth1 pref low hoplimit 61 src fd00:21::177",
    "3fff:2::/48 via fe80::50 dev eth1 initcwnd 30 quickack 1",
];

/// The line of a destination in a table, without what must differ: whose route it is, the table,
/// and the metric of a default route.
fn line_of(lab: &Lab, table: &str, route: &str) -> String {
    let family = if route.contains(':') { "-6" } else { "-4" };
    let to = route.split_whitespace().next().expect("a destination");
    let shown = ip(
        &lab.host,
        &format!("{family} route show table {table} exact {to}"),
    );
    let lines = shown.lines().filter(|line| !line.contains("dev eth0"));
    let mut words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    for known in ["proto", "metric"] {
        let at = words.iter().position(|word| *word == known);
        if let Some(at) = at.filter(|_| known == "proto" || to == "default") {
            words.drain(at..at + 2);
        }
    }
    words.join(" ")
}

/// Adds routes to main, applies, and compares each route with its copy. Then takes the attributes
/// from each copy: `verify` fails, and `apply` restores them.
fn expect_exact_copies(routes: &[&str]) {
    let lab = Lab::builder(Shape::DifferentSubnets).peer().build();
    let _report = lab.on_failure_print();
    for route in routes {
        ip(&lab.host, &format!("route add {route}"));
    }
    let steer = Steer::new();
    // The plan names each route by a command that adds exactly this one.
    let routes_left = || -> Vec<String> {
        let plan = steer.plan(&lab, &[]).stdout;
        let lines = plan.lines().filter(|line| line.contains(" route "));
        lines.map(str::to_owned).collect()
    };
    for line in routes_left() {
        ip(&lab.host, line.trim_start_matches("+ ip "));
    }
    assert_eq!(routes_left(), [""; 0]);
    steer.apply(&lab, &[]);
    for route in routes {
        let main = line_of(&lab, "main", route);
        assert!(!main.is_empty(), "{route}");
        assert_eq!(line_of(&lab, "21001", route), main, "{route}");
    }
    assert_eq!(steer.plan(&lab, &[]).code(), Some(0));
    for route in routes {
        let before = line_of(&lab, "21001", route);
        let words: Vec<&str> = route.split_whitespace().collect();
        let family = if route.contains(':') { "-6" } else { "-4" };
        let metric = if family == "-6" { "metric 1024" } else { "" };
        let tos = if route.contains("tos") {
            "tos 0x10"
        } else {
            ""
        };
        let via = words
            .iter()
            .position(|word| *word == "via")
            .expect("a gateway");
        let (to, gateway) = (words[0], words[via + 1]);
        let bare = format!(
            "{family} route replace {to} {tos} via {gateway} dev eth1 onlink table 21001 {metric} \
             proto 229"
        );
        ip(&lab.host, &bare);
        assert_ne!(line_of(&lab, "21001", route), before, "{bare}");
        steer.exits(&lab, &["verify", "--window", "1ms"], 3);
        steer.apply(&lab, &[]);
        assert_eq!(line_of(&lab, "21001", route), before, "{route}");
    }
}

#[test]
fn a_copied_route_keeps_every_attribute_of_mains() {
    expect_exact_copies(&ATTRIBUTES);
}

#[test]
fn a_copied_route_encapsulates_as_mains_does_with_encapsulation() {
    requires(Feature::Encapsulation);
    expect_exact_copies(&[
        "default encap ip6 id 7 src fd00:21::177 dst fd00:21::50 hoplimit 9 via fd00:21::253 dev \
         eth1 metric 2000",
        "198.51.100.0/24 encap ip id 42 dst 172.16.21.50 ttl 5 via 172.16.21.50 dev eth1",
        "3fff:1::/48 encap ip6 dst fd00:21::50 via fd00:21::50 dev eth1 mtu 1300",
    ]);
}

/// The same without rules: the programs know main's routes too.
#[test]
fn mains_static_route_through_an_eni_holds_for_what_is_steered() {
    let lab = Lab::builder(Shape::DifferentSubnets).peer().build();
    let _report = lab.on_failure_print();
    for (route, _) in STATIC {
        ip(&lab.host, &format!("route add {route}"));
    }
    // A host route, which main sends by eth0.
    ip(
        &lab.host,
        "route add 198.51.100.9 via 172.16.20.253 dev eth0",
    );
    ip(&lab.host, "route add 3fff:1::9 via fd00:20::253 dev eth0");
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "steer"]);
    for to in ["198.51.100.9", "3fff:1::9"] {
        let to = to.parse().expect("an address");
        assert_eq!(next_hop_by_eth1(&lab, to), Some(lab.peer_mac(1)), "{to}");
    }
}

/// The peers of a VPN talk to the addresses of all ENIs and get their answers through the VPN;
/// also from the primary, with each value of `primary`.
#[test]
fn a_vpn_peer_gets_its_answer_from_the_address_of_any_eni() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let tunnel = Tunnel::open(&lab, "wg0");
    let addresses = || [0, 1].into_iter().flat_map(|index| lab.eni(index).both());
    let reaches = |address: IpAddr, timeout| {
        let there = SocketAddr::new(address, 8080);
        let transfer = TcpTransfer::of(10_000).timeout(timeout);
        transfer.run(&lab.host, there, &tunnel.peer, there)
    };
    let steer = Steer::new();
    for primary in ["observe", "full"] {
        for way in [
            &["--programs", "off"][..],
            &["--mode", "steer", "--programs", "on"],
        ] {
            steer.apply(&lab, &[&["--primary", primary], way].concat());
            for address in addresses() {
                let transfer = reaches(address, SOON);
                assert!(
                    transfer.complete,
                    "{address}, {primary}, {way:?}: {transfer:?}"
                );
            }
            // And the rest of the world is answered by the ENI.
            expect_symmetry(&lab, 1, lab.eni(1).v4().into());
            expect_symmetry(&lab, 0, lab.eni(0).v6().into());
            steer.exits(&lab, &["verify", "--require-traffic", "none"], 0);
        }
    }
    steer.ok(&lab, &["remove"]);
    lab.textbook_cure(1);
    for address in lab.eni(1).both() {
        assert!(
            !reaches(address, Duration::from_millis(700)).connected,
            "the textbook's rule lets {address} answer"
        );
    }
}

/// Prefixes that main refuses are refused for the sources of every ENI.
#[test]
fn what_main_refuses_is_refused_for_the_sources_of_an_eni() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    for (kind, net, net6) in [
        ("blackhole", "10.66.0.0/16", "3fff:66::/32"),
        ("unreachable", "10.67.0.0/16", "3fff:67::/32"),
        ("prohibit", "10.68.0.0/16", "3fff:68::/32"),
    ] {
        ip(&lab.host, &format!("-4 route add {kind} {net}"));
        ip(&lab.host, &format!("-6 route add {kind} {net6}"));
    }
    let steer = Steer::new();
    for primary in ["observe", "full"] {
        steer.apply(&lab, &["--primary", primary]);
        for (to, errno) in [
            ("10.66.0.1:9", Errno::EINVAL),
            ("10.67.0.1:9", Errno::EHOSTUNREACH),
            ("10.68.0.1:9", Errno::EACCES),
            ("[3fff:66::1]:9", Errno::EINVAL),
            ("[3fff:67::1]:9", Errno::EHOSTUNREACH),
            ("[3fff:68::1]:9", Errno::EACCES),
        ] {
            let to: SocketAddr = to.parse().expect("an address and port");
            for eni in lab.enis() {
                let from = eni
                    .both()
                    .into_iter()
                    .find(|own| own.is_ipv4() == to.is_ipv4());
                let from = SocketAddr::new(from.expect("both families"), 0);
                let told = Attempt::udp(to).from(from).run(&lab.host);
                assert_eq!(told, Err(errno), "from {from} to {to}, primary {primary}");
            }
        }
    }
}

/// `ping -I eth1`, `curl --interface eth1`, SO_BINDTODEVICE: such a socket has no source when the
/// kernel looks for a route, so no source rule matches.
#[test]
fn a_socket_bound_to_an_eni_reaches_far_addresses_through_the_enis_gateway() {
    for shape in [Shape::SameSubnet, Shape::DifferentSubnets] {
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        let bound = |to: IpAddr| Ping::to(to).device("eth1").count(3).run(&lab.host);
        let client = [IpAddr::from(lab.client_v4()), lab.client_v6().into()];
        let gateways = match shape {
            Shape::SameSubnet => Vec::new(),
            _ => vec![
                "--gateway",
                "eth1=172.16.21.253",
                "--gateway",
                "eth1=fd00:21::253",
            ],
        };
        for to in client {
            assert_eq!(bound(to).received, 0, "{to}: there is no way yet");
        }
        steer.apply(&lab, &gateways);
        for to in client {
            let sent = lab.router_seen(1);
            bound(to).expect_all_answered();
            assert_eq!(lab.router_seen(1).since(sent).right.packets, 3, "{to}");
            // Packets without an interface still use main's default route.
            let sent = lab.router_seen(0);
            ping(&lab.host, None, to, 3, BRIEFLY).expect_all_answered();
            assert_eq!(lab.router_seen(0).since(sent).right.packets, 3, "{to}");
        }
        // A link-local neighbour is not behind the gateway.
        let route = run_ok(
            &lab.host,
            "ip",
            ["-6", "route", "get", "fe80::1", "oif", "eth1"],
        );
        assert!(!route.contains("via"), "{route}");
        steer.exits(&lab, &["verify"], 0);
        // A rule that sends bound sockets elsewhere is named, although every address is routed
        // right.
        ip(&lab.host, "-4 rule add pref 100 oif eth1 prohibit");
        let verify = steer.run(&lab, &["verify"]).expect_code(3).stdout;
        assert!(verify.contains("FAIL  routing"), "{verify}");
        let cause = "eth1: sockets that are bound to it do not use its gateway";
        assert!(verify.contains(cause), "{verify}");
    }
}

/// Old systems give a second interface no default route, so without rules a socket bound to it
/// reaches only its subnet.
#[test]
fn a_default_route_with_a_metric_lets_a_socket_bound_to_the_eni_out_and_goes_exactly() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured(
        "[policy]\nprograms = false\n[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n\
         gateway = 'last'\ngateway6 = 'fd00:21::253'\ndefault-metric = 2000",
    );
    let before = steer.world(&lab);
    let bound = |to: IpAddr| Ping::to(to).device("eth1").count(3).run(&lab.host);
    let client = [IpAddr::from(lab.client_v4()), lab.client_v6().into()];
    for to in client {
        assert_eq!(bound(to).received, 0, "{to}: there is no way yet");
    }
    steer.ok(&lab, &["apply"]);
    for (family, expected) in [
        (
            "-4",
            "default via 172.16.21.253 dev eth1 proto 229 metric 2000",
        ),
        (
            "-6",
            "default via fd00:21::253 dev eth1 proto 229 metric 2000 pref medium",
        ),
    ] {
        let main = ip(&lab.host, &format!("{family} route list default"));
        let ours: Vec<&str> = main
            .lines()
            .filter(|l| l.contains("eth1"))
            .map(str::trim)
            .collect();
        assert_eq!(ours, [expected], "{main}");
    }
    for to in client {
        bound(to).expect_all_answered();
        // Packets without an interface still use main's first default route.
        let sent = lab.router_seen(0);
        ping(&lab.host, None, to, 3, BRIEFLY).expect_all_answered();
        assert_eq!(lab.router_seen(0).since(sent).right.packets, 3);
    }
    steer.exits(&lab, &["plan"], 0);
    // A similar route of another program, with the next metric, must stay.
    ip(
        &lab.host,
        "-4 route add default via 172.16.21.253 dev eth1 metric 2001",
    );
    steer.ok(&lab, &["remove"]);
    ip(
        &lab.host,
        "-4 route del default via 172.16.21.253 dev eth1 metric 2001",
    );
    assert_unchanged(&before, &steer.world(&lab));
}

/// A socket that is not bound to anything reaches the client. This proves that none of the above
/// fails because of a dead client.
#[test]
fn what_names_no_source_goes_mains_way() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    for to in [IpAddr::from(lab.client_v4()), lab.client_v6().into()] {
        let server = UdpServer::echo(&lab.client, (to, 7002).into());
        let sent = Attempt::udp(server.address())
            .run(&lab.host)
            .expect("it is sent");
        assert!(sent.answered);
        assert!(lab.eni(0).both().contains(&sent.source.ip()), "{sent:?}");
    }
}
