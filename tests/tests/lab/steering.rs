//! Steering keeps symmetry with the programs alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use eni_steer_tests::packets::{self, Packet};
use eni_steer_tests::{
    Capture, Counters, Eni, Exchange, Feature, Frame, Injector, Lab, Mac, Ping, Shape, Steer,
    TcxProgram, UdpServer, Way, attach_kinds, expect_symmetry, flush_neighbours, neighbours, nft,
    ping, read_sysctl, requires, run_ok, tcp_transfer, udp_exchange,
};

const BRIEFLY: Duration = Duration::from_millis(5);
const STEERING_ONLY: [&str; 4] = ["--rules", "off", "--mode", "steer"];

fn with(kind: &'static str) -> Vec<&'static str> {
    [&STEERING_ONLY[..], &["--attach", kind]].concat()
}

fn a_reply_leaves_by_the_eni_that_owns_its_source(args: &[&str], steered: bool) {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, args);
        for index in [0, 1] {
            for address in lab.eni(index).both() {
                expect_symmetry(&lab, index, address);
            }
        }
        let counters = Counters::read(&steer, &lab);
        let count = counters.fate("eth0", "steered");
        assert_eq!(
            count > 0,
            steered,
            "{shape:?}: {:?}",
            counters.fates("eth0")
        );
        assert_eq!(counters.fate("eth1", "steered"), 0, "{shape:?}");
    }
}

#[test]
fn a_reply_leaves_by_the_eni_that_owns_its_source_by_steering_alone_with_tcx() {
    requires(Feature::Tcx);
    a_reply_leaves_by_the_eni_that_owns_its_source(&with("tcx"), true);
}

#[test]
fn a_reply_leaves_by_the_eni_that_owns_its_source_by_steering_alone_with_clsact() {
    a_reply_leaves_by_the_eni_that_owns_its_source(&with("clsact"), true);
}

#[test]
fn a_reply_leaves_by_the_eni_that_owns_its_source_by_rules_and_nothing_is_left_to_steer() {
    a_reply_leaves_by_the_eni_that_owns_its_source(&["--mode", "steer"], false);
}

/// Deletes every rule of eni-steer's, as a careless `ip rule flush` would, and empties its table.
fn lose_rules_and_tables(lab: &Lab) {
    for family in ["-4", "-6"] {
        let delete = [family, "rule", "del", "protocol", "229"];
        // It deletes as many as there are; the last call fails.
        while eni_steer_tests::run(&lab.host, "ip", delete).success() {}
        run_ok(
            &lab.host,
            "ip",
            [family, "route", "flush", "table", "21001"],
        );
        let left = run_ok(&lab.host, "ip", [family, "rule", "show"]);
        assert!(!left.contains("21001") && !left.contains("229"), "{left}");
    }
}

#[test]
fn steering_works_when_our_rules_and_tables_are_gone() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &["--mode", "steer"]);
        lose_rules_and_tables(&lab);
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            assert_eq!(read_sysctl(&lab.host, key), "0");
        }
        for address in lab.eni(1).both() {
            let before = Counters::read(&steer, &lab).fate("eth0", "steered");
            let told = ping(&lab.client, None, address, 20, BRIEFLY);
            assert!(told.all_answered(), "{address}: {told:?}");
            let steered = Counters::read(&steer, &lab).fate("eth0", "steered") - before;
            assert_eq!(steered, 20, "{address}");
            expect_symmetry(&lab, 1, address);
        }
    }
}

fn forget_neighbours(lab: &Lab) {
    flush_neighbours(&lab.host);
    let known = neighbours(&lab.host);
    let resolved = known
        .iter()
        .filter(|n| n.lladdr.is_some() && !n.state.contains("NOARP"));
    assert_eq!(resolved.count(), 0, "{known:?}");
}

/// Runs `talk` with an empty neighbour table. Returns what arrived at the router's port of eth1
/// from an address meanwhile, without neighbour discovery, and how many packets were steered.
fn first_packets(
    lab: &Lab,
    steer: &Steer,
    address: IpAddr,
    talk: impl FnOnce() -> Exchange,
) -> (Vec<Frame>, u64) {
    let steered = || Counters::read(steer, lab).fate("eth0", "steered");
    let before = steered();
    forget_neighbours(lab);
    let capture = Capture::start(&lab.router, "r1");
    let told = talk();
    assert!(told.all_answered(), "{address}: {told:?}");
    let seen = capture.stop().into_iter().filter(|frame| {
        let discovery = matches!(frame.icmp_type(), Some(133..=137)) && address.is_ipv6();
        frame.source() == Some(address) && !frame.is_outgoing() && !discovery
    });
    (seen.collect(), steered() - before)
}

fn expect_macs(frames: &[Frame], eni: &Eni, to: Mac, what: &str) {
    for frame in frames {
        assert_eq!(
            (frame.src_mac(), frame.dst_mac()),
            (eni.mac, to),
            "{what}: {frame}"
        );
    }
}

fn the_first_steered_packet_has_the_right_macs(kind: &'static str) {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).peer().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &with(kind));
        let eni = lab.eni(1);
        for address in eni.both() {
            let there = SocketAddr::new(address, 7000);
            let _server = UdpServer::echo(&lab.host, there);
            // From far away, so that the answer goes to the gateway.
            for protocol in ["ICMP", "UDP"] {
                let what = format!("{kind}, {shape:?}, {address}, {protocol}, by the gateway");
                let (replies, steered) = first_packets(&lab, &steer, address, || match protocol {
                    "ICMP" => ping(&lab.client, None, address, 3, BRIEFLY),
                    _ => udp_exchange(&lab.client, None, there, 3, BRIEFLY),
                });
                assert_eq!((replies.len(), steered), (3, 3), "{what}: {replies:?}");
                expect_macs(&replies, eni, eni.gateway_mac, &what);
            }
            if shape == Shape::DifferentSubnets {
                continue; // A neighbour of eth1 is reached by eth1 in any case.
            }
            // From a neighbour. (An ICMPv6 answer prefers the device on which the question
            // arrived, so there is nothing to steer.)
            let what = format!("{kind}, {address}, on the link");
            let (replies, steered) = first_packets(&lab, &steer, address, || {
                udp_exchange(lab.peer(), None, there, 3, BRIEFLY)
            });
            assert_eq!((replies.len(), steered), (3, 3), "{what}: {replies:?}");
            expect_macs(&replies, eni, lab.peer_mac(1), &what);
        }
    }
}

#[test]
fn the_first_steered_packet_has_the_right_macs_with_tcx() {
    requires(Feature::Tcx);
    the_first_steered_packet_has_the_right_macs("tcx");
}

#[test]
fn the_first_steered_packet_has_the_right_macs_with_clsact() {
    the_first_steered_packet_has_the_right_macs("clsact");
}

#[test]
fn a_tcp_connection_begins_well_with_an_empty_neighbour_table() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &STEERING_ONLY);
    let eni = lab.eni(1);
    for address in eni.both() {
        let there = SocketAddr::new(address, 7000);
        let (seen, steered) = first_packets(&lab, &steer, address, || {
            let transfer = tcp_transfer(&lab.host, there, &lab.client, there, 300_000);
            assert!(transfer.complete, "{address}: {transfer:?}");
            Exchange {
                sent: 1,
                received: 1,
                ..Exchange::default()
            }
        });
        assert!(seen.len() >= 3 && steered >= 3, "{seen:?}");
        expect_macs(&seen, eni, eni.gateway_mac, "TCP");
        let syn_acks = seen
            .iter()
            .filter(|frame| match frame.layers().and_then(|l| l.transport) {
                Some(etherparse::TransportSlice::Tcp(tcp)) => tcp.syn(),
                _ => false,
            });
        // Exactly one, so it was not lost and sent again.
        assert_eq!(syn_acks.count(), 1, "{seen:?}");
    }
}

/// An ARP request with the other ENI's address would teach the subnet a wrong place for it.
#[test]
fn the_question_for_a_neighbour_carries_the_address_of_its_own_eni() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &STEERING_ONLY);
    forget_neighbours(&lab);
    let capture = Capture::start(&lab.router, "r1");
    assert!(ping(&lab.client, None, lab.eni(1).v4().into(), 1, BRIEFLY).all_answered());
    let frames = capture.stop();
    let arp: Vec<_> = frames
        .iter()
        .filter(|f| f.ether_type().0 == packets::ARP)
        .collect();
    let questions: Vec<_> = arp.iter().filter(|f| !f.is_outgoing()).collect();
    assert!(!questions.is_empty(), "nobody asked: {frames:?}");
    for question in questions {
        let sender: [u8; 4] = question.data[28..32].try_into().expect("four bytes");
        assert_eq!(Ipv4Addr::from(sender), lab.eni(1).v4());
    }
}

/// A program of the test, which runs after eni-steer's on the owner and drops one mark, shows it.
#[test]
fn a_mark_survives_steering() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &STEERING_ONLY);
    TcxProgram::drop_mark(0x77).attach_as_filter(&lab.host, "eth1", "egress");
    for address in lab.eni(1).both() {
        for (mark, passes) in [(0x76, 3), (0x77, 0), (0, 3)] {
            let before = Counters::read(&steer, &lab).fate("eth0", "steered");
            let told = Ping::to(lab.client_address(address))
                .from(address)
                .mark(mark)
                .count(3)
                .patience(Duration::from_millis(300))
                .run(&lab.host);
            assert_eq!(
                (told.sent, told.received),
                (3, passes),
                "{address}, mark {mark:#x}"
            );
            let steered = Counters::read(&steer, &lab).fate("eth0", "steered") - before;
            assert_eq!(steered, 3, "{address}, mark {mark:#x}");
        }
    }
}

#[test]
fn counting_only_counts() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "count"]);
    for address in lab.eni(1).both() {
        let (eth0, eth1) = (lab.router_seen(0), lab.router_seen(1));
        assert!(ping(&lab.client, None, address, 5, BRIEFLY).all_answered());
        assert_eq!(lab.router_seen(0).since(eth0).wrong.packets, 5, "{address}");
        assert_eq!(
            lab.router_seen(1).since(eth1),
            Default::default(),
            "{address}"
        );
        let cell = Counters::read(&steer, &lab).cell(address, "eth0", Way::Out);
        assert_eq!(
            (
                cell.passed.packets,
                cell.steered.packets,
                cell.dropped.packets
            ),
            (5, 0, 0)
        );
    }
    let counters = Counters::read(&steer, &lab);
    assert_eq!(counters.fate("eth0", "count-only"), 10);
    assert_eq!(counters.fate("eth0", "steered"), 0);
}

#[test]
fn dropping_drops_and_counts() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "drop"]);
    for address in lab.eni(1).both() {
        let (eth0, eth1) = (lab.router_seen(0), lab.router_seen(1));
        let patience = Duration::from_millis(100);
        let told = Ping::to(address)
            .count(5)
            .patience(patience)
            .run(&lab.client);
        assert_eq!((told.sent, told.received), (5, 0), "{address}");
        assert_eq!(
            lab.router_seen(0).since(eth0),
            Default::default(),
            "{address}"
        );
        assert_eq!(
            lab.router_seen(1).since(eth1),
            Default::default(),
            "{address}"
        );
        let cell = Counters::read(&steer, &lab).cell(address, "eth0", Way::Out);
        assert_eq!(
            (
                cell.passed.packets,
                cell.steered.packets,
                cell.dropped.packets
            ),
            (0, 0, 5)
        );
    }
    assert_eq!(Counters::read(&steer, &lab).fate("eth0", "dropped"), 10);
    // Packets that leave by their owner are not affected.
    for address in lab.eni(0).both() {
        assert!(ping(&lab.client, None, address, 3, BRIEFLY).all_answered());
    }
}

#[test]
fn exempt_marks_and_destinations_are_left_alone() {
    let lab = Lab::builder(Shape::SameSubnet).peer().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let exempt = [
        &STEERING_ONLY[..],
        &["--exempt-mark", "0x40/0xf0", "--exempt", "192.0.2.10"],
    ];
    steer.apply(&lab, &exempt.concat());
    let eth1: IpAddr = lab.eni(1).v4().into();
    let fates = |fate| Counters::read(&steer, &lab).fate("eth0", fate);
    // To the exempt destination.
    assert!(ping(&lab.client, None, eth1, 3, BRIEFLY).all_answered());
    assert_eq!((fates("exempt-destination"), fates("steered")), (3, 0));
    // With the exempt mark, to another destination.
    let peer: IpAddr = lab.peer_v4(1).into();
    for (mark, expected) in [(0x4f, (3, 0)), (0x5f, (3, 3))] {
        let told = Ping::to(peer).from(eth1).mark(mark).count(3).run(&lab.host);
        assert!(told.all_answered(), "{told:?}");
        assert_eq!((fates("exempt-mark"), fates("steered")), expected);
    }
    let cell = Counters::read(&steer, &lab).cell(eth1, "eth0", Way::Out);
    assert_eq!(
        (
            cell.exempt.packets,
            cell.steered.packets,
            cell.passed.packets
        ),
        (6, 3, 0)
    );
}

/// Packets with eth1's address, sent on eth0, that must leave by eth0 unchanged.
#[test]
fn link_local_multicast_broadcast_and_unspecified_are_never_steered() {
    for &kind in attach_kinds() {
        let lab = Lab::builder(Shape::SameSubnet).build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &with(kind));
        let eni = lab.eni(0);
        let (eth1_v4, eth1_v6) = (IpAddr::from(lab.eni(1).v4()), IpAddr::from(lab.eni(1).v6()));
        let all = [0xff; 6];
        let gateway = eni.gateway_mac.0;
        let v4 = |text: &str| -> IpAddr { text.parse::<Ipv4Addr>().expect("IPv4").into() };
        let v6 = |text: &str| -> IpAddr { text.parse::<Ipv6Addr>().expect("IPv6").into() };
        let group4 = [0x01, 0x00, 0x5e, 0, 0, 0x05];
        let group6 = [0x33, 0x33, 0, 0, 0, 0x05];
        let cases = [
            (eth1_v4, v4("169.254.169.254"), gateway, "link-local"),
            (v4("169.254.7.7"), v4("192.0.2.10"), gateway, "link-local"),
            (eth1_v6, v6("fe80::1"), gateway, "link-local"),
            (v6("fe80::7"), v6("2001:db8:1::10"), gateway, "link-local"),
            (eth1_v4, v4("224.0.0.5"), group4, "multicast"),
            (eth1_v4, v4("239.1.2.3"), group4, "multicast"),
            (eth1_v6, v6("ff02::5"), group6, "multicast"),
            (eth1_v6, v6("ff0e::5"), group6, "multicast"),
            (eth1_v4, v4("255.255.255.255"), all, "multicast"),
            (eth1_v4, v4("172.16.20.255"), all, "multicast"),
            (
                v4("0.0.0.0"),
                v4("192.0.2.10"),
                gateway,
                "unspecified-source",
            ),
            (
                v6("::"),
                v6("2001:db8:1::10"),
                gateway,
                "unspecified-source",
            ),
            (
                eth1_v4,
                v4("100.100.100.200"),
                gateway,
                "exempt-destination",
            ),
            (eth1_v6, v6("fd00:ec2::254"), gateway, "exempt-destination"),
        ];
        let injector = Injector::new(&lab.host, "eth0");
        for (source, destination, station, fate) in cases {
            let what = format!("{kind}: {source} to {destination}");
            let (right, wrong) = (
                Capture::start(&lab.router, "r0"),
                Capture::start(&lab.router, "r1"),
            );
            let before = Counters::read(&steer, &lab);
            let mut packet = Packet::udp(source, destination, 20).to(station);
            packet.from = eni.mac.0;
            for _ in 0..3 {
                injector.send(&packet.bytes());
            }
            let after = Counters::read(&steer, &lab);
            assert!(
                after.fate("eth0", fate) >= before.fate("eth0", fate) + 3,
                "{what}: no {fate}"
            );
            assert_eq!(after.fate("eth0", "steered"), 0, "{what}");
            let there = |frames: Vec<Frame>| {
                frames
                    .iter()
                    .filter(|f| !f.is_outgoing() && f.is_between(source, destination))
                    .count()
            };
            assert_eq!((there(right.stop()), there(wrong.stop())), (3, 0), "{what}");
        }
        // A packet that is none of these is steered when it is sent in the same way.
        let mut packet = Packet::udp(eth1_v4, v4("192.0.2.10"), 20).to(gateway);
        packet.from = eni.mac.0;
        injector.send(&packet.bytes());
        assert_eq!(Counters::read(&steer, &lab).fate("eth0", "steered"), 1);
    }
}

#[test]
fn an_address_on_two_enis_has_no_owner() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    for (address, prefix) in [("172.16.20.200", "32"), ("fd00:20::200", "128")] {
        for eni in ["eth0", "eth1"] {
            let net = format!("{address}/{prefix}");
            run_ok(
                &lab.host,
                "ip",
                ["address", "add", &net, "dev", eni, "nodad"],
            );
        }
        lab.allow(0, address);
    }
    let steer = Steer::new();
    for way in [&["--mode", "steer"][..], &["--mode", "drop"]] {
        steer.apply(&lab, way);
        let status = steer.ok(&lab, &["status"]);
        let report = steer.json(&lab, &["status"]);
        for address in ["172.16.20.200", "fd00:20::200"] {
            let note = format!("{address} is on eth0 and eth1:");
            assert!(status.contains(&note), "{status}");
            let notes = report["findings"].as_array().expect("findings").iter();
            let mut notes = notes.filter_map(|finding| finding["why"].as_str());
            assert!(notes.any(|text| text.contains(&note)), "{report:#}");
            let from: IpAddr = address.parse().expect("an address");
            let to = lab.client_address(from);
            let before = Counters::read(&steer, &lab).fate("eth0", "ambiguous-owner");
            let (eth0, eth1) = (lab.router_seen(0), lab.router_seen(1));
            // Three leave as main routes them. The router has no route back, so nobody answers.
            let patience = Duration::from_millis(20);
            let told = Ping::to(to)
                .from(from)
                .count(3)
                .patience(patience)
                .run(&lab.host);
            assert_eq!(told.sent, 3, "{told:?}");
            assert_eq!(lab.router_seen(0).since(eth0).right.packets, 3, "{address}");
            assert_eq!(
                lab.router_seen(1).since(eth1),
                Default::default(),
                "{address}"
            );
            let counters = Counters::read(&steer, &lab);
            assert_eq!(
                counters.fate("eth0", "ambiguous-owner") - before,
                3,
                "{address}"
            );
            assert_eq!(counters.fate("eth0", "steered"), 0);
            assert_eq!(counters.fate("eth0", "dropped"), 0);
        }
        let rules = run_ok(&lab.host, "ip", ["rule", "show"]);
        assert!(!rules.contains("172.16.20.200"), "{rules}");
    }
}

/// Reasons that do not depend on the packet.
#[test]
fn every_reason_not_to_steer_has_its_count() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    run_ok(&lab.host, "ip", ["link", "set", "eth1", "mtu", "1400"]);
    steer.apply(&lab, &STEERING_ONLY);
    let eth1: IpAddr = lab.eni(1).v4().into();
    let fate = |name| Counters::read(&steer, &lab).fate("eth0", name);
    // It would leave by eth0 in one piece, but eth1 can not send it like that.
    let large = Ping::to(lab.client_v4()).from(eth1).payload(1450);
    assert_eq!(
        large
            .patience(Duration::from_millis(20))
            .run(&lab.host)
            .sent,
        1
    );
    assert_eq!((fate("mtu"), fate("steered")), (1, 0));
    let mut packet = Packet::udp(
        "198.51.100.1".parse().expect("IPv4"),
        lab.client_v4().into(),
        1,
    )
    .to(lab.eni(0).gateway_mac.0);
    packet.from = lab.eni(0).mac.0;
    let injector = Injector::new(&lab.host, "eth0");
    let before = fate("no-owner");
    injector.send(&packet.bytes());
    assert_eq!(fate("no-owner") - before, 1);
    // An IPv4 header of one word.
    let mut broken = Packet::udp(eth1, lab.client_v4().into(), 1).to(lab.eni(0).gateway_mac.0);
    broken.payload[0] = 0x41;
    injector.send(&broken.bytes());
    assert_eq!(fate("malformed"), 1);
    let tagged = Packet::udp(eth1, lab.client_v4().into(), 1).tagged(packets::VLAN, 7);
    injector.send(&tagged.bytes());
    assert_eq!(fate("vlan"), 1);
    let before = fate("not-ip");
    injector.send(&Packet::new(0x88cc, vec![0; 50]).bytes());
    assert_eq!(fate("not-ip") - before, 1);
}

/// Publishes a port as a container engine does: the reply is routed with the container's address,
/// and the address is translated afterwards.
fn publish(lab: &Lab) {
    let chain = "chain prerouting { type nat hook prerouting priority -100; policy accept;\n";
    let ruleset = format!(
        "table ip published {{ {chain} ip daddr {} tcp dport 8080 dnat to {}:80\n }}\n }}
         table ip6 published {{ {chain} ip6 daddr {} tcp dport 8080 dnat to [{}]:80\n }}\n }}\n",
        lab.eni(1).v4(),
        lab.container_v4(),
        lab.eni(1).v6(),
        lab.container_v6(),
    );
    nft(&lab.host, &ruleset);
}

/// Runs a flow from the client to eth1:8080, which is the container's port 80. Returns what left
/// by each ENI meanwhile.
fn translated(lab: &Lab, address: IpAddr) -> [eni_steer_tests::Seen; 2] {
    let container: IpAddr = match address {
        IpAddr::V4(_) => lab.container_v4().into(),
        IpAddr::V6(_) => lab.container_v6().into(),
    };
    let before = [0, 1].map(|index| lab.router_seen(index));
    let listen = SocketAddr::new(container, 80);
    let to = SocketAddr::new(address, 8080);
    let transfer = tcp_transfer(lab.container(), listen, &lab.client, to, 1 << 20);
    assert!(transfer.complete, "{address}: {transfer:?}");
    [0, 1].map(|index| lab.router_seen(index).since(before[index]))
}

#[test]
fn replies_of_a_translated_flow_leave_by_the_eni_they_came_in_by() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).container().build();
        let _report = lab.on_failure_print();
        publish(&lab);
        lab.textbook_cure(1);
        for address in lab.eni(1).both() {
            let [eth0, eth1] = translated(&lab, address);
            assert!(
                eth0.wrong.packets > 0,
                "{shape:?}: the textbook's rule helps {address}"
            );
            assert_eq!(eth1, Default::default(), "{shape:?} {address}");
        }
        let steer = Steer::new();
        // Beside the textbook's rules, and with eni-steer's.
        for way in [
            &STEERING_ONLY[..],
            &["--rules", "on"],
            &["--attach", "clsact"],
        ] {
            steer.apply(&lab, way);
            for address in lab.eni(1).both() {
                let [eth0, eth1] = translated(&lab, address);
                let what = format!("{shape:?} {address} {way:?}");
                assert_eq!(eth0, Default::default(), "{what}");
                assert_eq!(eth1.wrong.packets, 0, "{what}");
                assert!(
                    eth1.right.packets > 0 && eth1.right.bytes > 1 << 20,
                    "{what}: {eth1:?}"
                );
            }
        }
    }
}

/// If a packet were steered wrongly, the source check would drop it and the connection would
/// break.
#[test]
fn a_translated_flow_is_complete_behind_a_source_check() {
    let lab = Lab::builder(Shape::SameSubnet)
        .container()
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    publish(&lab);
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "steer"]);
    for address in lab.eni(1).both() {
        let [eth0, _] = translated(&lab, address);
        assert_eq!(eth0, Default::default(), "{address}");
    }
    assert!(Counters::read(&steer, &lab).fate("eth0", "steered") > 0);
}
