//! IPv6 extension headers and fragments of either family do not change any decision.

use std::net::IpAddr;

use eni_steer_core::model::Mode;
use eni_steer_tests::packets::{Ipv4, Ipv6, protocol::*, tcp, udp};

use crate::bench::*;

const EXTENSIONS: [u8; 8] = [
    HOP_BY_HOP,
    ROUTING,
    FRAGMENT,
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    MOBILITY,
    HIP,
    SHIM6,
];

fn v6() -> Ipv6 {
    let (IpAddr::V6(source), IpAddr::V6(far)) = (ip(THEIRS6), ip(FAR6)) else {
        panic!("they are IPv6 addresses");
    };
    Ipv6::new(source, far, UDP)
}

/// Returns an extension header of eight bytes, without the first byte.
fn extension(kind: u8) -> (u8, Vec<u8>) {
    (kind, vec![0; 7])
}

#[track_caller]
fn is_steered(bench: &Bench, packet: &eni_steer_tests::packets::Packet) {
    let length = packet.bytes().len();
    let (cell, fate) = (
        format!("cell fd00:20::177 of there out steered 1/{length}"),
        format!("fate steered 1/{length}"),
    );
    bench.egress(packet, REDIRECT, &[&cell, &fate]);
}

#[test]
fn every_extension_header_is_steered_like_a_packet_without() {
    let bench = Bench::new(Mode::Steer);
    for kind in EXTENSIONS {
        let mut header = v6();
        header.extensions = vec![extension(kind)];
        is_steered(&bench, &header.packet(&udp(1, 2, 4)));
    }
    for upper in [TCP, ICMPV6, ESP, NO_NEXT_HEADER, 253] {
        let mut header = v6();
        header.protocol = upper;
        is_steered(&bench, &header.packet(&tcp(1, 2, 4)));
    }
}

#[test]
fn every_pair_of_extension_headers_and_the_longest_chains_are_steered() {
    let bench = Bench::new(Mode::Steer);
    let mut header = v6();
    for first in EXTENSIONS {
        for second in EXTENSIONS {
            header.extensions = vec![extension(first), extension(second)];
            is_steered(&bench, &header.packet(&udp(1, 2, 4)));
        }
    }
    for length in 0..=100 {
        header.extensions = vec![extension(DESTINATION_OPTIONS); length];
        is_steered(&bench, &header.packet(&udp(1, 2, 4)));
    }
}

#[test]
fn an_extension_header_that_is_cut_off_or_points_beyond_the_packet_is_steered_all_the_same() {
    let bench = Bench::new(Mode::Steer);
    for kind in EXTENSIONS {
        let mut header = v6();
        for length in 0..7 {
            header.extensions = vec![(kind, vec![0; length])];
            is_steered(&bench, &header.packet(&[]));
        }
        header.extensions = vec![(kind, vec![255, 0, 0, 0, 0, 0, 0])];
        is_steered(&bench, &header.packet(&udp(1, 2, 4)));
    }
}

#[test]
fn fragments_go_the_way_of_their_packet() {
    let bench = Bench::new(Mode::Steer);
    let (IpAddr::V4(source), IpAddr::V4(far)) = (ip(THEIRS4), ip(FAR4)) else {
        panic!("they are IPv4 addresses");
    };
    // first, middle, last, and one with a reserved bit
    for fragment in [0x2000, 0x2001, 0x00b9, 0x1fff, 0x8000, 0x4000] {
        let mut header = Ipv4::new(source, far, UDP);
        header.fragment = fragment;
        bench.egress(
            &header.packet(&[0; 16]),
            REDIRECT,
            &[
                "cell 172.16.20.177 of there out steered 1/50",
                "fate steered 1/50",
            ],
        );
        let mut header = v6();
        let [high, low] = (fragment << 3 | 1).to_be_bytes();
        header.extensions = vec![(FRAGMENT, vec![0, high, low, 0, 0, 0, 1])];
        is_steered(&bench, &header.packet(&[0; 16]));
    }
}
