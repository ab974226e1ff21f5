//! Frames that are not plain IP.

use eni_steer_core::model::{Direction, Mode};
use eni_steer_tests::packets::{ARP, Packet, QINQ, VLAN};

use crate::bench::*;

#[test]
fn a_tagged_packet_belongs_to_another_link_whatever_is_behind_the_tag() {
    let bench = Bench::new(Mode::Steer);
    for (source, far, bytes) in [(THEIRS4, FAR4, 46), (OWN4, FAR4, 46), (THEIRS6, FAR6, 66)] {
        for (packet, bytes) in [
            (Packet::udp(ip(source), ip(far), 0).tagged(VLAN, 7), bytes),
            (Packet::udp(ip(source), ip(far), 0).tagged(QINQ, 7), bytes),
            (
                Packet::udp(ip(source), ip(far), 0)
                    .tagged(VLAN, 7)
                    .tagged(QINQ, 8),
                bytes + 4,
            ),
        ] {
            let (fate, out) = (
                format!("fate vlan 1/{bytes}"),
                format!("total out other 1/{bytes}"),
            );
            bench.egress(&packet, NEXT, &[&fate, &out]);
            let total = format!("total in other 1/{bytes}");
            bench.ingress(&packet, &[&total]);
        }
    }
}

#[test]
fn frames_that_are_not_ip_are_counted_and_left_alone() {
    let bench = Bench::new(Mode::Drop);
    // ARP, LLDP, PPPoE, EAPOL, a length instead of a type, IPv4 and IPv6 with swapped bytes
    for ether_type in [ARP, 0x88cc, 0x8864, 0x888e, 46, 0x0008, 0xdd86, 0, 0xffff] {
        let frame = Packet::new(ether_type, vec![0x45; 46]);
        bench.egress(&frame, NEXT, &["fate not-ip 1/60", "total out other 1/60"]);
        bench.ingress(&frame, &["total in other 1/60"]);
    }
}

#[test]
fn a_frame_of_nothing_but_its_header_is_counted() {
    let bench = Bench::new(Mode::Steer);
    for (ether_type, class, fate) in [
        (ARP, "other", "not-ip"),
        (VLAN, "other", "vlan"),
        (0x0800, "ipv4", "malformed"),
    ] {
        let frame = Packet::new(ether_type, Vec::new()).bytes();
        if !bench.takes(&frame) {
            continue;
        }
        let (fate, out) = (
            format!("fate {fate} 1/14"),
            format!("total out {class} 1/14"),
        );
        bench.check(
            Direction::Egress,
            &frame,
            Metadata::default(),
            NEXT,
            &[&fate, &out],
        );
    }
}
