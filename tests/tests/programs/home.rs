//! Packets on the ENI that owns their address.

use eni_steer_core::model::Mode;
use eni_steer_tests::packets::Packet;

use crate::bench::*;

#[test]
fn a_packet_that_leaves_by_the_owner_of_its_source_is_counted_in_its_cell_and_the_totals() {
    let bench = Bench::new(Mode::Steer);
    bench.egress(
        &Packet::udp(ip(OWN4), ip(FAR4), 56),
        NEXT,
        &[
            "cell 172.16.20.176 home out passed 1/98",
            "total out ipv4 1/98",
        ],
    );
    bench.egress(
        &Packet::udp(ip(OWN6), ip(FAR6), 56),
        NEXT,
        &[
            "cell fd00:20::176 home out passed 1/118",
            "total out ipv6 1/118",
        ],
    );
}

#[test]
fn a_packet_that_comes_in_by_the_owner_of_its_destination_counts_for_its_source_as_well() {
    let bench = Bench::new(Mode::Count);
    bench.ingress(
        &Packet::udp(ip(FAR4), ip(OWN4), 56),
        &[
            "cell 172.16.20.176 home in passed 1/98",
            "source 192.0.2.10 in 1/98",
            "total in ipv4 1/98",
        ],
    );
    bench.ingress(
        &Packet::udp(ip(FAR6), ip(OWN6), 56),
        &[
            "cell fd00:20::176 home in passed 1/118",
            "source 2001:db8:1::10 in 1/118",
            "total in ipv6 1/118",
        ],
    );
}
