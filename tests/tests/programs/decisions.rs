//! Mismatched packets: they are counted, steered or dropped, or there is a reason why not.

use eni_steer_core::model::{EniRow, Mode, NextHop, Owner};
use eni_steer_tests::packets::Packet;

use crate::bench::*;

fn mismatch() -> [(Packet, &'static str, &'static str); 2] {
    [
        (
            Packet::udp(ip(THEIRS4), ip(FAR4), 20),
            "172.16.20.177",
            "ipv4",
        ),
        (
            Packet::udp(ip(THEIRS6), ip(FAR6), 0),
            "fd00:20::177",
            "ipv6",
        ),
    ]
}

/// Expects that a packet of either family, 62 bytes long, leaves here with this fate.
#[track_caller]
fn pass(bench: &Bench, fate: &str) {
    for (packet, cell, class) in mismatch() {
        bench.egress(
            &packet,
            NEXT,
            &[
                &format!("cell {cell} of there out passed 1/62"),
                &format!("fate {fate} 1/62"),
                &format!("total out {class} 1/62"),
            ],
        );
    }
}

#[track_caller]
fn are_steered(bench: &Bench) {
    for (packet, cell, _) in mismatch() {
        bench.egress(
            &packet,
            REDIRECT,
            &[
                &format!("cell {cell} of there out steered 1/62"),
                "fate steered 1/62",
            ],
        );
    }
}

#[test]
fn in_count_mode_a_mismatch_is_counted_and_leaves() {
    pass(&Bench::new(Mode::Count), "count-only");
}

#[test]
fn in_steer_mode_a_mismatch_is_redirected_and_does_not_count_as_sent_here() {
    are_steered(&Bench::new(Mode::Steer));
}

#[test]
fn in_drop_mode_a_mismatch_is_dropped_and_does_not_count_as_sent_here() {
    let bench = Bench::new(Mode::Drop);
    for (packet, cell, _) in mismatch() {
        bench.egress(
            &packet,
            SHOT,
            &[
                &format!("cell {cell} of there out dropped 1/62"),
                "fate dropped 1/62",
            ],
        );
    }
}

#[test]
fn the_mode_that_counts_is_that_of_the_eni_the_packet_leaves_by() {
    let mut bench = Bench::new(Mode::Count);
    bench
        .maps
        .set_eni(index(THERE), Some(&row(2, Mode::Drop)))
        .expect("an ENI");
    pass(&bench, "count-only");
    // The programs read the mode from the map, so it changes without loading a program.
    bench
        .maps
        .set_eni(index(HERE), Some(&row(1, Mode::Steer)))
        .expect("an ENI");
    are_steered(&bench);
}

#[test]
fn a_mismatch_that_comes_in_is_counted_for_its_address_and_its_source() {
    for mode in [Mode::Count, Mode::Steer, Mode::Drop] {
        let bench = Bench::new(mode);
        bench.ingress(
            &Packet::udp(ip(FAR4), ip(THEIRS4), 0),
            &[
                "cell 172.16.20.177 of there in passed 1/42",
                "source 192.0.2.10 in mismatched 1 1/42",
                "total in ipv4 1/42",
            ],
        );
        bench.ingress(
            &Packet::udp(ip(FAR6), ip(THEIRS6), 0),
            &[
                "cell fd00:20::177 of there in passed 1/62",
                "source 2001:db8:1::10 in mismatched 1 1/62",
                "total in ipv6 1/62",
            ],
        );
    }
}

#[test]
fn a_source_that_nobody_owns_is_counted_by_itself_and_left_alone() {
    for mode in [Mode::Steer, Mode::Drop] {
        let bench = Bench::new(mode);
        bench.egress(
            &Packet::udp(ip("172.17.0.2"), ip(FAR4), 0),
            NEXT,
            &[
                "fate no-owner 1/42",
                "source 172.17.0.2 out 1/42",
                "total out ipv4 1/42",
            ],
        );
        bench.egress(
            &Packet::udp(ip("fd00:17::2"), ip(FAR6), 0),
            NEXT,
            &[
                "fate no-owner 1/62",
                "source fd00:17::2 out 1/62",
                "total out ipv6 1/62",
            ],
        );
        bench.ingress(
            &Packet::udp(ip(FAR4), ip("172.17.0.2"), 0),
            &["source 192.0.2.10 in 1/42", "total in ipv4 1/42"],
        );
    }
}

#[test]
fn an_address_that_two_enis_have_is_counted_and_never_steered_or_dropped() {
    for mode in [Mode::Steer, Mode::Drop] {
        let mut bench = Bench::new(mode);
        for address in [THEIRS4, THEIRS6] {
            bench
                .maps
                .set_owner(net(address), Some(Owner::Ambiguous))
                .expect("an owner");
        }
        for (packet, cell, class) in mismatch() {
            bench.egress(
                &packet,
                NEXT,
                &[
                    &format!("cell {cell} of nobody out passed 1/62"),
                    "fate ambiguous-owner 1/62",
                    &format!("total out {class} 1/62"),
                ],
            );
        }
        bench.ingress(
            &Packet::udp(ip(FAR4), ip(THEIRS4), 0),
            &[
                "cell 172.16.20.177 of nobody in passed 1/42",
                "source 192.0.2.10 in 1/42",
                "total in ipv4 1/42",
            ],
        );
    }
}

#[test]
fn nothing_is_steered_to_an_owner_that_is_down() {
    let mut bench = Bench::new(Mode::Steer);
    let down = EniRow {
        up: false,
        ..row(2, Mode::Count)
    };
    bench
        .maps
        .set_eni(index(THERE), Some(&down))
        .expect("an ENI");
    pass(&bench, "owner-absent");
    bench
        .maps
        .set_eni(index(THERE), Some(&row(2, Mode::Count)))
        .expect("an ENI");
    are_steered(&bench);
}

#[test]
fn nothing_is_steered_where_the_owner_has_no_route() {
    let mut bench = Bench::new(Mode::Steer);
    for default in ["0.0.0.0/0", "::/0"] {
        bench
            .maps
            .set_next_hop(index(THERE), net(default), None)
            .expect("no route");
    }
    pass(&bench, "no-next-hop");
    // The route to its subnet is still there.
    bench.egress(
        &Packet::udp(ip(THEIRS4), ip("172.16.20.50"), 0),
        REDIRECT,
        &[
            "cell 172.16.20.177 of there out steered 1/42",
            "fate steered 1/42",
        ],
    );
}

#[test]
fn nothing_is_steered_where_the_owners_table_refuses() {
    let mut bench = Bench::new(Mode::Steer);
    for refused in ["192.0.2.0/24", "2001:db8::/32"] {
        let refuse = Some(NextHop::Refuse);
        bench
            .maps
            .set_next_hop(index(THERE), net(refused), refuse)
            .expect("a route");
    }
    pass(&bench, "refused-by-route");
}

#[test]
fn nothing_is_steered_that_is_larger_than_the_owners_mtu_or_its_routes() {
    let mut bench = Bench::new(Mode::Steer);
    let owner = |mtu| EniRow {
        mtu,
        ..row(2, Mode::Count)
    };
    // The packets are 48 bytes long without their Ethernet headers.
    for (eni, route, fits) in [
        (48, None, true),
        (47, None, false),
        (1500, Some(48), true),
        (1500, Some(47), false),
        (47, Some(1500), false),
    ] {
        bench
            .maps
            .set_eni(index(THERE), Some(&owner(eni)))
            .expect("an ENI");
        for (net_, gateway) in [("0.0.0.0/0", "172.16.20.253"), ("::/0", "fd00:20::253")] {
            let hop = NextHop::Via {
                gateway: ip(gateway),
                mtu: route,
            };
            bench
                .maps
                .set_next_hop(index(THERE), net(net_), Some(hop))
                .expect("a route");
        }
        if fits {
            are_steered(&bench)
        } else {
            pass(&bench, "mtu")
        }
    }
}

#[test]
fn a_gateway_of_the_other_family_serves_ipv4_only() {
    let mut bench = Bench::new(Mode::Steer);
    for (default, gateway) in [("0.0.0.0/0", "fe80::1"), ("::/0", "172.16.20.253")] {
        bench
            .maps
            .set_next_hop(index(THERE), net(default), Some(via(gateway)))
            .expect("a route");
    }
    let [(v4, ..), (v6, ..)] = mismatch();
    bench.egress(
        &v4,
        REDIRECT,
        &[
            "cell 172.16.20.177 of there out steered 1/62",
            "fate steered 1/62",
        ],
    );
    bench.egress(
        &v6,
        NEXT,
        &[
            "cell fd00:20::177 of there out passed 1/62",
            "fate no-next-hop 1/62",
            "total out ipv6 1/62",
        ],
    );
}

#[test]
fn a_long_table_decides_like_a_short_one() {
    let mut bench = Bench::new(Mode::Steer);
    let add = |bench: &mut Bench, net_: &str, hop| {
        bench
            .maps
            .set_next_hop(index(THERE), net(net_), Some(hop))
            .expect("a route");
    };
    // One route more each time: few enough for the short table, then too many for it, then few
    // again.
    let more = [
        "192.0.0.0/16",
        "192.0.2.0/24",
        "192.0.2.10/32",
        "10.0.0.0/8",
        "10.1.0.0/16",
    ];
    for net_ in more {
        let hop = if net_ == "192.0.2.10/32" {
            NextHop::Refuse
        } else {
            via("172.16.20.253")
        };
        add(&mut bench, net_, hop);
        let refused = bench
            .read()
            .enis
            .iter()
            .any(|eni| eni.fates.contains_key("refused-by-route"));
        assert!(!refused, "nothing was sent yet");
    }
    pass_v4(&bench, "refused-by-route");
    for net_ in more {
        bench
            .maps
            .set_next_hop(index(THERE), net(net_), None)
            .expect("no route");
        if net_ == "192.0.2.10/32" {
            are_steered(&bench);
        }
    }
    are_steered(&bench);
}

#[track_caller]
fn pass_v4(bench: &Bench, fate: &str) {
    let [(packet, cell, class), _] = mismatch();
    bench.egress(
        &packet,
        NEXT,
        &[
            &format!("cell {cell} of there out passed 1/62"),
            &format!("fate {fate} 1/62"),
            &format!("total out {class} 1/62"),
        ],
    );
}
