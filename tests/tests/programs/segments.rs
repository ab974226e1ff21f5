//! Super-packets count as the segments that are on the wire.

use std::net::IpAddr;

use eni_steer_core::model::{Direction, Mode};
use eni_steer_tests::packets::{Ipv6, Packet, QINQ, VLAN, protocol, tcp};

use crate::bench::*;

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

fn gso(segments: u32, size: u32) -> Metadata {
    Metadata {
        gso_segs: segments,
        gso_size: size,
        ..Metadata::default()
    }
}

/// Returns the wire bytes of a payload in segments of this size, each with these headers.
fn wire(headers: usize, payload: usize, size: usize) -> String {
    let segments = payload.div_ceil(size);
    format!("{segments}/{}", segments * headers + payload)
}

#[test]
fn a_super_packet_counts_as_its_segments_with_their_headers() {
    let bench = Bench::new(Mode::Count);
    for (source, far, headers, class) in [(OWN4, FAR4, 54, "ipv4"), (OWN6, FAR6, 74, "ipv6")] {
        for (payload, size) in [
            (2896, 1448),
            (2897, 1448),
            (3000, 100),
            (1449, 1448),
            (5, 1),
        ] {
            let count = wire(headers, payload, size);
            let segments = payload.div_ceil(size) as u32;
            let packet = Packet::tcp(ip(source), ip(far), payload).bytes();
            let out = [
                format!("cell {source} home out passed {count}"),
                format!("total out {class} {count}"),
            ];
            // With the kernel's own count of segments and without it.
            for segments in [segments, 0] {
                bench.check(OUT, &packet, gso(segments, size as u32), NEXT, &out);
            }
            let packet = Packet::tcp(ip(far), ip(source), payload).bytes();
            let inward = [
                format!("cell {source} home in passed {count}"),
                format!("source {far} in {count}"),
                format!("total in {class} {count}"),
            ];
            bench.check(IN, &packet, gso(segments, size as u32), NEXT, &inward);
        }
    }
}

#[test]
fn segments_of_udp_repeat_eight_bytes() {
    let bench = Bench::new(Mode::Count);
    let packet = Packet::udp(ip(OWN4), ip(FAR4), 3000).bytes();
    let count = wire(42, 3000, 1000);
    let (cell, total) = (
        format!("cell {OWN4} home out passed {count}"),
        format!("total out ipv4 {count}"),
    );
    bench.check(OUT, &packet, gso(3, 1000), NEXT, &[&cell, &total]);
}

#[test]
fn the_sum_of_the_queueing_layer_is_used_on_egress_only() {
    let bench = Bench::new(Mode::Count);
    let metadata = Metadata {
        wire_len: 9999,
        ..gso(2, 1448)
    };
    let packet = Packet::tcp(ip(OWN4), ip(FAR4), 2896).bytes();
    let out = [
        "cell 172.16.20.176 home out passed 2/9999",
        "total out ipv4 2/9999",
    ];
    bench.check(OUT, &packet, metadata, NEXT, &out);
    let packet = Packet::tcp(ip(FAR4), ip(OWN4), 2896).bytes();
    let inward = [
        "cell 172.16.20.176 home in passed 2/3004",
        "source 192.0.2.10 in 2/3004",
        "total in ipv4 2/3004",
    ];
    bench.check(IN, &packet, metadata, NEXT, &inward);
}

#[test]
fn a_packet_without_a_segment_size_counts_as_one_whatever_its_other_fields() {
    let bench = Bench::new(Mode::Count);
    let packet = Packet::tcp(ip(OWN4), ip(FAR4), 100).bytes();
    let metadata = Metadata {
        wire_len: 2000,
        ..gso(7, 0)
    };
    let out = [
        "cell 172.16.20.176 home out passed 1/154",
        "total out ipv4 1/154",
    ];
    bench.check(OUT, &packet, metadata, NEXT, &out);
}

#[test]
fn tags_in_the_frame_are_repeated_as_well() {
    let bench = Bench::new(Mode::Count);
    let tagged = Packet::tcp(ip(OWN4), ip(FAR4), 2000).tagged(VLAN, 5);
    let (fate, total) = ("fate vlan 2/2116", "total out other 2/2116");
    bench.check(OUT, &tagged.bytes(), gso(2, 1000), NEXT, &[fate, total]);
    let twice = tagged.tagged(QINQ, 6);
    bench.check(
        IN,
        &twice.bytes(),
        gso(2, 1000),
        NEXT,
        &["total in other 2/2124"],
    );
}

#[test]
fn extension_headers_and_tcp_options_are_repeated_as_well() {
    let bench = Bench::new(Mode::Count);
    let (IpAddr::V6(source), IpAddr::V6(far)) = (ip(OWN6), ip(FAR6)) else {
        panic!("they are IPv6 addresses");
    };
    let mut header = Ipv6::new(source, far, protocol::TCP);
    header.extensions = vec![(protocol::DESTINATION_OPTIONS, vec![1; 15])];
    let mut segment = tcp(1, 2, 12 + 2000);
    segment[12] = 8 << 4; // twelve bytes of options
    let packet = header.packet(&segment).bytes();
    assert_eq!(packet.len(), 14 + 40 + 16 + 32 + 2000);
    let count = wire(14 + 40 + 16 + 32, 2000, 1000);
    let (cell, total) = (
        format!("cell {OWN6} home out passed {count}"),
        format!("total out ipv6 {count}"),
    );
    bench.check(OUT, &packet, gso(2, 1000), NEXT, &[&cell, &total]);
}

#[test]
fn the_header_of_a_big_tcp_packet_is_not_on_the_wire() {
    let bench = Bench::new(Mode::Count);
    let (IpAddr::V6(source), IpAddr::V6(far)) = (ip(OWN6), ip(FAR6)) else {
        panic!("they are IPv6 addresses");
    };
    let mut header = Ipv6::new(source, far, protocol::TCP);
    // Jumbo payload option.
    header.extensions = vec![(protocol::HOP_BY_HOP, vec![0, 0xc2, 4, 0, 0, 11, 184])];
    header.payload_length = Some(0);
    let packet = header.packet(&tcp(1, 2, 3000)).bytes();
    let count = wire(74, 3000, 1000);
    let (cell, total) = (
        format!("cell {OWN6} home out passed {count}"),
        format!("total out ipv6 {count}"),
    );
    bench.check(OUT, &packet, gso(3, 1000), NEXT, &[&cell, &total]);
}

#[test]
fn it_is_the_segments_that_must_fit_the_owners_mtu() {
    let bench = Bench::new(Mode::Steer);
    let packet = Packet::tcp(ip(THEIRS4), ip(FAR4), 2920).bytes();
    let count = wire(54, 2920, 1460);
    let (cell, fate) = (
        format!("cell {THEIRS4} of there out steered {count}"),
        format!("fate steered {count}"),
    );
    bench.check(OUT, &packet, gso(2, 1460), REDIRECT, &[&cell, &fate]);
    let count = wire(54, 2920, 1461);
    let changes = [
        format!("cell {THEIRS4} of there out passed {count}"),
        format!("fate mtu {count}"),
        format!("total out ipv4 {count}"),
    ];
    bench.check(OUT, &packet, gso(2, 1461), NEXT, &changes);
}
