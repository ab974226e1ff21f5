//! Checks where a steered packet goes. A test run does not show that, so these packets leave by
//! real devices, whose neighbours have different addresses.

use std::{collections::BTreeMap, net::IpAddr};

use eni_steer_core::model::{Datapath, Direction, EniRow, IfIndex, Mode, NextHop, Owner, Settings};
use eni_steer_linux::{
    bpf::{self, Limits, Maps, PinRoot},
    netlink::Netlink,
};
use eni_steer_tests::{Bpffs, Capture, Injector, Mac, NetNs, packets, run_ok, write_sysctl};
use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample, test_runner::TestCaseError};

use super::{
    generate::Scenario,
    judge::Judge,
    ledger::Ledger,
    probe::{Answer, Probe},
    runner,
    tell::tell,
};
use crate::bench::*;

const DEVICES: [u32; 3] = [HERE, THERE, ELSEWHERE];

/// Neighbours on each device: gateways, and hosts that can be on the link.
const NEIGHBOURS: [&str; 10] = [
    "172.16.20.253",
    "172.16.20.252",
    "fd00:20::253",
    "fe80::1",
    FAR4,
    FAR6,
    "8.8.8.8",
    "172.16.20.50",
    "2001:db8:2::10",
    "fd00:20::50",
];

const PREFIXES: [&str; 9] = [
    "0.0.0.0/0",
    "192.0.2.0/24",
    "8.0.0.0/8",
    "172.16.20.0/24",
    "8.8.8.8/32",
    "::/0",
    "2001:db8::/32",
    "2001:db8:2::/48",
    "fd00:20::/64",
];

/// Returns the MAC address of a neighbour on a device.
fn mac(device: u32, neighbour: IpAddr) -> Mac {
    let number = NEIGHBOURS.iter().position(|known| ip(known) == neighbour);
    let number = number.unwrap_or_else(|| panic!("{neighbour} is no neighbour"));
    Mac([2, 0xee, 0, 0, device as u8, number as u8])
}

/// Makes the devices eth101 to eth103 with their neighbours; what leaves by them arrives at
/// far101 ...
fn cables(ns: &NetNs) {
    write_sysctl(ns, "net/ipv6/conf/default/accept_dad", 0);
    for device in DEVICES {
        let (eth, far, number) = (eth(device), far(device), device.to_string());
        let link = [
            "link", "add", &eth, "index", &number, "type", "veth", "peer", &far,
        ];
        run_ok(ns, "ip", link);
        for end in [&eth, &far] {
            run_ok(ns, "ip", ["link", "set", end, "up"]);
        }
        for neighbour in NEIGHBOURS {
            let mac = mac(device, ip(neighbour)).to_string();
            let add = [
                "neigh",
                "add",
                neighbour,
                "lladdr",
                &mac,
                "nud",
                "permanent",
                "dev",
                &eth,
            ];
            run_ok(ns, "ip", add);
        }
    }
}

fn eth(device: u32) -> String {
    format!("eth{device}")
}

fn far(device: u32) -> String {
    format!("far{device}")
}

fn hop() -> impl Strategy<Value = NextHop> {
    let gateway = sample::select(&NEIGHBOURS[..4]).prop_map(via);
    prop_oneof![
        2 => Just(NextHop::OnLink { mtu: None }),
        4 => gateway,
        1 => Just(NextHop::Refuse),
    ]
}

/// Generates the routes of two ENIs, few enough for a short table or too many for it.
fn routes() -> impl Strategy<Value = BTreeMap<(IfIndex, IpNet), NextHop>> {
    let table = || vec(option::weighted(0.6, hop()), PREFIXES.len());
    (table(), table()).prop_map(|tables| {
        let of = |eni: u32, table: Vec<Option<NextHop>>| {
            let routes = PREFIXES.iter().zip(table);
            routes.filter_map(move |(prefix, hop)| Some(((index(eni), net(prefix)), hop?)))
        };
        of(THERE, tables.0).chain(of(ELSEWHERE, tables.1)).collect()
    })
}

/// Generates a host that steers, and packets to its neighbours, each with a number.
fn scenario() -> impl Strategy<Value = Scenario> {
    let owner = || sample::select(&[THERE, ELSEWHERE][..]).prop_map(|eni| Owner::Eni(index(eni)));
    let far = sample::select(&NEIGHBOURS[4..]);
    (routes(), owner(), owner(), vec(far, 1..12)).prop_map(|(next_hops, of_v4, of_v6, far)| {
        let enis = [(HERE, 1), (THERE, 2), (ELSEWHERE, 3)];
        let settings = Settings {
            events_per_second: 0,
            ..Settings::default()
        };
        Scenario {
            tables: Datapath {
                settings: Some(settings),
                enis: enis
                    .map(|(eni, last)| (index(eni), row(last, Mode::Steer)))
                    .into(),
                owners: [(net(THEIRS4), of_v4), (net(THEIRS6), of_v6)].into(),
                next_hops,
                ..Datapath::default()
            },
            probes: far
                .into_iter()
                .enumerate()
                .map(|(number, far)| probe(number, ip(far)))
                .collect(),
        }
    })
}

fn probe(number: usize, far: IpAddr) -> Probe {
    let source = ip(if far.is_ipv4() { THEIRS4 } else { THEIRS6 });
    let payload = packets::udp(PORT, number as u16, 20);
    Probe {
        direction: Direction::Egress,
        metadata: Metadata::default(),
        tag_beside: None,
        frame: packets::ip(source, far, packets::protocol::UDP, payload).bytes(),
    }
}

/// The port that distinguishes the test's packets from all others.
const PORT: u16 = 0x5afe;

/// Returns the number of a packet of the test.
fn number(frame: &[u8]) -> Option<u16> {
    let udp = match frame.get(12..14)? {
        [0x08, 0x00] => 34,
        _ => 54,
    };
    let ports = frame.get(udp..udp + 4)?;
    let [a, b, c, d] = ports.try_into().ok()?;
    (u16::from_be_bytes([a, b]) == PORT).then_some(u16::from_be_bytes([c, d]))
}

/// Sends the packets, and compares by which device and to which neighbour each has left.
fn try_out(ns: &NetNs, scenario: &Scenario) -> Result<(), TestCaseError> {
    let judge = Judge::new(&scenario.tables);
    let mut ledger = Ledger::default();
    let captures = DEVICES.map(|device| (device, Capture::start(ns, &far(device))));
    let injector = Injector::new(ns, &eth(HERE));
    let mut right = BTreeMap::new();
    for (number, probe) in scenario.probes.iter().enumerate() {
        let station: [u8; 6] = probe.frame[..6].try_into().expect("six bytes");
        let way = match judge.packet(probe, &mut ledger).0 {
            Answer::Next => Some((HERE, Mac(station))),
            Answer::Drop => None,
            Answer::Redirect(eni, neighbour) => Some((eni.get(), mac(eni.get(), neighbour))),
        };
        right.extend(way.map(|way| (number as u16, way)));
        injector.send(&probe.frame);
    }
    let mut seen = BTreeMap::new();
    for (device, capture) in captures {
        for frame in capture
            .stop()
            .into_iter()
            .filter(|frame| !frame.is_outgoing())
        {
            let number = number(&frame.data);
            seen.extend(number.map(|number| (number, (device, frame.dst_mac()))));
        }
    }
    prop_assert_eq!(
        seen,
        right,
        "device and MAC address by number (left: on the wire)"
    );
    Ok(())
}

#[test]
fn a_steered_packet_leaves_by_the_device_and_to_the_neighbour_that_the_model_says() {
    let ns = NetNs::new("host");
    cables(&ns);
    ns.clone().run(|| {
        let bpffs = Bpffs::mount_private();
        let root = PinRoot::here(bpffs.path()).expect("a namespace");
        let mut maps = Maps::create(&root, &Limits::default()).expect("maps");
        let mut told = Datapath::default();
        let row: EniRow = row(1, Mode::Steer);
        maps.set_eni(index(HERE), Some(&row)).expect("an ENI");
        let netlink = Netlink::open().expect("netlink");
        let eth = index(HERE);
        let attached = bpf::attach(&mut maps, &netlink, eth, Direction::Egress, None, 0);
        attached.unwrap_or_else(|e| panic!("{e:?}"));
        let maps = std::cell::RefCell::new((&mut maps, &mut told));
        let ran = runner(40, None).run(&scenario(), |scenario| {
            let (maps, told) = &mut *maps.borrow_mut();
            tell(maps, told, &scenario.tables);
            told.clone_from(&scenario.tables);
            try_out(&ns, &scenario)
        });
        if let Err(difference) = ran {
            panic!("{difference}");
        }
    });
}
