//! The lab keeps its own promises: what it shows is what the kernel did.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use eni_steer_tests::{
    Background, Bpffs, Call, Capture, DefaultRoute, Exchange, Injector, Lab, PacketType, Ping,
    Shape, UdpServer, Until, VlanTag, assert_unchanged, diff, dump, eventually, flush_neighbours,
    neighbours, ping, read_sysctl, run, run_ok, tcp_transfer, udp_blast, udp_exchange,
};

const BRIEFLY: Duration = Duration::from_millis(5);

fn three_pings(lab: &Lab, to: IpAddr) -> Exchange {
    ping(&lab.client, None, to, 3, BRIEFLY)
}

#[test]
fn the_lab_shows_the_asymmetry_without_policy() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).build();
        let _report = lab.on_failure_print();
        for address in lab.eni(1).both() {
            let (before0, before1) = (lab.router_seen(0), lab.router_seen(1));
            assert!(
                three_pings(&lab, address).all_answered(),
                "{shape:?} {address}"
            );
            let on_eth0 = lab.router_seen(0).since(before0);
            let on_eth1 = lab.router_seen(1).since(before1);
            assert_eq!(on_eth0.wrong.packets, 3, "{shape:?} {address}");
            assert_eq!(on_eth0.right.packets, 0, "{shape:?} {address}");
            assert_eq!(on_eth1.wrong.packets + on_eth1.right.packets, 0);
        }
    }
}

#[test]
fn requests_arrive_at_the_eni_they_are_addressed_to() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).build();
        for index in [0, 1] {
            let eni = lab.eni(index);
            for address in eni.both() {
                let capture = Capture::start(&lab.host, &eni.name);
                assert!(three_pings(&lab, address).all_answered());
                let client = lab.client_address(address);
                let requests: Vec<_> = capture
                    .stop()
                    .into_iter()
                    .filter(|f| f.is_between(client, address))
                    .collect();
                assert_eq!(requests.len(), 3, "{shape:?} {address}");
                for request in requests {
                    assert_eq!(request.dst_mac(), eni.mac);
                    assert_eq!(request.src_mac(), eni.gateway_mac);
                    assert_eq!(request.packet_type, PacketType::Host);
                }
            }
        }
    }
}

#[test]
fn the_textbook_rule_cures_it() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).build();
        let _report = lab.on_failure_print();
        lab.textbook_cure(1);
        for address in lab.eni(1).both() {
            let (before0, before1) = (lab.router_seen(0), lab.router_seen(1));
            assert!(
                three_pings(&lab, address).all_answered(),
                "{shape:?} {address}"
            );
            assert_eq!(lab.router_seen(0).since(before0), Default::default());
            let on_eth1 = lab.router_seen(1).since(before1);
            assert_eq!((on_eth1.right.packets, on_eth1.wrong.packets), (3, 0));
        }
    }
}

#[test]
fn a_dropping_source_check_makes_the_asymmetry_a_loss() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    for address in lab.eni(1).both() {
        let lost = Ping::to(address)
            .count(3)
            .patience(Duration::from_millis(100))
            .run(&lab.client);
        assert_eq!((lost.sent, lost.received), (3, 0));
    }
    assert_eq!(lab.router_seen(0).wrong.packets, 6);
    lab.textbook_cure(1);
    for address in lab.eni(1).both() {
        assert!(three_pings(&lab, address).all_answered());
    }
}

#[test]
fn the_textbook_rule_breaks_a_container() {
    let lab = Lab::builder(Shape::SameSubnet).masquerade().build();
    let _report = lab.on_failure_print();
    let reaches = |address: IpAddr| {
        let there = SocketAddr::new(address, 8080);
        tcp_transfer(&lab.host, there, lab.container(), there, 1000)
    };
    for address in lab.eni(1).both() {
        assert!(reaches(address).complete, "{address} before the rule");
    }
    lab.textbook_cure(1);
    for address in lab.eni(1).both() {
        let there = SocketAddr::new(address, 8080);
        let transfer = eni_steer_tests::TcpTransfer::of(1000)
            .timeout(Duration::from_millis(500))
            .run(&lab.host, there, lab.container(), there);
        assert!(!transfer.connected, "{address}: {transfer:?}");
    }
    // The rule is the cause: an address without one still answers.
    for address in lab.eni(0).both() {
        assert!(reaches(address).complete, "{address}");
    }
}

#[test]
fn a_container_reaches_the_client_behind_the_masquerade() {
    let lab = Lab::builder(Shape::DifferentSubnets).masquerade().build();
    for to in [IpAddr::from(lab.client_v4()), lab.client_v6().into()] {
        assert!(
            ping(lab.container(), None, to, 3, BRIEFLY).all_answered(),
            "{to}"
        );
    }
    assert_eq!(lab.router_seen(0).wrong.packets, 0);
    assert_eq!(lab.router_seen(0).right.packets, 6);
}

#[test]
fn a_peer_is_on_link_in_every_subnet() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).peer().build();
        let _report = lab.on_failure_print();
        for index in [0, 1] {
            let eni = lab.eni(index);
            for (address, peer) in [
                (IpAddr::from(eni.v4()), IpAddr::from(lab.peer_v4(index))),
                (eni.v6().into(), lab.peer_v6(index).into()),
            ] {
                let capture = Capture::start(&lab.host, &eni.name);
                let told = ping(lab.peer(), Some(peer), address, 3, BRIEFLY);
                assert!(told.all_answered(), "{shape:?} {peer} -> {address}");
                let asked = capture
                    .stop()
                    .into_iter()
                    .filter(|f| f.is_between(peer, address) && f.is_echo_request());
                assert_eq!(asked.count(), 3, "{shape:?} {peer} -> {address}");
            }
        }
        let client = lab.client_v4().into();
        assert!(ping(lab.peer(), None, client, 1, BRIEFLY).all_answered());
    }
}

#[test]
fn default_routes_are_as_ordered() {
    let count = |which| {
        let lab = Lab::builder(Shape::DifferentSubnets)
            .default_route(which)
            .build();
        ["-4", "-6"].map(|family| {
            run_ok(&lab.host, "ip", [family, "route", "show", "default"])
                .lines()
                .count()
        })
    };
    assert_eq!(count(DefaultRoute::Eth0), [1, 1]);
    assert_eq!(count(DefaultRoute::AllWithMetric(200)), [2, 2]);
    assert_eq!(count(DefaultRoute::Absent), [0, 0]);
}

#[test]
fn many_enis_with_many_addresses_answer_at_each() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .enis(15)
        .addresses(50)
        .build();
    for eni in lab.enis() {
        for address in [
            eni.v4s[0].into(),
            eni.v4s[49].into(),
            IpAddr::from(eni.v6s[49]),
        ] {
            assert!(
                ping(&lab.client, None, address, 1, BRIEFLY).all_answered(),
                "{address}"
            );
        }
    }
}

#[test]
fn an_allowed_address_or_prefix_is_right_and_reachable() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    lab.textbook_cure(1);
    for (allowed, address, rule) in [
        ("172.16.20.200", "172.16.20.200", "172.16.20.200"),
        ("198.51.100.0/28", "198.51.100.5", "198.51.100.0/28"),
        ("fd00:99::/80", "fd00:99::5", "fd00:99::/80"),
    ] {
        lab.allow(1, allowed);
        let family = if address.contains(':') { "-6" } else { "-4" };
        run_ok(&lab.host, "ip", ["address", "add", address, "dev", "lo"]);
        run_ok(
            &lab.host,
            "ip",
            [family, "rule", "add", "from", rule, "lookup", "1001"],
        );
        let to = address.parse().expect("an address");
        // The kernel adds its own route for an IPv6 address some time after the address.
        let answered = || ping(&lab.client, None, to, 1, BRIEFLY).all_answered();
        assert!(eventually(Duration::from_secs(5), answered), "{address}");
        let before = lab.router_seen(1);
        let told = three_pings(&lab, to);
        assert!(told.all_answered(), "{address} {told:?}");
        let seen = lab.router_seen(1).since(before);
        assert_eq!(
            (seen.right.packets, seen.wrong.packets),
            (3, 0),
            "{address}"
        );
    }
}

#[test]
fn labs_run_in_parallel() {
    std::thread::scope(|scope| {
        for i in 0..6 {
            let shape = Shape::ALL[i % 2];
            scope.spawn(move || {
                let lab = Lab::builder(shape).peer().container().build();
                for address in lab.eni(1).both() {
                    assert!(
                        three_pings(&lab, address).all_answered(),
                        "{shape:?} {address}"
                    );
                }
                assert_eq!(lab.router_seen(0).wrong.packets, 6);
            });
        }
    });
}

/// A namespace that is gone takes its devices with it, and so a cable whose far end was in it.
#[test]
fn nothing_remains_after_a_panic() {
    let watched = eni_steer_tests::NetNs::new("watched");
    let links = |ns| run_ok(ns, "ip", ["-o", "link", "show"]);
    let before = links(&watched);
    let outcome = std::panic::catch_unwind(|| {
        let lab = Lab::builder(Shape::SameSubnet).build();
        let path = lab.host.path();
        run_ok(
            &watched,
            "ip",
            [
                "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &path,
            ],
        );
        assert!(links(&watched).contains("near"));
        panic!("on purpose");
    });
    let message = outcome.expect_err("it panicked");
    assert_eq!(message.downcast_ref(), Some(&"on purpose"));
    assert!(
        eventually(Duration::from_secs(5), || links(&watched) == before),
        "{}",
        links(&watched)
    );
}

#[test]
fn the_machine_outside_is_untouched() {
    let outside = || {
        let output = Command::new("sh")
            .args(["-c", "ip -o link; ip rule; ip -6 rule; ip route; ls /run/netns 2>/dev/null; cat /proc/sys/net/ipv4/ip_forward"])
            .output()
            .expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = outside();
    let lab = Lab::builder(Shape::SameSubnet).masquerade().build();
    assert_eq!(outside(), before);
    assert_eq!(read_sysctl(&lab.host, "net.ipv4.ip_forward"), "1");
    drop(lab);
    assert_eq!(outside(), before);
}

#[test]
fn a_capture_sees_every_injected_frame_in_order() {
    const FRAMES: u32 = 100_000;
    let lab = Lab::builder(Shape::SameSubnet).build();
    let mut frame = experimental(&lab);
    let there = Capture::start(&lab.host, "eth1");
    let here = Capture::start(&lab.router, "r1");
    let injector = Injector::new(&lab.router, "r1");
    for n in 0..FRAMES {
        frame[14..18].copy_from_slice(&n.to_be_bytes());
        injector.send(&frame);
    }
    for (capture, way) in [(there, PacketType::Host), (here, PacketType::Outgoing)] {
        let numbers: Vec<u32> = capture
            .stop()
            .iter()
            .filter(|f| f.ether_type().0 == EXPERIMENTAL && f.packet_type == way)
            .map(|f| u32::from_be_bytes(f.data[14..18].try_into().expect("four bytes")))
            .collect();
        assert_eq!(numbers.len(), FRAMES as usize);
        assert!(numbers.is_sorted());
    }
}

/// IEEE's first EtherType for experiments.
const EXPERIMENTAL: u16 = 0x88b5;

/// Returns a frame from the gateway to eth1 that no protocol reacts to.
fn experimental(lab: &Lab) -> Vec<u8> {
    let eni = lab.eni(1);
    let mut frame = Vec::from(eni.mac.0);
    frame.extend(eni.gateway_mac.0);
    frame.extend(EXPERIMENTAL.to_be_bytes());
    frame.resize(64, 0);
    frame
}

#[test]
fn a_capture_shows_vlan_tags_as_they_are_on_the_wire() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let mut tagged = experimental(&lab);
    tagged.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
    let capture = Capture::start(&lab.host, "eth1");
    eni_steer_tests::inject(&lab.router, "r1", &tagged);
    let frames = capture.stop();
    let frame = frames
        .iter()
        .find(|f| f.ether_type().0 == EXPERIMENTAL)
        .expect("the frame");
    assert_eq!(frame.data, tagged);
    let tag = VlanTag {
        tpid: 0x8100,
        tci: 0x2007,
    };
    assert_eq!(frame.stripped_vlan, Some(tag));
}

#[test]
fn device_counters_are_those_of_the_frames() {
    let lab = Lab::builder(Shape::SameSubnet).offloads(false).build();
    let counters = || lab.device_counters(&lab.host, "eth0");
    let transfers = || {
        for address in lab.eni(0).both() {
            let there = SocketAddr::new(address, 5000);
            assert!(tcp_transfer(&lab.host, there, &lab.client, there, 1 << 20).complete);
        }
        let mut last = counters();
        let still = || {
            std::thread::sleep(Duration::from_millis(50));
            std::mem::replace(&mut last, counters()) == last
        };
        assert!(eventually(Duration::from_secs(10), still));
    };
    // No frame (for example a multicast report of IPv6) may be on its way while the capture
    // begins or ends: only one of the two counts would include it.
    let undisturbed = || {
        let (outer, capture, inner) = (counters(), Capture::start(&lab.host, "eth0"), counters());
        transfers();
        let (counted, frames) = (counters(), capture.stop());
        let quiet = outer == inner && counted == counters();
        quiet.then(|| (counted.since(inner), frames))
    };
    let measured = (0..10).find_map(|_| undisturbed());
    let (counted, frames) = measured.expect("there is a quiet moment");
    let (sent, received): (Vec<_>, Vec<_>) = frames.iter().partition(|f| f.is_outgoing());
    let bytes =
        |of: &[&eni_steer_tests::Frame]| of.iter().map(|f| f.data.len() as u64).sum::<u64>();
    assert_eq!(
        (sent.len() as u64, bytes(&sent)),
        (counted.tx_packets, counted.tx_bytes)
    );
    assert_eq!(
        (received.len() as u64, bytes(&received)),
        (counted.rx_packets, counted.rx_bytes)
    );
    assert!(
        frames
            .iter()
            .all(|f| f.gso_size == 0 && f.data.len() <= 1514)
    );
}

#[test]
fn super_packets_report_their_segments() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let capture = Capture::start(&lab.host, "eth0");
    let there = SocketAddr::new(lab.eni(0).v4().into(), 5000);
    assert!(tcp_transfer(&lab.host, there, &lab.client, there, 1 << 20).complete);
    let frames = capture.stop();
    let sent: Vec<_> = frames.iter().filter(|f| f.is_outgoing()).collect();
    assert!(sent.iter().any(|f| f.gso_size > 0), "offloads are on");
    let wire: u64 = sent.iter().map(|f| f.on_the_wire().0).sum();
    // 1 MiB in segments of at most 1448 bytes, a handshake and a close.
    assert!((725..800).contains(&wire), "{wire} of {}", sent.len());
}

#[test]
fn udp_tools_count_what_they_do() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    for address in lab.eni(0).both() {
        let server = UdpServer::echo(&lab.host, SocketAddr::new(address, 7));
        let told = udp_exchange(
            &lab.client,
            None,
            server.address(),
            20,
            Duration::from_millis(1),
        );
        assert!(told.all_answered(), "{told:?}");
        let client = lab.client_address(address);
        assert_eq!(server.received_by_source().get(&client), Some(&20));
    }
    let sink = UdpServer::sink(&lab.client, SocketAddr::new(lab.client_v4().into(), 9));
    let blast = udp_blast(&lab.host, None, &[sink.address()], 100, Until::Count(1000));
    assert_eq!((blast.sent, blast.refused), (1000, 0));
    assert!(eventually(Duration::from_secs(1), || sink.received() == 1000));
    assert_eq!(lab.router_seen(0).right.packets, 1000 + 40);
}

#[test]
fn a_transfer_reports_how_far_it_got() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let there = SocketAddr::new(lab.eni(0).v4().into(), 5000);
    let up = eni_steer_tests::TcpTransfer::of(300_000)
        .upload()
        .from(lab.client_v4())
        .run(&lab.host, there, &lab.client, there);
    assert!(up.complete, "{up:?}");
    assert_eq!(up.client_seen.map(|a| a.ip()), Some(lab.client_v4().into()));
    let closed = SocketAddr::new(there.ip(), 5001);
    let refused = tcp_transfer(&lab.host, there, &lab.client, closed, 10);
    assert!(!refused.connected && !refused.complete);
    assert!(refused.error.is_some_and(|e| e.starts_with("client: ")));
}

#[test]
fn unreachable_is_reported_as_an_error() {
    let lab = Lab::builder(Shape::SameSubnet)
        .default_route(DefaultRoute::Absent)
        .build();
    let told = ping(&lab.host, None, lab.client_v4().into(), 1, BRIEFLY);
    assert_eq!(told.errors, [std::io::ErrorKind::NetworkUnreachable]);
    assert!(told.none_answered());
}

#[test]
fn neighbour_tables_start_empty_and_can_be_emptied() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let gateways = [
        IpAddr::from(lab.eni(0).gateway_v4),
        lab.eni(0).gateway_v6.into(),
    ];
    let known = || {
        let seen = neighbours(&lab.host);
        gateways.map(|g| seen.iter().any(|n| n.address == g && n.lladdr.is_some()))
    };
    assert_eq!(known(), [false, false]);
    for address in lab.eni(0).both() {
        assert!(three_pings(&lab, address).all_answered());
    }
    assert_eq!(known(), [true, true]);
    flush_neighbours(&lab.host);
    assert_eq!(known(), [false, false]);
}

#[test]
fn a_dump_is_the_same_until_something_is_changed() {
    let lab = Lab::builder(Shape::DifferentSubnets).masquerade().build();
    let before = dump(&lab.host);
    for address in lab.eni(1).both() {
        assert!(three_pings(&lab, address).all_answered());
    }
    assert_unchanged(&before, &lab.dump(&lab.host));

    for (change, undo, shown) in [
        (
            "ip rule add pref 100 lookup main",
            "ip rule del pref 100",
            "+ 100:\tfrom all lookup main",
        ),
        (
            "ip -6 rule add pref 101 lookup main",
            "ip -6 rule del pref 101",
            "+ 101:\tfrom all lookup main",
        ),
        (
            "ip route add 203.0.113.0/24 via 172.16.21.253 table 77",
            "ip route flush table 77",
            "+ 203.0.113.0/24",
        ),
        (
            "ip link set eth1 group 5",
            "ip link set eth1 group default",
            "group 5",
        ),
        (
            "tc qdisc add dev eth1 clsact",
            "tc qdisc del dev eth1 clsact",
            "+ qdisc clsact",
        ),
        (
            "ip address add 10.1.1.1/32 dev eth1",
            "ip address del 10.1.1.1/32 dev eth1",
            "10.1.1.1/32",
        ),
        (
            "nft add table ip foreign",
            "nft delete table ip foreign",
            "+ table ip foreign",
        ),
    ] {
        let shell = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            run_ok(&lab.host, words[0], &words[1..]);
        };
        shell(change);
        let difference = diff(&before, &dump(&lab.host));
        assert!(difference.contains(shown), "{change}:\n{difference}");
        shell(undo);
        assert_unchanged(&before, &dump(&lab.host));
    }
    eni_steer_tests::write_sysctl(&lab.host, "net.ipv4.conf.eth1.rp_filter", 2);
    assert_eq!(
        diff(&before, &dump(&lab.host)),
        "== sysctl\n- net/ipv4/conf/eth1/rp_filter = 0\n+ net/ipv4/conf/eth1/rp_filter = 2\n"
    );
}

#[test]
fn a_filter_on_either_hook_is_in_the_dump() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    run_ok(&lab.host, "tc", ["qdisc", "add", "dev", "eth1", "clsact"]);
    let before = dump(&lab.host);
    for hook in ["ingress", "egress"] {
        // One instruction of classic BPF: "does not match".
        let add = ["filter", "add", "dev", "eth1", hook, "prio", "7"];
        let program = ["bpf", "bytecode", "1,6 0 0 0"];
        run_ok(&lab.host, "tc", add.into_iter().chain(program));
        let difference = diff(&before, &dump(&lab.host));
        assert!(difference.contains("pref 7 bpf"), "{hook}: {difference}");
        run_ok(
            &lab.host,
            "tc",
            ["filter", "del", "dev", "eth1", hook, "prio", "7"],
        );
        assert_unchanged(&before, &dump(&lab.host));
    }
}

#[test]
fn programs_run_where_they_are_sent_and_end_in_time() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let shown = run(&lab.host, "ip", ["-br", "link"]).expect_success();
    assert!(shown.stdout.contains("eth1"));
    let failed = run(&lab.host, "ip", ["link", "show", "nosuch"]).expect_code(1);
    assert!(failed.stderr.contains("nosuch"));
    let late = Call::new("sleep")
        .arg("30")
        .timeout(Duration::from_millis(50))
        .run(&lab.host);
    assert!(late.timed_out && !late.success());
    assert!(late.elapsed < Duration::from_secs(2), "{late}");
    let long = "line\n".repeat(100_000);
    let copied = Call::new("cat")
        .stdin(long.clone())
        .run(&lab.host)
        .expect_success();
    assert!(copied.stdout == long);
}

#[test]
fn the_output_of_a_background_program_is_read_and_it_is_killed() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let mut echo = Call::new("sh")
        .args(["-c", "echo out; echo err >&2; exec sleep 30"])
        .start_in_background(&lab.host);
    assert!(eventually(Duration::from_secs(2), || echo.output() == "out\nerr\n"));
    let gone = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    let pid = echo.pid();
    assert!(echo.ended().is_none());
    drop::<Background>(echo);
    assert!(gone(pid));
}

#[test]
fn a_private_bpffs_is_seen_by_children_and_leaves_no_trace() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let bpffs = Bpffs::mount_private();
    let path = bpffs.path().to_owned();
    let inside = path.join("inside");
    run_ok(&lab.host, "mkdir", [&inside]);
    assert_eq!(bpffs.pins(), ["inside"]);
    let mounts = || std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let name = path.to_string_lossy().into_owned();
    assert!(mounts().contains(&name));
    drop(bpffs);
    assert!(!mounts().contains(&name));
    assert!(!path.exists());
}

#[test]
fn a_failure_report_shows_the_host() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let text = lab.on_failure_print().text();
    for shown in [
        "lookup main",
        "default via 172.16.20.253",
        "eth1",
        "wrong_1",
    ] {
        assert!(text.contains(shown), "{shown}:\n{text}");
    }
}
