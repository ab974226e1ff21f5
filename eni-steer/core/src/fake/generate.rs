//! Strategies for property tests: any host, any policy.
//!
//! Numbers come from small pools, so that two ENIs get the same address, two names the same table,
//! and leftovers the places of desired objects. The strategies never produce what the kernel cannot
//! hold: routes through interfaces that are down, or two routes in one place.

use crate::desired::Absence;
use crate::model::Hook;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample};

use super::{fake_host, index};
use crate::{
    model::{
        AttachKind, Attachment, Direction, EniRow, Family, Group, Hop, Host, IfIndex, Lease, Mode,
        NextHop, Owner, Priority, Protocol, Route, RouteKind, Rule, RuleAction, SavedValue,
        Settings, TableId, Tunable, TunableKind, UidRange, any as everything, covers,
    },
    ownership::{GROUP, PROTOCOL},
    policy::{
        AccessAction, AccessRule, Balance, Discover, EniPolicy, GatewayChoice, Policy,
        PrimaryPolicy, Selector,
    },
};

/// Interfaces a host may have: index, name, kind.
const LINKS: [(u32, &str, Option<&str>); 6] = [
    (2, "eth0", None),
    (3, "eth1", None),
    (4, "ens5", None),
    (5, "uplink", None),
    (6, "docker0", Some("bridge")),
    (7, "wg0", Some("wireguard")),
];

/// Two subnets of each family.
fn v4(subnet: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, subnet, last).into()
}

fn v6(subnet: u16, last: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, subnet, 0, 0, 0, 0, 0, last).into()
}

fn an_ip() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0..2u8, 1..9u8).prop_map(|(six, subnet, last)| {
        if six {
            v6(subnet.into(), last.into())
        } else {
            v4(subnet, last)
        }
    })
}

/// An address with a length that a subnet or a single host has.
fn a_net() -> impl Strategy<Value = IpNet> {
    (an_ip(), 0..4u8).prop_map(|(ip, wide)| {
        let length = match (ip, wide) {
            (IpAddr::V4(_), 0) => 32,
            (IpAddr::V4(_), 1) => 28,
            (IpAddr::V4(_), _) => 24,
            (IpAddr::V6(_), 0) => 128,
            (IpAddr::V6(_), _) => 64,
        };
        IpNet::new(ip, length).expect("a length of its family")
    })
}

/// A prefix as a destination or a delegation.
fn a_prefix() -> impl Strategy<Value = IpNet> {
    (an_ip(), 0..5u8).prop_map(|(ip, shorter)| {
        let full = Family::of(ip).bits();
        IpNet::new(ip, full - shorter)
            .expect("a length of its family")
            .trunc()
    })
}

fn a_destination() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        1 => a_net().prop_map(|net| net.trunc()),
        1 => a_prefix(),
        1 => sample::select(vec!["192.168.7.0/24", "10.0.0.0/8", "fd77::/48"])
            .prop_map(|net| net.parse().expect("a prefix")),
        3 => sample::select(Family::BOTH.to_vec()).prop_map(everything),
    ]
}

fn an_index() -> impl Strategy<Value = IfIndex> {
    (2..8u32).prop_map(index)
}

fn a_kind() -> impl Strategy<Value = RouteKind> {
    prop_oneof![
        8 => Just(RouteKind::Unicast),
        1 => sample::select(vec![
            RouteKind::Blackhole, RouteKind::Unreachable, RouteKind::Prohibit, RouteKind::Throw,
        ]),
    ]
}

/// A route in one of these tables, by one of these protocols.
fn a_route(tables: Vec<u32>, protocols: Vec<u8>) -> impl Strategy<Value = Route> {
    let hops = vec((an_index(), option::of(0..9u8), 1..4u16), 1..3);
    let numbers = (
        sample::select(tables),
        sample::select(protocols),
        prop_oneof![3 => Just(0u32), 1 => Just(100), 1 => Just(200)],
    );
    (
        a_destination(),
        a_kind(),
        hops,
        numbers,
        option::weighted(0.2, Just(1400u32)),
    )
        .prop_map(
            |(destination, kind, legs, (table, protocol, metric), mtu)| {
                let family = Family::of_net(destination);
                let single = legs.len() == 1;
                let hop = |(out, gateway, weight): (IfIndex, Option<u8>, u16)| Hop {
                    out,
                    attributes: Default::default(),
                    gateway: gateway.map(|last| match family {
                        Family::V4 => v4(last % 2, 100),
                        Family::V6 if last == 0 => "fe80::1".parse().expect("an address"),
                        Family::V6 => v6(u16::from(last % 2), 100),
                    }),
                    onlink: false,
                    weight: if single { 1 } else { weight },
                };
                let hops: Vec<Hop> = match kind {
                    RouteKind::Unicast => legs.into_iter().map(hop).collect(),
                    _ => Vec::new(),
                };
                let via = hops.iter().any(|hop| hop.gateway.is_some());
                Route {
                    kind,
                    scope: if family == Family::V4 && !via && !hops.is_empty() {
                        253
                    } else {
                        0
                    },
                    hops,
                    metric: metric + if family == Family::V6 { 1024 } else { 0 },
                    mtu,
                    ..Route::new(TableId(table), destination, Protocol(protocol))
                }
            },
        )
}

fn an_action() -> impl Strategy<Value = RuleAction> {
    prop_oneof![
        6 => sample::select(vec![52, 100, 254, 1001, 21000, 21001, 21002])
            .prop_map(|table| RuleAction::Table(TableId(table))),
        1 => Just(RuleAction::Goto(Priority(32766))),
        1 => Just(RuleAction::Nop),
        1 => Just(RuleAction::Blackhole),
        1 => Just(RuleAction::L3mdev),
    ]
}

fn a_rule(priorities: Vec<u32>, protocols: Vec<u8>) -> impl Strategy<Value = Rule> {
    let numbers = (sample::select(priorities), sample::select(protocols));
    let selectors = (
        option::of(a_prefix()),
        option::weighted(0.2, a_prefix()),
        0..6u8,
    );
    (
        sample::select(Family::BOTH.to_vec()),
        numbers,
        an_action(),
        selectors,
    )
        .prop_map(
            |(family, (priority, protocol), action, (from, to, extra))| {
                let of_family = |net: &IpNet| Family::of_net(*net) == family;
                let mut rule = Rule::new(family, Priority(priority), Protocol(protocol), action);
                rule.from = from.filter(of_family);
                rule.to = to.filter(of_family);
                match extra {
                    0 => rule.mark = Some((0x80000, 0xff0000)),
                    1 => rule.suppress_prefix_length = Some(0),
                    2 => rule.suppress_group = Some(GROUP),
                    3 => {
                        rule.uids = Some(UidRange {
                            start: 1000,
                            end: 2000,
                        })
                    }
                    4 => rule.iif = Some("docker0".to_owned()),
                    _ => {}
                }
                rule
            },
        )
}

fn an_owner() -> impl Strategy<Value = Owner> {
    prop_oneof![an_index().prop_map(Owner::Eni), Just(Owner::Ambiguous)]
}

fn a_next_hop() -> impl Strategy<Value = NextHop> {
    prop_oneof![
        option::of(Just(1400)).prop_map(|mtu| NextHop::OnLink { mtu }),
        an_ip().prop_map(|gateway| NextHop::Via { gateway, mtu: None }),
        Just(NextHop::Refuse),
    ]
}

fn a_mode() -> impl Strategy<Value = Mode> {
    sample::select(vec![Mode::Count, Mode::Steer, Mode::Drop])
}

/// Fills the maps with what an earlier version or an interrupted `apply` may have left there.
fn put_datapath(
    host: &mut Host,
    rows: &[(IfIndex, Mode, u64, bool)],
    owners: Vec<(IpNet, Owner)>,
    next_hops: Vec<((IfIndex, IpNet), NextHop)>,
    exempt: BTreeSet<IpNet>,
) {
    let datapath = &mut host.datapath;
    datapath.settings = Some(Settings {
        events_per_second: 7,
        ..Settings::default()
    });
    for (eni, mode, build, both) in rows {
        let mac = host.links.get(eni).and_then(|link| link.mac);
        let Some(mac) = mac else { continue };
        datapath.enis.insert(
            *eni,
            EniRow {
                mac,
                mtu: 1500,
                mode: *mode,
                up: *both,
            },
        );
        for direction in [Direction::Ingress, Direction::Egress] {
            if *both || direction == Direction::Egress {
                let kind = if *build == 0 {
                    AttachKind::Tcx
                } else {
                    AttachKind::Clsact
                };
                let attached = Attachment {
                    kind,
                    build: *build,
                    log_level: 0,
                };
                datapath
                    .attachments
                    .insert(Hook::tc(*eni, direction), attached);
            }
        }
    }
    let enis = &datapath.enis;
    let known = |owner: &Owner| !matches!(owner, Owner::Eni(eni) if !enis.contains_key(eni));
    datapath.owners = owners
        .into_iter()
        .filter(|(_, owner)| known(owner))
        .collect();
    datapath.next_hops = next_hops
        .into_iter()
        .filter(|((eni, _), _)| enis.contains_key(eni))
        .collect();
    datapath.exempt = exempt;
}

/// A host with interfaces, addresses, and the routes that the kernel adds for them.
fn a_bare_host() -> impl Strategy<Value = Host> {
    let address = (an_index(), a_net(), 0..12u8);
    (vec(0..10u8, LINKS.len()), vec(address, 0..8)).prop_map(|(links, addresses)| {
        let mut host = fake_host();
        for ((n, name, kind), state) in LINKS.into_iter().zip(links) {
            if state == 0 {
                continue;
            }
            host = match kind {
                None => host.eni(n, name, &[]),
                Some(kind) => host.virtual_link(n, name, kind, &[]),
            };
            if state == 1 {
                host = host.down(name);
            }
        }
        for (out, net, state) in addresses {
            let Some(link) = host.links.get(&out).cloned() else {
                continue;
            };
            if host
                .addresses
                .iter()
                .any(|a| a.index == out && a.ip() == net.addr())
            {
                continue;
            }
            host = host.address(&link.name, &net.to_string());
            if let Some(address) = host.addresses.last_mut() {
                address.tentative = state == 0;
                address.global = state != 1;
                address.no_prefix_route = state == 2;
            }
            if !link.up || state == 2 {
                host.routes.pop_if(|route| route.hop_by(out).is_some());
            }
        }
        host
    })
}

/// Whether the kernel could hold a route on this host, beside the others.
fn possible(host: &Host, route: &mut Route) -> bool {
    let up = |hop: &Hop| host.links.get(&hop.out).is_some_and(|link| link.up);
    for hop in &mut route.hops {
        hop.onlink = hop.gateway.is_some_and(|gateway| {
            !host.routes.iter().any(|link| {
                let connected = link.protocol == Protocol::KERNEL && link.hop_by(hop.out).is_some();
                connected && covers(link.destination, IpNet::from(gateway))
            })
        });
    }
    let place = |r: &Route| (r.table, r.destination, r.metric, r.tos);
    let legs: BTreeSet<_> = route
        .hops
        .iter()
        .map(|hop| (hop.out, hop.gateway))
        .collect();
    route.hops.iter().all(up)
        && legs.len() == route.hops.len()
        && !host.routes.iter().any(|other| place(other) == place(route))
}

type TunableValues = BTreeMap<(u32, u8), (u32, Option<(u32, u32)>)>;

fn tunables() -> impl Strategy<Value = TunableValues> {
    let value = || prop_oneof![3 => 0..3u32, 1 => Just(GROUP.0)];
    let saved = option::weighted(0.3, (0..3u32, value()));
    proptest::collection::btree_map((2..8u32, 0..4u8), (value(), saved), 0..12)
}

fn put_tunables(host: &mut Host, values: TunableValues) {
    for ((n, kind), (value, saved)) in values {
        let kind = match kind {
            0 => TunableKind::Group,
            1 => TunableKind::RpFilter,
            2 => TunableKind::ArpIgnore,
            _ => TunableKind::ArpAnnounce,
        };
        let tunable = Tunable {
            index: index(n),
            kind,
        };
        // A sysctl is at most 2, a group any number; without a saved value, a group is 0 or
        // eni-steer's.
        let value = match (kind, value) {
            (TunableKind::Group, GROUP_NUMBER) => value,
            (TunableKind::Group, _) if saved.is_none() => 0,
            (TunableKind::Group, _) => value,
            (_, value) => value % 3,
        };
        if !host.tunables.contains_key(&tunable) {
            continue;
        }
        host.tunables.insert(tunable, value);
        if kind == TunableKind::Group
            && let Some(link) = host.links.get_mut(&tunable.index)
        {
            link.group = Group(value);
        }
        if let Some((previous, ours)) = saved {
            // For half of the saved values, no other program has changed the tunable since.
            let ours = if ours % 2 == 0 { value } else { ours };
            if previous != ours {
                host.saved.insert(tunable, SavedValue { previous, ours });
            }
        }
    }
}

const GROUP_NUMBER: u32 = GROUP.0;

/// Any host that a kernel can hold.
pub(crate) fn observed() -> impl Strategy<Value = Host> {
    let ours = PROTOCOL.0;
    let routes = (
        vec(a_route(vec![254, 254, 254, 52, 100], vec![3, 16]), 0..7),
        vec(
            a_route(vec![21000, 21001, 21005, 21504, 1001, 254, 100], vec![ours]),
            0..9,
        ),
        vec(a_route(vec![21000, 21001, 1001], vec![3]), 0..2),
        0..6u8,
    );
    let rules = (
        vec(
            a_rule(vec![0, 100, 5210, 19999, 30200], vec![0, 3, 186]),
            0..5,
        ),
        vec(
            a_rule(
                vec![100, 19000, 20000, 20010, 20300, 20301, 20308, 20364],
                vec![ours],
            ),
            0..5,
        ),
        vec(a_rule(vec![20000, 20300, 20500], vec![3]), 0..2),
        vec(0..8usize, 0..3),
        0..6u8,
    );
    let datapath = option::of((
        vec((an_index(), a_mode(), 0..3u64, any::<bool>()), 0..4),
        vec((a_prefix(), an_owner()), 0..5),
        vec(((an_index(), a_destination()), a_next_hop()), 0..5),
        proptest::collection::btree_set(a_prefix(), 0..3),
    ));
    let rest = (
        tunables(),
        vec((an_index(), an_ip()), 0..4),
        vec(0..3u32, 3),
    );
    (a_bare_host(), routes, rules, datapath, rest).prop_map(
        |(mut host, routes, rules, datapath, (values, leases, all))| {
            let (foreign, own, obstacles, rarely) = routes;
            let in_the_way = obstacles.into_iter().filter(|_| rarely == 0);
            for mut route in foreign.into_iter().chain(own).chain(in_the_way) {
                if possible(&host, &mut route) {
                    host.routes.push(route);
                }
            }
            let (foreign, own, obstacles, again, rarely) = rules;
            let in_the_way = obstacles.into_iter().filter(|_| rarely == 0);
            for rule in foreign.into_iter().chain(own).chain(in_the_way) {
                if !host.rules.contains(&rule) {
                    host.rules.push(rule);
                }
            }
            for n in again {
                let ours = |rule: &&Rule| rule.protocol == PROTOCOL;
                host.rules
                    .extend(host.rules.iter().filter(ours).nth(n).cloned());
            }
            host.rules.sort_by_key(|rule| (rule.family, rule.priority));
            if let Some((rows, owners, next_hops, exempt)) = datapath {
                put_datapath(&mut host, &rows, owners, next_hops, exempt);
            }
            put_tunables(&mut host, values);
            for (kind, value) in TunableKind::SYSCTLS.into_iter().zip(all) {
                host.all.insert(kind, value);
            }
            for (index, gateway) in leases {
                let file = format!("run/systemd/netif/leases/{index}");
                host.leases.push(Lease {
                    index,
                    gateway,
                    file,
                });
            }
            host
        },
    )
}

fn an_eni_policy() -> impl Strategy<Value = EniPolicy> {
    let gateway = prop_oneof![
        3 => an_ip().prop_map(GatewayChoice::Address),
        1 => Just(GatewayChoice::First),
        1 => Just(GatewayChoice::Last),
    ];
    (
        sample::select(vec!["eth0", "eth1", "ens5", "uplink", "02:00:00:00:00:03"]),
        option::weighted(0.2, sample::select(vec![1001, 21001, 21503])),
        vec(gateway, 0..3),
        option::of(a_mode()),
        vec(an_ip(), 0..3),
        vec(a_prefix(), 0..3),
        proptest::bool::weighted(0.9),
        option::weighted(0.3, sample::select(vec![0, 50, 200, 1024])),
    )
        .prop_map(
            |(name, table, gateways, mode, addresses, prefixes, managed, metric)| EniPolicy {
                managed,
                default_metric: metric,
                table: table.map(TableId),
                gateways,
                mode,
                addresses,
                prefixes,
                ..EniPolicy::new(Selector::from(name))
            },
        )
}

/// Any access rule without a source; the source rules decide about sources.
fn an_access_rule() -> impl Strategy<Value = AccessRule> {
    let then = prop_oneof![
        Just(AccessAction::Prohibit),
        Just(AccessAction::Unreachable),
        Just(AccessAction::Blackhole),
        sample::select(vec!["eth0", "eth1", "ens5"])
            .prop_map(|eni| AccessAction::Eni(Selector::from(eni))),
    ];
    let matches = (
        option::of(a_destination()),
        option::of(Just((7, 0xff))),
        option::of(sample::select(vec![6, 58])),
    );
    (then, matches).prop_map(|(then, (to, mark, ip_protocol))| AccessRule {
        to,
        mark,
        ip_protocol,
        ..AccessRule::new(then)
    })
}

fn a_balance() -> impl Strategy<Value = Balance> {
    let table = option::weighted(0.2, Just(TableId(1002)));
    (1..=256u16, 1..=3u16, table).prop_map(|(one, other, table)| Balance {
        weights: vec![
            (Selector::from("eth0"), one),
            (Selector::from("eth1"), other),
        ],
        table,
    })
}

/// Any policy, also one that the host does not allow.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let often = || proptest::bool::weighted(0.8);
    (
        vec(an_eni_policy(), 0..4),
        (often(), often(), often()),
        sample::select(vec![
            PrimaryPolicy::Auto,
            PrimaryPolicy::Observe,
            PrimaryPolicy::Full,
        ]),
        a_mode(),
        sample::select(vec![None, Some(AttachKind::Tcx), Some(AttachKind::Clsact)]),
        vec(a_prefix(), 0..2),
        (
            sample::select(vec![20000, 21000]),
            sample::select(vec![GROUP, Group(7)]),
        ),
        (
            prop_oneof![3 => Just(Discover::IfNoneNamed), 1 => Just(Discover::Always)],
            vec(an_access_rule(), 0..3),
            option::weighted(0.3, a_balance()),
        ),
    )
        .prop_map(
            |(enis, (rules, programs, sysctls), primary, mode, attach, exempt, n, more)| {
                let (discover, access, balance) = more;
                let mut policy = Policy {
                    enis,
                    primary,
                    rules,
                    programs,
                    sysctls,
                    attach,
                    mode,
                    exempt,
                    discover,
                    access,
                    // Balance needs source rules for the primary.
                    balance: balance.filter(|_| primary == PrimaryPolicy::Full),
                    ..Policy::default()
                };
                policy.ownership.first = Priority(n.0);
                policy.ownership.last = Priority(n.0 + 999);
                policy.ownership.group = n.1;
                policy
            },
        )
}

/// What a command does about a missing ENI, or what a daemon does.
pub(crate) fn absence() -> impl Strategy<Value = Absence> {
    prop_oneof![1 => Just(Absence::Error), 2 => Just(Absence::Wait)]
}
