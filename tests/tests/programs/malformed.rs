//! Packets that contradict their own headers: they are counted, never steered, and never judged
//! wrongly.

use std::net::IpAddr;

use eni_steer_core::model::{Direction, Mode};
use eni_steer_tests::packets::{Ipv4, Packet, ip as packet, protocol, udp};

use crate::bench::*;

/// The shortest frame on which the kernel runs a program.
const ETHERNET: usize = 14;

#[test]
fn a_packet_cut_off_inside_its_header_is_malformed_and_one_cut_off_behind_it_is_not() {
    let bench = Bench::new(Mode::Steer);
    for (source, far, header, family, name) in [
        (THEIRS4, FAR4, 20, "ipv4", "172.16.20.177"),
        (THEIRS6, FAR6, 40, "ipv6", "fd00:20::177"),
    ] {
        let whole = Packet::udp(ip(source), ip(far), 20).bytes();
        for length in ETHERNET..=whole.len() {
            let cut = &whole[..length];
            if length < ETHERNET + header && !bench.takes(cut) {
                continue;
            }
            let count = format!("1/{length}");
            if length < ETHERNET + header {
                let changes = [
                    format!("fate malformed {count}"),
                    format!("total out {family} {count}"),
                ];
                bench.check(Direction::Egress, cut, Metadata::default(), NEXT, &changes);
            } else {
                let cell = format!("cell {name} of there out steered {count}");
                let changes = [cell, format!("fate steered {count}")];
                bench.check(
                    Direction::Egress,
                    cut,
                    Metadata::default(),
                    REDIRECT,
                    &changes,
                );
            }
        }
    }
}

#[test]
fn what_comes_in_cut_off_counts_in_the_totals_and_for_no_source() {
    let bench = Bench::new(Mode::Steer);
    for (source, own, header, family) in [(FAR4, OWN4, 20, "ipv4"), (FAR6, OWN6, 40, "ipv6")] {
        let whole = Packet::udp(ip(source), ip(own), 20).bytes();
        for length in ETHERNET..=whole.len() {
            let cut = &whole[..length];
            if length < ETHERNET + header && !bench.takes(cut) {
                continue;
            }
            let mut changes = vec![format!("total in {family} 1/{length}")];
            if length >= ETHERNET + header {
                changes.push(format!("cell {own} home in passed 1/{length}"));
                changes.push(format!("source {source} in 1/{length}"));
            }
            bench.check(Direction::Ingress, cut, Metadata::default(), NEXT, &changes);
        }
    }
}

#[test]
fn a_wrong_version_or_header_length_is_malformed() {
    let bench = Bench::new(Mode::Steer);
    let (IpAddr::V4(source), IpAddr::V4(far)) = (ip(THEIRS4), ip(FAR4)) else {
        panic!("they are IPv4 addresses");
    };
    // Every first byte except 0x45 to 0x4f: another version, or a header of less than 20 bytes.
    for first in (0..=0xff).filter(|first| !(0x45..=0x4f).contains(first)) {
        let mut header = Ipv4::new(source, far, protocol::UDP);
        header.first_byte = Some(first);
        let packet = header.packet(&udp(1, 2, 48));
        bench.egress(
            &packet,
            NEXT,
            &["fate malformed 1/90", "total out ipv4 1/90"],
        );
    }
    let mut v6 = Packet::udp(ip(THEIRS6), ip(FAR6), 0);
    for version in (0..16).filter(|version| *version != 6) {
        v6.payload[0] = version << 4;
        bench.egress(&v6, NEXT, &["fate malformed 1/62", "total out ipv6 1/62"]);
    }
}

#[test]
fn a_header_with_options_must_be_in_the_packet_as_a_whole() {
    let bench = Bench::new(Mode::Steer);
    let (IpAddr::V4(source), IpAddr::V4(far)) = (ip(THEIRS4), ip(FAR4)) else {
        panic!("they are IPv4 addresses");
    };
    let mut header = Ipv4::new(source, far, protocol::UDP);
    for words in 0..=10 {
        header.options = vec![1; 4 * words]; // no-operation options
        let whole = header.packet(&[]).bytes();
        let length = whole.len();
        let steered = [
            format!("cell 172.16.20.177 of there out steered 1/{length}"),
            format!("fate steered 1/{length}"),
        ];
        bench.check(
            Direction::Egress,
            &whole,
            Metadata::default(),
            REDIRECT,
            &steered,
        );
        if words > 0 {
            let length = length - 1;
            let refused = [
                format!("fate malformed 1/{length}"),
                format!("total out ipv4 1/{length}"),
            ];
            bench.check(
                Direction::Egress,
                &whole[..length],
                Metadata::default(),
                NEXT,
                &refused,
            );
        }
    }
}

#[test]
fn the_family_is_that_of_the_ether_type_whatever_the_packet_looks_like() {
    let bench = Bench::new(Mode::Steer);
    let mut v4_in_v6 = packet(ip(THEIRS4), ip(FAR4), protocol::UDP, udp(1, 2, 12));
    v4_in_v6.ether_type = 0x86dd;
    bench.egress(
        &v4_in_v6,
        NEXT,
        &["fate malformed 1/54", "total out ipv6 1/54"],
    );
    let mut v6_in_v4 = packet(ip(THEIRS6), ip(FAR6), protocol::UDP, udp(1, 2, 0));
    v6_in_v4.ether_type = 0x0800;
    bench.egress(
        &v6_in_v4,
        NEXT,
        &["fate malformed 1/62", "total out ipv4 1/62"],
    );
}
