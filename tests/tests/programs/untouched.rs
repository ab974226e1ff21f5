//! Mismatched packets that leave unchanged all the same.

use eni_steer_core::model::{Mode, Owner};
use eni_steer_tests::packets::Packet;

use crate::bench::*;

const GROUP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 0xfb];
const BROADCAST_MAC: [u8; 6] = [0xff; 6];

/// Checks that a packet with the other ENI's address leaves here with this fate, in both modes
/// that would otherwise act on it.
#[track_caller]
fn passes(prepare: impl Fn(&mut Bench), packet: &Packet, fate: &str) {
    for mode in [Mode::Steer, Mode::Drop] {
        let mut bench = Bench::new(mode);
        prepare(&mut bench);
        let (v4, length) = (packet.ether_type == 0x0800, packet.bytes().len());
        let (cell, class) = if v4 {
            ("172.16.20.177", "ipv4")
        } else {
            ("fd00:20::177", "ipv6")
        };
        bench.egress(
            packet,
            NEXT,
            &[
                &format!("cell {cell} of there out exempt 1/{length}"),
                &format!("fate {fate} 1/{length}"),
                &format!("total out {class} 1/{length}"),
            ],
        );
    }
}

#[test]
fn multicast_and_broadcast_are_never_steered_or_dropped() {
    for far in ["224.0.0.251", "239.255.255.250", "255.255.255.255"] {
        passes(|_| (), &Packet::udp(ip(THEIRS4), ip(far), 0), "multicast");
    }
    for far in ["ff02::fb", "ff05::1:3", "ff0e::1"] {
        passes(|_| (), &Packet::udp(ip(THEIRS6), ip(far), 0), "multicast");
    }
    // Only the Ethernet header shows the broadcast address of the subnet.
    let subnet = Packet::udp(ip(THEIRS4), ip("172.16.20.255"), 0);
    passes(|_| (), &subnet.clone().to(BROADCAST_MAC), "multicast");
    passes(|_| (), &subnet.to(GROUP_MAC), "multicast");
}

#[test]
fn link_local_destinations_are_never_steered_or_dropped() {
    for far in ["169.254.169.254", "169.254.0.1"] {
        passes(|_| (), &Packet::udp(ip(THEIRS4), ip(far), 0), "link-local");
    }
    for far in ["fe80::1", "febf::1"] {
        passes(|_| (), &Packet::udp(ip(THEIRS6), ip(far), 0), "link-local");
    }
}

#[test]
fn link_local_sources_are_never_steered_or_dropped_even_if_an_eni_owns_them() {
    let mut bench = Bench::new(Mode::Steer);
    bench.egress(
        &Packet::udp(ip("169.254.7.7"), ip(FAR4), 0),
        NEXT,
        &[
            "fate link-local 1/42",
            "source 169.254.7.7 out 1/42",
            "total out ipv4 1/42",
        ],
    );
    let owned = net("fe80::177");
    bench
        .maps
        .set_owner(owned, Some(Owner::Eni(index(THERE))))
        .expect("an owner");
    bench.egress(
        &Packet::udp(ip("fe80::177"), ip(FAR6), 0),
        NEXT,
        &[
            "cell fe80::177 of there out exempt 1/62",
            "fate link-local 1/62",
            "total out ipv6 1/62",
        ],
    );
}

#[test]
fn an_unspecified_source_has_no_owner_and_is_never_steered_or_dropped() {
    for mode in [Mode::Steer, Mode::Drop] {
        let mut bench = Bench::new(mode);
        // Even if a prefix covers it.
        for prefix in ["0.0.0.0/8", "::/3"] {
            bench
                .maps
                .set_owner(net(prefix), Some(Owner::Eni(index(THERE))))
                .expect("an owner");
        }
        bench.egress(
            &Packet::udp(ip("0.0.0.0"), ip("255.255.255.255"), 0).to(BROADCAST_MAC),
            NEXT,
            &[
                "fate unspecified-source 1/42",
                "source 0.0.0.0 out 1/42",
                "total out ipv4 1/42",
            ],
        );
        bench.egress(
            &Packet::udp(ip("::"), ip("ff02::16"), 0),
            NEXT,
            &[
                "fate unspecified-source 1/62",
                "source :: out 1/62",
                "total out ipv6 1/62",
            ],
        );
    }
}

#[test]
fn a_destination_in_an_exempt_prefix_is_left_alone_and_its_neighbours_are_not() {
    let exempt = |bench: &mut Bench| {
        for prefix in [
            "100.100.100.200/32",
            "192.168.0.0/16",
            "fd00:ec2::254/128",
            "2001:db8:f::/48",
        ] {
            bench
                .maps
                .set_exempt(net(prefix), true)
                .expect("an exemption");
        }
    };
    for far in ["100.100.100.200", "192.168.255.255"] {
        passes(
            exempt,
            &Packet::udp(ip(THEIRS4), ip(far), 0),
            "exempt-destination",
        );
    }
    for far in ["fd00:ec2::254", "2001:db8:f::1"] {
        passes(
            exempt,
            &Packet::udp(ip(THEIRS6), ip(far), 0),
            "exempt-destination",
        );
    }
    let mut bench = Bench::new(Mode::Steer);
    exempt(&mut bench);
    // 101.101.0.1 and 192.168.0.1 have the same bit in the filter as exempt addresses.
    for far in [
        "100.100.100.201",
        "101.101.0.1",
        "193.169.0.1",
        "192.0.2.10",
    ] {
        bench.egress(
            &Packet::udp(ip(THEIRS4), ip(far), 0),
            REDIRECT,
            &[
                "cell 172.16.20.177 of there out steered 1/42",
                "fate steered 1/42",
            ],
        );
    }
    bench
        .maps
        .set_exempt(net("192.168.0.0/16"), false)
        .expect("no exemption");
    bench.egress(
        &Packet::udp(ip(THEIRS4), ip("192.168.1.1"), 0),
        REDIRECT,
        &[
            "cell 172.16.20.177 of there out steered 1/42",
            "fate steered 1/42",
        ],
    );
}

#[test]
fn an_exemption_of_everything_exempts_everything() {
    let all = |bench: &mut Bench| {
        bench
            .maps
            .set_exempt(net("0.0.0.0/0"), true)
            .expect("an exemption");
        bench
            .maps
            .set_exempt(net("::/0"), true)
            .expect("an exemption");
    };
    for far in ["1.2.3.4", "192.0.2.10", "8.8.8.8"] {
        passes(
            all,
            &Packet::udp(ip(THEIRS4), ip(far), 0),
            "exempt-destination",
        );
    }
    passes(
        all,
        &Packet::udp(ip(THEIRS6), ip(FAR6), 0),
        "exempt-destination",
    );
}

#[test]
fn the_exempt_mark_exempts_and_another_mark_does_not() {
    let mut bench = Bench::new(Mode::Steer);
    bench.settings(|settings| settings.exempt_mark = Some((0x40, 0xf0)));
    let packet = Packet::udp(ip(THEIRS4), ip(FAR4), 0).bytes();
    let out = eni_steer_core::model::Direction::Egress;
    for (mark, exempt) in [
        (0x40, true),
        (0x4f, true),
        (0x1_0042, true),
        (0, false),
        (0x50, false),
    ] {
        let metadata = Metadata {
            mark,
            ..Metadata::default()
        };
        if exempt {
            let changes = [
                "cell 172.16.20.177 of there out exempt 1/42",
                "fate exempt-mark 1/42",
                "total out ipv4 1/42",
            ];
            bench.check(out, &packet, metadata, NEXT, &changes);
        } else {
            let changes = [
                "cell 172.16.20.177 of there out steered 1/42",
                "fate steered 1/42",
            ];
            bench.check(out, &packet, metadata, REDIRECT, &changes);
        }
    }
}
