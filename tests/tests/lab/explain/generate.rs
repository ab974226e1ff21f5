//! Any rules, tables and packets, in the words of `ip`. Numbers come from small pools, so that
//! rules share priorities, routes share destinations, and packets meet them.

use std::net::IpAddr;

use eni_steer_core::model::{Flow, IfIndex};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// How many interfaces `w0`, `w1` ... the host has.
pub const LINKS: u8 = 5;

/// What the host is made to have, and the packets that are asked for.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Lines for `ip -batch`.
    pub lines: Vec<String>,
    /// `net.ipv6.conf.all.forwarding`
    pub ipv6_forwarding: bool,
    /// Packets.
    pub packets: Vec<Packet>,
}

/// A packet, with interfaces by their number.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub to: IpAddr,
    pub from: Option<IpAddr>,
    pub iif: Option<u8>,
    pub oif: Option<u8>,
    pub mark: u32,
    pub uid: Option<u32>,
    pub tos: u8,
    pub ip_protocol: Option<u8>,
    pub sport: Option<u16>,
    pub dport: Option<u16>,
}

impl Packet {
    /// The flow that it belongs to, once the interfaces have indexes.
    pub fn flow(&self, index: impl Fn(u8) -> IfIndex) -> Flow {
        Flow {
            from: self.from,
            mark: self.mark,
            iif: self.iif.map(&index),
            oif: self.oif.map(&index),
            uid: self.uid,
            tos: self.tos,
            ip_protocol: self.ip_protocol,
            sport: self.sport,
            dport: self.dport,
            ..Flow::to(self.to)
        }
    }
}

const PREFERENCES: [u32; 9] = [10, 20, 30, 40, 50, 60, 70, 80, 90];
const TABLES: [u32; 5] = [100, 101, 102, 103, 254];

/// Prefixes inside one another, and the addresses of the host.
fn prefix(six: bool) -> BoxedStrategy<&'static str> {
    if six {
        select(vec![
            "::/0",
            "::/1",
            "8000::/1",
            "2000::/3",
            "2001:db8::/32",
            "2001:db8:8::/48",
            "2001:db8:8::8/128",
            "fd00::/16",
            "fd00:1::/64",
            "fd00:1::9/128",
        ])
        .boxed()
    } else {
        select(vec![
            "0.0.0.0/0",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "8.0.0.0/5",
            "8.8.0.0/16",
            "8.8.8.0/24",
            "8.8.8.8/32",
            "10.0.0.0/8",
            "10.0.1.0/24",
            "10.0.1.9/32",
        ])
        .boxed()
    }
}

fn source_prefix(six: bool) -> BoxedStrategy<&'static str> {
    if six {
        select(vec![
            "fd00:1::1/128",
            "fd00:1::/64",
            "fd00::/16",
            "2001:db8:99::/48",
            "::/1",
            "8000::/1",
        ])
        .boxed()
    } else {
        select(vec![
            "10.0.1.1/32",
            "10.0.0.0/23",
            "10.0.0.0/8",
            "192.0.2.0/24",
            "0.0.0.0/1",
            "128.0.0.0/1",
        ])
        .boxed()
    }
}

fn link() -> impl Strategy<Value = u8> + Clone {
    0..LINKS
}

fn word<T: std::fmt::Display>(name: &'static str, value: Option<T>) -> String {
    value.map_or_else(String::new, |value| format!(" {name} {value}"))
}

/// A rule.
fn rule(six: bool) -> impl Strategy<Value = String> {
    let family = if six { 6 } else { 4 };
    let table = (
        select(TABLES.to_vec()),
        option::weighted(0.2, select(vec![0u8, 1, 5, 7, 15, 16, 24, 31, 32, 48])),
        option::weighted(0.2, select(vec![0u32, 7, 20229])),
    );
    let table = table.prop_map(|(table, length, group)| {
        let length = word("suppress_prefixlength", length);
        format!("lookup {table}{length}{}", word("suppress_ifgroup", group))
    });
    let action = prop_oneof![
        12 => table,
        2 => select(PREFERENCES.to_vec()).prop_map(|target| format!("goto {target}")),
        1 => Just("goto 32766".to_owned()),
        1 => Just("goto 31000".to_owned()),
        1 => Just("nop".to_owned()),
        1 => select(vec!["blackhole", "unreachable", "prohibit"]).prop_map(str::to_owned),
    ];
    let selectors = (
        option::weighted(0.35, source_prefix(six)),
        option::weighted(0.25, prefix(six)),
        option::weighted(0.15, select(vec!["0x1", "0x2", "0x10/0xf0", "0x0/0x1"])),
        option::weighted(
            0.1,
            prop_oneof![Just("lo".to_owned()), link().prop_map(|n| format!("w{n}"))],
        ),
        option::weighted(0.1, link().prop_map(|n| format!("w{n}"))),
        option::weighted(0.1, select(vec!["0-0", "1000-1999", "1-999", "0-2000"])),
        option::weighted(0.1, select(vec!["6", "17", if six { "58" } else { "1" }])),
    );
    let more = (
        option::weighted(0.07, select(vec!["1-1023", "4000", "4000-5000"])),
        option::weighted(0.07, select(vec!["53", "1-1023", "443-444"])),
        option::weighted(
            0.07,
            select(if six {
                vec!["0x10", "0x48", "0xb8"]
            } else {
                vec!["0x10", "0x08"]
            }),
        ),
        proptest::bool::weighted(0.1),
    );
    let parts = (select(PREFERENCES.to_vec()), selectors, more, action);
    parts.prop_map(move |(preference, selectors, more, action)| {
        let (from, to, mark, iif, oif, uid, protocol) = selectors;
        let (sport, dport, tos, not) = more;
        let not = if not { " not" } else { "" };
        let from = from.unwrap_or("all");
        let selectors = [
            word("to", to),
            word("fwmark", mark),
            word("iif", iif),
            word("oif", oif),
            word("uidrange", uid),
            word("ipproto", protocol),
            word("sport", sport),
            word("dport", dport),
            word("tos", tos),
        ];
        let selectors = selectors.concat();
        format!("-{family} rule add pref {preference}{not} from {from}{selectors} {action}")
    })
}

fn gateway(six: bool, link: u8, last: u8) -> String {
    if six {
        format!("via fd00:{link}::{last:x} dev w{link}")
    } else {
        format!("via 10.0.{link}.{last} dev w{link}")
    }
}

/// Where a route leads, and the words before its destination.
fn way(six: bool) -> impl Strategy<Value = (&'static str, String)> {
    let leg =
        (link(), select(vec![201u8, 202])).prop_map(move |(link, last)| gateway(six, link, last));
    let legs = (leg.clone(), leg.clone(), 1..4u8).prop_map(|(one, other, weight)| {
        format!("nexthop {one} onlink nexthop {other} onlink weight {weight}")
    });
    let objects = if six {
        vec![21u32, 22, 23, 30]
    } else {
        vec![11u32, 12, 13, 20]
    };
    prop_oneof![
        8 => leg.prop_map(|leg| ("", format!("{leg} onlink"))),
        3 => link().prop_map(|link| ("", format!("dev w{link}"))),
        2 => legs.prop_map(|legs| ("", legs)),
        1 => select(objects).prop_map(|object| ("", format!("nhid {object}"))),
        1 => Just(("blackhole ", String::new())),
        1 => Just(("unreachable ", String::new())),
        1 => Just(("prohibit ", String::new())),
        2 => Just(("throw ", String::new())),
    ]
}

/// A route.
fn route(six: bool) -> impl Strategy<Value = String> {
    let family = if six { 6 } else { 4 };
    let rare = (
        option::weighted(0.1, source_prefix(six)),
        option::weighted(0.2, select(vec!["low", "medium", "high"])),
        option::weighted(0.15, select(vec!["0x10", "0x08"])),
        proptest::bool::weighted(0.3),
    );
    let metric = option::weighted(0.5, select(vec![5u32, 10, 1024]));
    (way(six), prefix(six), select(TABLES.to_vec()), metric, rare).prop_map(
        move |((kind, way), prefix, table, metric, (from, preference, tos, append))| {
            let rare = if six {
                word("from", from) + &word("pref", preference)
            } else {
                word("tos", tos)
            };
            // Appended, an IPv6 route of the same metric stands beside another one. Equal IPv4
            // routes by default are chosen by their neighbours.
            let add = if append && (six || !prefix.ends_with("/0")) {
                "append"
            } else {
                "add"
            };
            // A dump leaves out a route by a nexthop object that stands between the legs of a
            // multipath route of its metric (`fib6_dump_node` skips to the last leg).
            let metric = match way.starts_with("nhid") && six {
                true => Some(7),
                false => metric,
            };
            let metric = word("metric", metric);
            format!(
                "-{family} route {add} {kind}{prefix}{rare} table {table}{metric} proto 99 {way}"
            )
        },
    )
}

/// What the kernel knows of a gateway.
fn neighbour() -> impl Strategy<Value = String> {
    let state = prop_oneof![
        Just("lladdr 02:00:00:00:00:99 nud permanent"),
        Just("lladdr 02:00:00:00:00:99 nud stale"),
        Just("nud failed"),
    ];
    (link(), select(vec![201u8, 202]), state).prop_map(|(link, last, state)| {
        format!("-6 neigh replace fd00:{link}::{last:x} dev w{link} {state}")
    })
}

fn packet(six: bool) -> impl Strategy<Value = Packet> {
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let own = (0..LINKS).map(move |n| {
        if six {
            format!("fd00:{n}::1")
        } else {
            format!("10.0.{n}.1")
        }
    });
    let own: Vec<IpAddr> = own.map(|text| ip(&text)).collect();
    let near = (0..LINKS).map(move |n| {
        if six {
            format!("fd00:{n}::9")
        } else {
            format!("10.0.{n}.9")
        }
    });
    let near: Vec<IpAddr> = near.map(|text| ip(&text)).collect();
    let (far, strangers) = if six {
        (
            vec![
                "2001:db8:8::8",
                "2001:db8:8::9",
                "2001:db8:9::9",
                "2003::1",
                "fd00:77::1",
                "9000::1",
            ],
            vec!["2001:db8:99::1", "fd00:1::9", "9000::2"],
        )
    } else {
        (
            vec![
                "8.8.8.8",
                "8.8.8.9",
                "8.8.9.9",
                "9.9.9.9",
                "10.77.0.1",
                "200.1.1.1",
            ],
            vec!["192.0.2.1", "10.0.1.9", "200.1.1.2"],
        )
    };
    let far: Vec<IpAddr> = far.into_iter().map(ip).collect();
    let strangers: Vec<IpAddr> = strangers.into_iter().map(ip).collect();
    let to = prop_oneof![8 => select(far), 2 => select(near), 1 => select(own.clone())];
    let rarely_foreign = prop_oneof![30 => select(own), 1 => select(strangers.clone())];
    let origin = prop_oneof![
        // Made here, perhaps by a socket that is bound to an interface.
        4 => (option::weighted(0.75, rarely_foreign), option::weighted(0.25, link()))
            .prop_map(|(from, oif)| (from, None, oif)),
        // Came in.
        1 => (select(strangers), link()).prop_map(|(from, iif)| (Some(from), Some(iif), None)),
    ];
    let protocols = if six {
        vec![6u8, 17, 58]
    } else {
        vec![1u8, 6, 17]
    };
    let of_protocol = (
        option::weighted(0.6, select(protocols)),
        option::weighted(0.5, select(vec![53u16, 4000, 4500, 40000])),
        option::weighted(0.5, select(vec![53u16, 443, 8080])),
    );
    let mark = select(vec![0u32, 0, 1, 2, 0x10, 0x13]);
    let uid = option::weighted(0.4, select(vec![0u32, 500, 1000, 3000]));
    let tos = select(vec![0u8, 0, 0, 0x10, 0x08, 0x48, 0xb8]);
    (to, origin, of_protocol, mark, uid, tos).prop_map(
        |(to, (from, iif, oif), (ip_protocol, sport, dport), mark, uid, tos)| Packet {
            to,
            from,
            iif,
            oif,
            mark,
            uid,
            tos,
            // The ports of an ICMP message are its type and code.
            sport: sport.filter(|_| matches!(ip_protocol, Some(6 | 17))),
            dport: dport.filter(|_| matches!(ip_protocol, Some(6 | 17))),
            ip_protocol,
        },
    )
}

/// Any host, and as many packets.
pub fn scenario(packets: usize) -> impl Strategy<Value = Scenario> {
    let of_both = |count| (vec(rule(false), 0..count), vec(rule(true), 0..count));
    // The kernel's own rule for main may be missing, and main's default route.
    let often = || proptest::bool::weighted(0.9);
    let main = (often(), often(), often(), often());
    (
        of_both(12),
        main,
        vec(route(false), 0..24),
        vec(route(true), 0..24),
        vec(neighbour(), 0..4),
        any::<bool>(),
        vec(prop_oneof![packet(false), packet(true)], packets),
    )
        .prop_map(
            |((rules4, rules6), main, routes4, routes6, neighbours, ipv6_forwarding, packets)| {
                let mains = [(main.0, 4), (main.1, 6)].into_iter();
                let defaults = [
                    (
                        main.2,
                        "-4 route add default proto 99 metric 50 via 10.0.0.201 dev w0 onlink",
                    ),
                    (
                        main.3,
                        "-6 route add default proto 99 metric 50 via fd00:0::c9 dev w0 onlink",
                    ),
                ];
                let defaults = defaults.into_iter().filter(|(there, _)| *there);
                let defaults = defaults.map(|(_, line)| line.to_owned());
                let mains = mains
                    .filter(|(there, _)| *there)
                    .map(|(_, family)| format!("-{family} rule add pref 32766 lookup main"));
                let lines = defaults
                    .chain(routes4)
                    .chain(routes6)
                    .chain(mains)
                    .chain(rules4)
                    .chain(rules6)
                    .chain(neighbours)
                    .collect();
                Scenario {
                    lines,
                    ipv6_forwarding,
                    packets,
                }
            },
        )
}
