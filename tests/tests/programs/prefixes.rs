//! Delegated prefixes: none of their addresses is configured, and all of them have an owner.

use eni_steer_core::model::{Mode, Owner};
use eni_steer_tests::packets::Packet;

use crate::bench::*;

fn bench(mode: Mode) -> Bench {
    let mut bench = Bench::new(mode);
    for (prefix, eni) in [
        ("172.16.20.32/28", HERE),
        ("172.16.20.64/28", THERE),
        ("fd00:20:0:0:1::/80", HERE),
        ("fd00:20:0:0:2::/80", THERE),
    ] {
        bench
            .maps
            .set_owner(net(prefix), Some(Owner::Eni(index(eni))))
            .expect("an owner");
    }
    bench
}

#[test]
fn an_address_in_a_prefix_of_this_eni_is_home_and_is_listed_by_itself() {
    let bench = bench(Mode::Steer);
    bench.egress(
        &Packet::udp(ip("172.16.20.40"), ip(FAR4), 0),
        NEXT,
        &[
            "cell 172.16.20.32/28 home out passed 1/42",
            "source 172.16.20.40 out 1/42",
            "total out ipv4 1/42",
        ],
    );
    bench.ingress(
        &Packet::udp(ip(FAR6), ip("fd00:20::1:0:0:9"), 0),
        &[
            "cell fd00:20:0:0:1::/80 home in passed 1/62",
            "source 2001:db8:1::10 in 1/62",
            "total in ipv6 1/62",
        ],
    );
}

#[test]
fn an_address_in_a_prefix_of_another_eni_is_a_mismatch() {
    let counted = bench(Mode::Count);
    counted.egress(
        &Packet::udp(ip("172.16.20.70"), ip(FAR4), 0),
        NEXT,
        &[
            "cell 172.16.20.64/28 of there out passed 1/42",
            "fate count-only 1/42",
            "source 172.16.20.70 out mismatched 1 1/42",
            "total out ipv4 1/42",
        ],
    );
    counted.ingress(
        &Packet::udp(ip(FAR6), ip("fd00:20::2:0:0:9"), 0),
        &[
            "cell fd00:20:0:0:2::/80 of there in passed 1/62",
            "source 2001:db8:1::10 in mismatched 1 1/62",
            "total in ipv6 1/62",
        ],
    );
    let steered = bench(Mode::Steer);
    steered.egress(
        &Packet::udp(ip("fd00:20::2:0:0:9"), ip(FAR6), 0),
        REDIRECT,
        &[
            "cell fd00:20:0:0:2::/80 of there out steered 1/62",
            "fate steered 1/62",
        ],
    );
}

#[test]
fn an_address_of_its_own_inside_a_prefix_wins() {
    let mut bench = bench(Mode::Count);
    let inside = net("172.16.20.70");
    bench
        .maps
        .set_owner(inside, Some(Owner::Eni(index(HERE))))
        .expect("an owner");
    bench.egress(
        &Packet::udp(ip("172.16.20.70"), ip(FAR4), 0),
        NEXT,
        &[
            "cell 172.16.20.70 home out passed 1/42",
            "total out ipv4 1/42",
        ],
    );
    bench.maps.set_owner(inside, None).expect("no owner");
    bench.egress(
        &Packet::udp(ip("172.16.20.70"), ip(FAR4), 0),
        NEXT,
        &[
            "cell 172.16.20.64/28 of there out passed 1/42",
            "fate count-only 1/42",
            "source 172.16.20.70 out mismatched 1 1/42",
            "total out ipv4 1/42",
        ],
    );
}

#[test]
fn the_longer_of_two_prefixes_wins_and_a_removed_one_is_forgotten() {
    let mut bench = bench(Mode::Count);
    let longer = net("172.16.20.68/30");
    bench
        .maps
        .set_owner(longer, Some(Owner::Eni(index(HERE))))
        .expect("an owner");
    let packet = Packet::udp(ip("172.16.20.70"), ip(FAR4), 0);
    bench.egress(
        &packet,
        NEXT,
        &[
            "cell 172.16.20.68/30 home out passed 1/42",
            "source 172.16.20.70 out 1/42",
            "total out ipv4 1/42",
        ],
    );
    for prefix in ["172.16.20.68/30", "172.16.20.64/28", "172.16.20.32/28"] {
        bench.maps.set_owner(net(prefix), None).expect("no owner");
    }
    for prefix in ["fd00:20:0:0:1::/80", "fd00:20:0:0:2::/80"] {
        bench.maps.set_owner(net(prefix), None).expect("no owner");
    }
    bench.egress(
        &packet,
        NEXT,
        &[
            "fate no-owner 1/42",
            "source 172.16.20.70 out 1/42",
            "total out ipv4 1/42",
        ],
    );
}
