//! Random hosts. They have few addresses, so that packets match the entries of the tables.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use eni_steer_core::model::{Datapath, EniRow, IfIndex, Mode, NextHop, Owner, Settings};
use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample};

use super::generate::mark;
use crate::bench::*;

const V4: [&str; 22] = [
    OWN4,
    THEIRS4,
    "172.16.20.178",
    "172.16.20.70",
    "172.16.20.40",
    "172.17.0.2",
    FAR4,
    "169.254.7.7",
    "0.0.0.0",
    "8.8.8.8",
    "100.100.100.200",
    "172.16.20.255",
    "169.254.169.254",
    // The edges of the link-local and multicast ranges.
    "169.253.255.255",
    "169.255.0.0",
    "223.255.255.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    "255.255.255.254",
    "127.0.0.1",
];

const V6: [&str; 21] = [
    OWN6,
    THEIRS6,
    "fd00:20::178",
    "fd00:20::1:0:0:9",
    "fd00:20::2:0:0:9",
    "fd00:17::2",
    FAR6,
    "fe80::177",
    "::",
    "2001:db8:2::10",
    "fd00:ec2::254",
    "fd00:20::50",
    "fe7f:ffff::1",
    "fe80::1",
    "febf:ffff::1",
    "fec0::1",
    "feff::",
    "ff00::",
    "ff02::1",
    "::1",
    "::ffff:172.16.20.177",
];

/// Generates an IPv4 address, mostly one of a few.
pub fn v4() -> impl Strategy<Value = Ipv4Addr> {
    let known = sample::select(&V4[..]).prop_map(|text| text.parse().expect("an address"));
    prop_oneof![
        3 => sample::select(&V4[..2]).prop_map(|text| text.parse().expect("an address")),
        8 => known,
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

/// Generates an IPv6 address, mostly one of a few.
pub fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let known = sample::select(&V6[..]).prop_map(|text| text.parse().expect("an address"));
    prop_oneof![
        3 => sample::select(&V6[..2]).prop_map(|text| text.parse().expect("an address")),
        8 => known,
        1 => any::<u128>().prop_map(Ipv6Addr::from),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::from), v6().prop_map(IpAddr::from)]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), any::<sample::Index>()).prop_map(|(address, length)| {
        let longest = IpNet::from(address).max_prefix_len();
        let length = length.index(usize::from(longest) + 1) as u8;
        IpNet::new(address, length).expect("a length").trunc()
    })
}

fn mtu() -> impl Strategy<Value = u32> {
    sample::select(&[1500, 9001, 1280, 576, 100, 48, 28, 20][..])
}

fn eni(last: u8, mode: impl Strategy<Value = Mode>) -> impl Strategy<Value = EniRow> {
    (mode, mtu(), prop::bool::weighted(0.9)).prop_map(move |(mode, mtu, up)| EniRow {
        mtu,
        up,
        ..row(last, mode)
    })
}

fn any_mode() -> impl Strategy<Value = Mode> {
    sample::select(&[Mode::Count, Mode::Steer, Mode::Drop][..])
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        2 => Just(Owner::Eni(index(HERE))),
        4 => Just(Owner::Eni(index(THERE))),
        1 => Just(Owner::Eni(index(ELSEWHERE))),
        1 => Just(Owner::Ambiguous),
    ]
}

fn owners() -> impl Strategy<Value = BTreeMap<IpNet, Owner>> {
    let usual = [
        (OWN4, HERE),
        (OWN6, HERE),
        (THEIRS4, THERE),
        (THEIRS6, THERE),
    ];
    let usual = usual.map(|(address, eni)| (net(address), Owner::Eni(index(eni))));
    let host = address().prop_map(IpNet::from);
    let more = (vec((host, owner()), 0..5), vec((prefix(), owner()), 0..4));
    (sample::subsequence(usual.to_vec(), 0..=4), more).prop_map(|(usual, (hosts, prefixes))| {
        let all = usual.into_iter().chain(hosts).chain(prefixes);
        // No interface has the unspecified address, but a prefix can cover it.
        let nobodys =
            |net: &IpNet| net.addr().is_unspecified() && net.prefix_len() == net.max_prefix_len();
        all.filter(|(net, _)| !nobodys(net)).collect()
    })
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let mtu = || option::weighted(0.3, mtu());
    prop_oneof![
        3 => mtu().prop_map(|mtu| NextHop::OnLink { mtu }),
        3 => (address(), mtu()).prop_map(|(gateway, mtu)| NextHop::Via { gateway, mtu }),
        1 => Just(NextHop::Refuse),
    ]
}

fn next_hops() -> impl Strategy<Value = BTreeMap<(IfIndex, IpNet), NextHop>> {
    let usual = [
        (THERE, "172.16.20.0/24", NextHop::OnLink { mtu: None }),
        (THERE, "fd00:20::/64", NextHop::OnLink { mtu: None }),
        (THERE, "0.0.0.0/0", via("172.16.20.253")),
        (THERE, "::/0", via("fd00:20::253")),
        (ELSEWHERE, "0.0.0.0/0", via("172.16.20.253")),
        (HERE, "0.0.0.0/0", NextHop::Refuse),
    ];
    let usual = usual.map(|(eni, destination, hop)| ((index(eni), net(destination)), hop));
    let eni = sample::select(&[HERE, THERE, THERE, ELSEWHERE][..]).prop_map(index);
    // More routes than the short tables can hold.
    let more = vec(((eni, prefix()), next_hop()), 0..10);
    (sample::subsequence(usual.to_vec(), 0..=6), more)
        .prop_map(|(usual, more)| usual.into_iter().chain(more).collect())
}

fn settings() -> impl Strategy<Value = Settings> {
    let mark = (mark(), sample::select(&[0, 0xf0, 0xff, u32::MAX][..]));
    let mark = mark.prop_map(|(mark, mask)| (mark & mask, mask));
    let lengths = (
        prop_oneof![Just(32), Just(24), Just(0), 0..=32u8],
        prop_oneof![Just(128), Just(48), Just(0), 0..=128u8],
    );
    let events = sample::select(&[0, u32::MAX][..]);
    let parts = (option::weighted(0.5, mark), lengths, events);
    parts.prop_map(
        |(exempt_mark, (source_length4, source_length6), events_per_second)| Settings {
            exempt_mark,
            source_length4,
            source_length6,
            events_per_second,
        },
    )
}

/// Generates the tables of a host of three ENIs, the first of which has this mode.
pub fn tables(mode: Mode) -> impl Strategy<Value = Datapath> {
    let enis = (eni(1, Just(mode)), eni(2, any_mode()), eni(3, any_mode()));
    let exempt = prop_oneof![3 => vec(prefix(), 0..1), 1 => vec(prefix(), 0..4)];
    let parts = (settings(), enis, owners(), next_hops(), exempt);
    parts.prop_map(
        |(settings, (here, there, elsewhere), owners, next_hops, exempt)| Datapath {
            settings: Some(settings),
            enis: [(HERE, here), (THERE, there), (ELSEWHERE, elsewhere)]
                .map(|(eni, row)| (index(eni), row))
                .into(),
            owners,
            next_hops,
            exempt: exempt.into_iter().collect(),
            ..Datapath::default()
        },
    )
}
