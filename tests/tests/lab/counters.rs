//! The counters show what was on the wire.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::common::{Inside, inside, policy};
use eni_steer_core::{apply::apply, plan::Plan};
use eni_steer_linux::executor::LinuxExecutor;
use eni_steer_tests::packets::{self, Packet};
use eni_steer_tests::{
    Capture, Count, Counters, DeviceCounters, Feature, Frame, Injector, Lab, Ping, Shape, Steer,
    TcpTransfer, UdpServer, Until, Way, attach_kinds, flush_neighbours, ping, receive_queue,
    requires, run_ok, tcp_transfer, udp_blast, udp_exchange,
};

const BRIEFLY: Duration = Duration::from_millis(2);

fn minus(a: Count, b: Count) -> Count {
    Count {
        packets: a.packets - b.packets,
        bytes: a.bytes - b.bytes,
    }
}

fn device(counters: DeviceCounters, way: Way) -> Count {
    match way {
        Way::In => Count {
            packets: counters.rx_packets,
            bytes: counters.rx_bytes,
        },
        Way::Out => Count {
            packets: counters.tx_packets,
            bytes: counters.tx_bytes,
        },
    }
}

/// Sends ICMP, UDP and TCP, both families, both directions, fragments, and frames that are not
/// IP.
fn mixed_traffic(lab: &Lab) {
    flush_neighbours(&lab.host); // ARP and ND.
    for eni in lab.enis() {
        for address in eni.both() {
            let told = Ping::to(address).count(5).payload(700).run(&lab.client);
            assert!(told.all_answered(), "{address}: {told:?}");
            let told = Ping::to(address).payload(4000).run(&lab.client);
            assert!(told.all_answered(), "fragments to {address}: {told:?}");
            let there = SocketAddr::new(address, 7000);
            let server = UdpServer::echo(&lab.host, there);
            let told = udp_exchange(&lab.client, None, there, 10, BRIEFLY);
            assert!(told.all_answered(), "{address}: {told:?}");
            drop(server);
            assert!(tcp_transfer(&lab.host, there, &lab.client, there, 200_000).complete);
            let upload = TcpTransfer::of(200_000).upload();
            assert!(upload.run(&lab.host, there, &lab.client, there).complete);
            let to = SocketAddr::new(lab.client_address(address), 9);
            let sent = udp_blast(&lab.host, Some(address), &[to], 333, Until::Count(20));
            assert_eq!(sent.sent, 20);
        }
        let address: IpAddr = eni.v4().into();
        let client: IpAddr = lab.client_v4().into();
        let (out, into) = (
            Injector::new(&lab.host, &eni.name),
            Injector::new(&lab.router, &eni.port),
        );
        for tags in [&[packets::VLAN][..], &[packets::QINQ, packets::VLAN]] {
            for (injector, packet, station) in [
                (&out, Packet::udp(address, client, 50), eni.gateway_mac),
                (&into, Packet::udp(client, address, 60), eni.mac),
            ] {
                let tag = |packet: Packet, kind: &u16| packet.tagged(*kind, 0x2007);
                let packet = tags.iter().rev().fold(packet, tag).to(station.0);
                injector.send(&packet.bytes());
            }
        }
        // LLDP, an ARP announcement, and an EtherType that nothing uses.
        let lldp = Packet::new(0x88cc, vec![2; 60]).to([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        let arp = Packet::new(packets::ARP, vec![0; 46]).to([0xff; 6]);
        let local = Packet::new(0x88b5, vec![7; 900]).to([0xff; 6]);
        for packet in [lldp, arp, local] {
            out.send(&packet.bytes());
            into.send(&packet.bytes());
        }
    }
}

/// Compares what the programs and the devices have counted since the first reading.
fn compare(
    lab: &Lab,
    then: &(Counters, Vec<DeviceCounters>),
    now: &(Counters, Vec<DeviceCounters>),
) {
    for (index, eni) in lab.enis().iter().enumerate() {
        for way in Way::BOTH {
            let counted = minus(now.0.total(&eni.name, way), then.0.total(&eni.name, way));
            let device = minus(device(now.1[index], way), device(then.1[index], way));
            assert_eq!(counted, device, "{} {way:?}", eni.name);
            assert!(counted.packets > 0, "{} {way:?}: nothing came by", eni.name);
        }
    }
}

fn totals_equal_the_devices_own_counters(kind: &str, mode: &str) {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).offloads(false).build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &["--attach", kind, "--mode", mode]);
        let then = Counters::read_at_rest(&steer, &lab);
        mixed_traffic(&lab);
        let now = Counters::read_at_rest(&steer, &lab);
        compare(&lab, &then, &now);
        for eni in lab.enis() {
            for way in Way::BOTH {
                // Two tagged frames, LLDP, ARP and one unknown; and the ARP packets of the
                // kernel.
                let other = minus(
                    now.0.class(&eni.name, way, "other"),
                    then.0.class(&eni.name, way, "other"),
                );
                assert!(other.packets >= 5, "{} {way:?}: {other:?}", eni.name);
            }
        }
    }
}

#[test]
fn totals_equal_the_devices_own_counters_with_tcx() {
    requires(Feature::Tcx);
    totals_equal_the_devices_own_counters("tcx", "count");
}

#[test]
fn totals_equal_the_devices_own_counters_with_clsact() {
    totals_equal_the_devices_own_counters("clsact", "steer");
}

/// Steered packets leave by the owner, and only there they count as having left.
#[test]
fn totals_equal_the_devices_own_counters_when_everything_is_steered() {
    let lab = Lab::builder(Shape::SameSubnet).offloads(false).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "steer"]);
    let then = Counters::read_at_rest(&steer, &lab);
    mixed_traffic(&lab);
    let now = Counters::read_at_rest(&steer, &lab);
    compare(&lab, &then, &now);
    assert!(now.0.fate("eth0", "steered") > 0);
}

#[test]
fn dropped_packets_are_in_no_total() {
    let lab = Lab::builder(Shape::SameSubnet).offloads(false).build();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "drop"]);
    let then = Counters::read_at_rest(&steer, &lab);
    let patience = Duration::from_millis(50);
    let told = Ping::to(lab.eni(1).v4())
        .count(5)
        .patience(patience)
        .run(&lab.client);
    assert_eq!((told.sent, told.received), (5, 0));
    assert!(ping(&lab.client, None, lab.eni(0).v4().into(), 5, BRIEFLY).all_answered());
    // Something has to leave by eth1, otherwise there is nothing to compare.
    Injector::new(&lab.host, "eth1").send(&Packet::new(0x88b5, vec![0; 100]).bytes());
    let now = Counters::read_at_rest(&steer, &lab);
    compare(&lab, &then, &now);
    assert_eq!(now.0.fate("eth0", "dropped"), 5);
}

fn sum<'a>(frames: impl Iterator<Item = &'a Frame>) -> Count {
    frames
        .map(Frame::on_the_wire)
        .fold(Count::default(), |sum, (packets, bytes)| Count {
            packets: sum.packets + packets,
            bytes: sum.bytes + bytes,
        })
}

/// Counters and captures that begin and end at the same moments: no device of the host counted
/// anything between reading the counters and starting or stopping the captures.
struct Round<'a> {
    lab: &'a Lab,
    steer: &'a Steer,
}

impl Round<'_> {
    /// Returns the counters before and after, what the client's device saw, and what eth1 saw.
    /// Neighbour discovery and group reports come at any time, and on a busy machine a cable's
    /// queue overflows, so that the host never sees what the client's device saw: the round is
    /// repeated then.
    fn of(&self, mut work: impl FnMut()) -> (Counters, Counters, Vec<Frame>, Vec<Frame>) {
        for _ in 0..20 {
            let (then, quiet) = Counters::read_at_rest(self.steer, self.lab);
            let wire = Capture::start(&self.lab.client, "c0");
            let host = Capture::start(&self.lab.host, "eth1");
            let lost = self.lost_outside();
            if self.devices() != quiet {
                continue;
            }
            work();
            let (now, quiet) = Counters::read_at_rest(self.steer, self.lab);
            let (wire, host) = (wire.stop(), host.stop());
            if self.devices() == quiet && self.lost_outside() == lost {
                return (then, now, wire, host);
            }
        }
        panic!("the lab is never quiet");
    }

    /// What the cables between client and host have lost. What the host drops is not among it.
    fn lost_outside(&self) -> u64 {
        let Lab { client, router, .. } = self.lab;
        let port = self.lab.eni(1).port.as_str();
        [(client, "c0"), (router, "rc"), (router, port)]
            .map(|(ns, device)| self.lab.device_counters(ns, device))
            .map(|counters| counters.rx_dropped + counters.tx_dropped)
            .iter()
            .sum()
    }

    fn devices(&self) -> Vec<DeviceCounters> {
        let enis = self.lab.enis().iter();
        enis.map(|eni| self.lab.device_counters(&self.lab.host, &eni.name))
            .collect()
    }
}

/// The client's cable cuts the super-packets that the host sends, and what the client sends in
/// segments is put together before it reaches the host. So the client's device sees the wire.
#[test]
fn with_offloads_totals_are_the_segments_on_the_wire() {
    for &kind in attach_kinds() {
        let lab = Lab::builder(Shape::SameSubnet).build();
        let _report = lab.on_failure_print();
        for (ns, device, features) in [
            (
                &lab.router,
                "rc",
                &["tso", "off", "gso", "off", "gro", "on"][..],
            ),
            (
                &lab.client,
                "c0",
                &["tso", "off", "gso", "off", "gro", "off"],
            ),
        ] {
            run_ok(ns, "ethtool", ["-K", device].iter().chain(features));
        }
        let _queue = receive_queue(&lab.router, "rc");
        let steer = Steer::new();
        steer.apply(&lab, &["--attach", kind]);
        let round = Round {
            lab: &lab,
            steer: &steer,
        };
        for address in lab.eni(1).both() {
            let client = lab.client_address(address);
            let there = SocketAddr::new(address, 7000);
            for upload in [false, true] {
                let what = format!("{kind}, {address}, upload: {upload}");
                let (then, now, wire, host) = round.of(|| {
                    let transfer = TcpTransfer::of(4 << 20);
                    let transfer = if upload { transfer.upload() } else { transfer };
                    let done = transfer.run(&lab.host, there, &lab.client, there);
                    assert!(done.complete, "{what}: {done:?}");
                });
                let (from, to, way) = if upload {
                    (client, address, Way::In)
                } else {
                    (address, client, Way::Out)
                };
                let is_super = |f: &&Frame| f.is_between(from, to) && f.gso_size > 0;
                assert!(
                    host.iter().filter(is_super).count() > 10,
                    "{what}: there are no super-packets to count right"
                );
                assert!(
                    !wire.iter().any(|f| f.gso_size > 0),
                    "{what}: super-packets on the wire"
                );
                let on_the_wire = sum(wire.iter().filter(|f| f.is_between(from, to)));
                let cell = |counters: &Counters| counters.cell(address, "eth1", way).passed;
                assert_eq!(minus(cell(&now), cell(&then)), on_the_wire, "{what}");
                // The totals are these packets and what else went by eth1 meanwhile.
                let outgoing = way == Way::Out;
                let all = sum(host.iter().filter(|f| f.is_outgoing() == outgoing));
                let total = |counters: &Counters| counters.total("eth1", way);
                assert_eq!(minus(total(&now), total(&then)), all, "{what}");
            }
        }
    }
}

/// totals = listed sources + other. If nothing is evicted and every header is complete, "other"
/// is zero and each row is right.
#[test]
fn counters_sum_and_each_row_is_right() {
    for mode in ["count", "steer"] {
        let lab = Lab::builder(Shape::SameSubnet)
            .peer()
            .offloads(false)
            .build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        steer.apply(&lab, &["--rules", "off", "--mode", mode]);
        mixed_traffic(&lab);
        let (before, _) = Counters::read_at_rest(&steer, &lab);
        let asked = |from: &eni_steer_tests::NetNs, to: IpAddr, count| {
            assert!(ping(from, None, to, count, BRIEFLY).all_answered());
        };
        for (index, times) in [(0, 11), (1, 13)] {
            for address in lab.eni(index).both() {
                asked(&lab.client, address, times);
                asked(lab.peer(), address, times + 100);
            }
        }
        let (after, _) = Counters::read_at_rest(&steer, &lab);
        for eni in ["eth0", "eth1"] {
            for way in Way::BOTH {
                for class in ["ipv4", "ipv6"] {
                    let (total, listed) =
                        (after.class(eni, way, class), after.listed(eni, way, class));
                    let other = after.other(eni, way, class);
                    assert_eq!(total, listed, "{mode} {eni} {way:?} {class}");
                    assert_eq!(other, Count::default(), "{mode} {eni} {way:?} {class}");
                }
                assert_eq!(
                    after.other(eni, way, "other"),
                    after.class(eni, way, "other")
                );
            }
        }
        for (index, times) in [(0, 11u64), (1, 13)] {
            let eni = lab.eni(index);
            for (address, client, peer) in [
                (
                    eni.v4().into(),
                    lab.client_v4().into(),
                    lab.peer_v4(0).into(),
                ),
                (
                    eni.v6().into(),
                    lab.client_v6().into(),
                    IpAddr::from(lab.peer_v6(0)),
                ),
            ] {
                // Ethernet, IP, ICMP and 56 bytes.
                let size = if IpAddr::is_ipv4(&address) {
                    14 + 20 + 8 + 56
                } else {
                    14 + 40 + 8 + 56
                };
                let exactly = |packets| Count {
                    packets,
                    bytes: packets * size,
                };
                let source = |who: IpAddr| {
                    let row = |counters: &Counters| counters.source(who, &eni.name, Way::In).0;
                    minus(row(&after), row(&before))
                };
                assert_eq!(
                    source(client),
                    exactly(times),
                    "{mode} {client} by {}",
                    eni.name
                );
                let from_peer = source(peer);
                if IpAddr::is_ipv4(&peer) {
                    assert_eq!(from_peer, exactly(times + 100), "{mode} {peer}");
                } else {
                    // Neighbour discovery uses that address too.
                    assert!(
                        from_peer.packets >= times + 100,
                        "{mode} {peer}: {from_peer:?}"
                    );
                }
                let cell = |eni: &str, way| {
                    let passed = |counters: &Counters| counters.cell(address, eni, way).passed;
                    minus(passed(&after), passed(&before))
                };
                let steered = |eni: &str| {
                    let steered =
                        |counters: &Counters| counters.cell(address, eni, Way::Out).steered;
                    minus(steered(&after), steered(&before))
                };
                if IpAddr::is_ipv6(&address) {
                    continue; // Neighbour discovery uses these addresses too.
                }
                let all = exactly(2 * times + 100);
                assert_eq!(cell(&eni.name, Way::In), all, "{mode} {address}");
                let (home, away, redirected) = match (index, mode) {
                    (0, _) => (all, None, Count::default()),
                    (_, "count") => (Count::default(), Some(all), Count::default()),
                    (_, _) => (all, Some(Count::default()), all),
                };
                assert_eq!(cell(&eni.name, Way::Out), home, "{mode} {address}");
                if let Some(away) = away {
                    assert_eq!(cell("eth0", Way::Out), away, "{mode} {address}");
                    assert_eq!(steered("eth0"), redirected, "{mode} {address}");
                }
            }
        }
    }
}

/// With more sources than the table can hold, the evicted ones count as "other", and everything
/// that is promised to be exact still is.
#[test]
fn a_flood_of_sources_takes_nothing_from_totals_and_cells() {
    let lab = Lab::builder(Shape::SameSubnet).offloads(false).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    inside(&lab, || {
        let mut policy = policy(&["eth0", "eth1"]);
        policy.sizes.sources_bytes = 64 << 10;
        let inside = Inside::look(&steer);
        let plan = Plan::between(&inside.desired(&policy), &inside.host);
        let host = LinuxExecutor::new(inside.netlink, inside.paths, &inside.host, &policy.sizes);
        let report = apply(&plan, &mut host.expect("a host"));
        assert!(report.is_complete(), "{:?}", report.failed);
    });
    let then = Counters::read_at_rest(&steer, &lab);
    let address: IpAddr = lab.eni(1).v4().into();
    let injector = Injector::new(&lab.router, "r1");
    const SOURCES: u32 = 5000;
    for n in 0..SOURCES {
        let source = std::net::Ipv4Addr::from(0x0b00_0000 + n);
        // To a closed port, so that answers leave too.
        let packet = Packet::udp(source.into(), address, 30).to(lab.eni(1).mac.0);
        injector.send(&packet.bytes());
    }
    let now = Counters::read_at_rest(&steer, &lab);
    let counted = minus(now.0.total("eth1", Way::In), then.0.total("eth1", Way::In));
    let device = minus(device(now.1[1], Way::In), device(then.1[1], Way::In));
    assert_eq!(counted, device);
    let cell = now.0.cell(address, "eth1", Way::In).passed;
    let size = 14 + 20 + 8 + 30;
    let all = Count {
        packets: SOURCES.into(),
        bytes: u64::from(SOURCES) * size,
    };
    assert_eq!(
        minus(cell, then.0.cell(address, "eth1", Way::In).passed),
        all
    );
    let (total, listed) = (
        now.0.class("eth1", Way::In, "ipv4"),
        now.0.listed("eth1", Way::In, "ipv4"),
    );
    let other = now.0.other("eth1", Way::In, "ipv4");
    assert!(
        other.packets > 0,
        "nothing was evicted: {listed:?} of {total:?}"
    );
    assert!(listed.packets > 0, "everything was evicted");
    assert_eq!(minus(total, listed), other);
    let maps = now.0.report()["maps"].as_array().expect("maps");
    let sources = maps.iter().find(|map| {
        map["name"]
            .as_str()
            .is_some_and(|n| n.eq_ignore_ascii_case("sources"))
    });
    let sources = sources.unwrap_or_else(|| panic!("no table of sources in {maps:?}"));
    assert!(
        sources["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes <= 80 << 10),
        "{sources}"
    );
}

#[test]
fn counters_go_on_when_apply_runs_again() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off"]);
    let address: IpAddr = lab.eni(1).v4().into();
    assert!(ping(&lab.client, None, address, 5, BRIEFLY).all_answered());
    steer.apply(&lab, &["--mode", "steer"]);
    steer.apply(&lab, &["--attach", "clsact"]);
    assert!(ping(&lab.client, None, address, 5, BRIEFLY).all_answered());
    let counters = Counters::read(&steer, &lab);
    assert_eq!(counters.cell(address, "eth1", Way::In).passed.packets, 10);
    let cell = counters.cell(address, "eth0", Way::Out);
    assert_eq!((cell.passed.packets, cell.steered.packets), (5, 5));
}

#[test]
fn the_table_shows_what_the_report_says() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "steer"]);
    let address: IpAddr = lab.eni(1).v4().into();
    assert!(ping(&lab.client, None, address, 7, BRIEFLY).all_answered());
    let shown = steer.ok(&lab, &["counters"]);
    let row = |words: &[&str]| {
        let mut lines = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(
            lines.any(|line| line.starts_with(words)),
            "no {words:?} in\n{shown}"
        );
    };
    row(&["172.16.20.177", "eth1", "eth1", "in", "7"]);
    row(&["172.16.20.177", "eth1", "eth1", "out", "7"]);
    row(&["192.0.2.10", "eth1", "in", "7"]);
    // Only the ENI that was named.
    let one = steer.ok(&lab, &["counters", "--eni", "eth0"]);
    assert!(one.contains("eth0") && !one.contains("192.0.2.10"), "{one}");
    steer
        .run(&lab, &["counters", "--eni", "eth7"])
        .expect_code(8)
        .stderr
        .contains("eth7");
    // A window shows only what happened in it.
    let quiet = steer.json(&lab, &["counters", "--window", "50ms"]);
    assert!(quiet["since"].is_object(), "{quiet:#}");
}
