//! What the counters promise about each other.

use eni_steer_common::Class;
use eni_steer_core::{
    counters::Count,
    model::{Direction, Mode, Owner},
};
use eni_steer_linux::bpf::Limits;
use eni_steer_tests::packets::{ARP, Packet};

use crate::bench::*;

const CLASSES: [Class; 3] = [Class::Ipv4, Class::Ipv6, Class::Other];

/// Sends a mixture in both directions; returns how many packets no source lists.
fn mixture(bench: &Bench, rounds: u8) {
    for round in 0..rounds {
        let far = format!("192.0.2.{round}");
        let owned = [
            OWN4,
            THEIRS4,
            "172.16.20.33",
            "172.16.20.70",
            "172.17.0.2",
            "0.0.0.0",
        ];
        for local in owned {
            let out = Packet::udp(ip(local), ip(&far), 12 + usize::from(round)).bytes();
            bench.run(Direction::Egress, &out, Metadata::default());
            bench.run(Direction::Egress, &wrong_version(&out), Metadata::default());
            let inward = Packet::udp(ip(&far), ip(local), usize::from(round)).bytes();
            bench.run(Direction::Ingress, &inward, Metadata::default());
        }
        for local in [OWN6, THEIRS6, "fe80::7", "::"] {
            let out = Packet::udp(ip(local), ip(FAR6), 12 + usize::from(round)).bytes();
            bench.run(Direction::Egress, &out, Metadata::default());
            let inward = Packet::udp(ip(FAR6), ip(local), usize::from(round)).bytes();
            bench.run(Direction::Ingress, &inward, Metadata::default());
            bench.run(
                Direction::Ingress,
                &wrong_version(&inward),
                Metadata::default(),
            );
        }
        let arp = Packet::new(ARP, vec![0; 28]).bytes();
        bench.run(Direction::Egress, &arp, Metadata::default());
        bench.run(Direction::Ingress, &arp, Metadata::default());
    }
}

fn wrong_version(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet[..54].to_vec();
    packet[14] = 0;
    packet
}

#[test]
fn totals_are_listed_sources_and_other() {
    for mode in [Mode::Count, Mode::Steer, Mode::Drop] {
        let mut bench = Bench::new(mode);
        for (prefix, owner) in [
            ("172.16.20.32/28", Owner::Eni(index(HERE))),
            ("172.16.20.64/28", Owner::Eni(index(THERE))),
            ("172.17.0.2", Owner::Ambiguous),
        ] {
            bench
                .maps
                .set_owner(net(prefix), Some(owner))
                .expect("an owner");
        }
        mixture(&bench, 20);
        let snapshot = bench.read();
        let here = snapshot.interface(index(HERE)).expect("this ENI");
        for direction in [Direction::Ingress, Direction::Egress] {
            for class in CLASSES {
                let total = here.totals.get(direction).get(class);
                let listed = snapshot.listed(here.id, direction, class);
                let other = snapshot.other(here.id, direction, class).expect("this ENI");
                assert_eq!(
                    total,
                    listed.wrapping_add(other),
                    "{mode:?} {direction:?} {class:?}"
                );
                assert!(total.packets > 0, "{mode:?} {direction:?} {class:?}");
                // Of the IP packets, "other" is what was malformed: nothing is missing and
                // nothing counted twice.
                let malformed = match (direction, class) {
                    (Direction::Egress, Class::Ipv4) => Count {
                        packets: 120,
                        bytes: 120 * 54,
                    },
                    (Direction::Ingress, Class::Ipv6) => Count {
                        packets: 80,
                        bytes: 80 * 54,
                    },
                    (_, Class::Other) => Count {
                        packets: 20,
                        bytes: 20 * 42,
                    },
                    _ => Count::default(),
                };
                assert_eq!(other, malformed, "{mode:?} {direction:?} {class:?}");
            }
        }
        assert!(here.losses.is_empty() || here.losses.contains_key("event-rate-limited"));
    }
}

#[test]
fn totals_stay_exact_when_the_source_table_overflows() {
    let limits = Limits {
        source_bytes: 64 * 1024,
        ..Limits::default()
    };
    let bench = Bench::with_limits(Mode::Count, &limits);
    let capacity = bench
        .maps
        .memory()
        .expect("memory")
        .iter()
        .find(|map| map.name == "SOURCES")
        .map(|map| map.capacity)
        .expect("there is such a map");
    let sources = 10 * capacity;
    for number in 0..sources {
        let [a, b, c, d] = (0x0b00_0000 + number).to_be_bytes();
        let packet = Packet::udp([a, b, c, d].into(), ip(OWN4), 0).bytes();
        bench.run(Direction::Ingress, &packet, Metadata::default());
    }
    let snapshot = bench.read();
    let here = snapshot.interface(index(HERE)).expect("this ENI");
    let expected = Count {
        packets: sources.into(),
        bytes: u64::from(sources) * 42,
    };
    assert_eq!(here.totals.ingress.ipv4, expected);
    let cell = snapshot
        .cells
        .iter()
        .find(|cell| cell.direction == Direction::Ingress);
    assert_eq!(cell.map(|cell| cell.passed), Some(expected));
    assert!(snapshot.sources.len() <= capacity as usize);
    let other = snapshot
        .other(here.id, Direction::Ingress, Class::Ipv4)
        .expect("this ENI");
    assert!(
        other.packets >= u64::from(sources - capacity),
        "evicted sources are visible"
    );
    let listed = snapshot.listed(here.id, Direction::Ingress, Class::Ipv4);
    assert_eq!(listed.wrapping_add(other), expected);
    // Each source has sent one packet, so every source that is not listed was evicted.
    let evicted = here.losses.get("source-evicted").copied();
    assert_eq!(evicted, Some(other.packets));
}

#[test]
fn sources_are_folded_to_the_configured_length() {
    let mut bench = Bench::new(Mode::Count);
    bench.settings(|settings| {
        settings.source_length4 = 24;
        settings.source_length6 = 48;
    });
    for far in ["192.0.2.1", "192.0.2.254"] {
        bench.ingress(
            &Packet::udp(ip(far), ip(OWN4), 0),
            &[
                "cell 172.16.20.176 home in passed 1/42",
                "source 192.0.2.0/24 in 1/42",
                "total in ipv4 1/42",
            ],
        );
    }
    bench.ingress(
        &Packet::udp(ip(FAR6), ip(OWN6), 0),
        &[
            "cell fd00:20::176 home in passed 1/62",
            "source 2001:db8:1::/48 in 1/62",
            "total in ipv6 1/62",
        ],
    );
    // Outgoing packets have sources of this host, each of which is counted by itself.
    bench.egress(
        &Packet::udp(ip("172.17.0.2"), ip(FAR4), 0),
        NEXT,
        &[
            "fate no-owner 1/42",
            "source 172.17.0.2 out 1/42",
            "total out ipv4 1/42",
        ],
    );
}

#[test]
fn an_address_on_two_wrong_enis_is_counted_on_each() {
    let mut bench = Bench::new(Mode::Count);
    let third = index(103);
    bench
        .maps
        .set_eni(third, Some(&row(3, Mode::Count)))
        .expect("an ENI");
    let elsewhere =
        eni_steer_linux::bpf::load(&bench.maps, third, Direction::Egress, 0).expect("loads");
    let packet = Packet::udp(ip(THEIRS4), ip(FAR4), 0).bytes();
    for _ in 0..3 {
        bench.run(Direction::Egress, &packet, Metadata::default());
        run(&elsewhere, &packet, None, 1);
        run(&elsewhere, &packet, None, 1);
        bench.run(
            Direction::Ingress,
            &Packet::udp(ip(FAR4), ip(THEIRS4), 0).bytes(),
            Metadata::default(),
        );
    }
    let mut seen: Vec<_> = bench
        .read()
        .cells
        .iter()
        .map(|cell| {
            (
                cell.eni.0,
                cell.direction,
                cell.passed.packets,
                cell.first_seen.is_some(),
            )
        })
        .collect();
    seen.sort();
    let (inward, out) = (Direction::Ingress, Direction::Egress);
    assert_eq!(
        seen,
        [(0, inward, 3, true), (0, out, 3, true), (2, out, 6, true)]
    );
}
