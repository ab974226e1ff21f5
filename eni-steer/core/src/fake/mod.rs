//! Hosts and an executor for tests, without a kernel. Tests write hosts in the words of `ip`:
//!
//! `fake_host().eni(2, "eth0", &["172.16.20.10/24"]).route("default via 172.16.20.253 dev eth0")`
//! also has what the kernel adds by itself: connected routes, its own rules, tunables.

mod executor;
#[cfg(test)]
pub(crate) mod generate;
mod revert;

pub use executor::FakeExecutor;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{
    Address, Family, Group, Hop, Host, IfIndex, Link, Mac, PortRange, Priority, Protocol, Route,
    RouteKind, Rule, RuleAction, TableId, Tunable, TunableKind, UidRange, any, link_local, metric,
    rta,
};

/// `RTPROT_BOOT`: the protocol number of routes and rules that a person adds with `ip`.
const BOOT: Protocol = Protocol(3);
const SCOPE_LINK: u8 = 253;

/// An interface index from a number that is not 0.
pub fn index(n: u32) -> IfIndex {
    IfIndex::new(n).expect("an index is not 0")
}

/// A host with the loopback and the kernel's own rules, and nothing else.
pub fn fake_host() -> Host {
    let mut host = Host::default();
    for kind in TunableKind::SYSCTLS {
        host.all.insert(kind, 0);
    }
    let mut lo = plain_link(1, "lo");
    lo.loopback = true;
    lo.mac = None;
    host.links.insert(lo.index, lo);
    for rule in [
        "pref 0 lookup 255",
        "pref 32766 lookup 254",
        "pref 32767 lookup 253",
    ] {
        host = host.rule(&format!("{rule} protocol 2"));
    }
    for rule in ["pref 0 lookup 255", "pref 32766 lookup 254"] {
        host = host.rule6(&format!("{rule} protocol 2"));
    }
    host
}

fn plain_link(n: u32, name: &str) -> Link {
    Link {
        index: index(n),
        name: name.to_owned(),
        altnames: Vec::new(),
        mac: Some(Mac([
            2,
            0,
            0,
            0,
            0,
            u8::try_from(n).expect("a small index"),
        ])),
        kind: None,
        up: true,
        carrier: true,
        loopback: false,
        mtu: 1500,
        group: Group(0),
        master: None,
        parent: None,
    }
}

impl Host {
    /// Adds a physical Ethernet interface that is up, with these addresses.
    pub fn eni(mut self, n: u32, name: &str, addresses: &[&str]) -> Self {
        self.links.insert(index(n), plain_link(n, name));
        for kind in [
            TunableKind::Group,
            TunableKind::RpFilter,
            TunableKind::ArpIgnore,
            TunableKind::ArpAnnounce,
        ] {
            self.tunables.insert(
                Tunable {
                    index: index(n),
                    kind,
                },
                0,
            );
        }
        addresses
            .iter()
            .fold(self, |host, address| host.address(name, address))
    }

    /// Adds a virtual interface of a kind: "bridge", "wireguard" ...
    pub fn virtual_link(self, n: u32, name: &str, kind: &str, addresses: &[&str]) -> Self {
        let mut host = self.eni(n, name, addresses);
        let link = host.link_mut(name);
        link.kind = Some(kind.to_owned());
        if kind == "wireguard" {
            link.mac = None;
            host.tunables.retain(|tunable, _| tunable.index != index(n));
        }
        host
    }

    /// An interface that the test wants to change.
    pub fn link_mut(&mut self, name: &str) -> &mut Link {
        self.links
            .values_mut()
            .find(|link| link.name == name)
            .expect("a link of that name")
    }

    fn index_of(&self, name: &str) -> IfIndex {
        self.link_named(name)
            .unwrap_or_else(|| panic!("there is no {name}"))
            .index
    }

    /// Sets an interface down, as the kernel does: its routes go, its addresses stay.
    pub fn down(mut self, name: &str) -> Self {
        let index = self.index_of(name);
        let link = self.link_mut(name);
        (link.up, link.carrier) = (false, false);
        self.routes.retain(|route| route.hop_by(index).is_none());
        self
    }

    /// Adds an address, with the connected route of its prefix.
    pub fn address(mut self, name: &str, address: &str) -> Self {
        let net: IpNet = address.parse().expect("an address with a length");
        let index = self.index_of(name);
        self.addresses.push(Address {
            index,
            net,
            global: !link_local(net.addr()),
            tentative: false,
            temporary: false,
            no_prefix_route: false,
        });
        let (scope, metric) = match Family::of_net(net) {
            Family::V4 => (SCOPE_LINK, 0),
            Family::V6 => (0, 256),
        };
        let connected = Route {
            hops: vec![Hop::new(index, None)],
            metric,
            source: (Family::of_net(net) == Family::V4).then(|| net.addr()),
            scope,
            ..Route::new(TableId::MAIN, net.trunc(), Protocol::KERNEL)
        };
        if net.prefix_len() < net.max_prefix_len() && !self.routes.contains(&connected) {
            self.routes.push(connected);
        }
        self
    }

    /// Removes an address, with its connected route.
    pub fn without_address(mut self, name: &str, address: &str) -> Self {
        let net: IpNet = address.parse().expect("an address with a length");
        let index = self.index_of(name);
        self.addresses
            .retain(|a| !(a.index == index && a.net == net));
        let still = self
            .addresses
            .iter()
            .any(|a| a.index == index && a.net.trunc() == net.trunc());
        self.routes.retain(|route| {
            still
                || route.protocol != Protocol::KERNEL
                || route.hop_by(index).is_none()
                || route.destination != net.trunc()
        });
        self
    }

    /// Removes an interface, with its routes, addresses, tunables and programs.
    pub fn gone(self, name: &str) -> Self {
        let index = self.index_of(name);
        let mut host = self.down(name);
        host.addresses.retain(|address| address.index != index);
        host.tunables.retain(|tunable, _| tunable.index != index);
        host.datapath
            .attachments
            .retain(|hook, _| hook.interface() != index);
        host.links.remove(&index);
        host
    }

    /// Removes a route, named in the words that added it.
    pub fn without_route(mut self, words: &str) -> Self {
        let route = self.parse_route(words);
        let before = self.routes.len();
        self.routes.retain(|other| *other != route);
        assert!(self.routes.len() < before, "there is no route {words}");
        self
    }

    /// Sets a tunable of an interface to a value.
    pub fn tunable(mut self, name: &str, kind: TunableKind, value: u32) -> Self {
        let tunable = Tunable {
            index: self.index_of(name),
            kind,
        };
        self.tunables.insert(tunable, value);
        if kind == TunableKind::Group {
            self.link_mut(name).group = Group(value);
        }
        self
    }

    /// Adds a route in the words of `ip route add`: `[KIND] PREFIX|default|default6 [via A] [dev D]
    /// [table N] [metric N] [mtu N] [proto N] [onlink] [scope link] [src A] [from P] [tos N] [advmss N]
    /// [initcwnd N] [quickack N] [pref high|low] [encap N]`, with `nexthop via A dev D [weight N]`
    /// for each next hop of a multipath route.
    pub fn route(mut self, words: &str) -> Self {
        let route = self.parse_route(words);
        self.routes.push(route);
        self
    }

    fn parse_route(&self, text: &str) -> Route {
        let mut words = text.split_whitespace().peekable();
        let mut first = words.next().expect("a destination");
        let kind = match first {
            "blackhole" => RouteKind::Blackhole,
            "unreachable" => RouteKind::Unreachable,
            "prohibit" => RouteKind::Prohibit,
            "throw" => RouteKind::Throw,
            "local" => RouteKind::Local,
            _ => RouteKind::Unicast,
        };
        if kind != RouteKind::Unicast {
            first = words.next().expect("a destination");
        }
        let mut hops: Vec<Hop> = Vec::new();
        let (mut gateway, mut metric, mut scope): (Option<IpAddr>, _, _) = (None, None, None);
        let (mut table, mut protocol) = (TableId::MAIN, BOOT);
        let mut more = Route::new(table, any(Family::V4), protocol);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .unwrap_or_else(|| panic!("{word} what? {text}"))
            };
            match word {
                "nexthop" => {}
                "via" => gateway = Some(value().parse().expect("a gateway")),
                "dev" => hops.push(Hop::new(self.index_of(value()), gateway.take())),
                "weight" => last(&mut hops).weight = number(value()),
                "onlink" => last(&mut hops).onlink = true,
                "table" => table = TableId(number(value())),
                "metric" => metric = Some(number(value())),
                "proto" => protocol = Protocol(number(value())),
                "mtu" => more.mtu = Some(number(value())),
                "src" => more.source = Some(value().parse().expect("an address")),
                "from" => more.from = Some(prefix(value())),
                "tos" => more.tos = number(value()),
                "advmss" | "initcwnd" | "quickack" => {
                    let metric = match word {
                        "advmss" => metric::ADVMSS,
                        "initcwnd" => 11,
                        _ => 15,
                    };
                    more.metrics
                        .set(metric, &number::<u32>(value()).to_ne_bytes());
                }
                "pref" => {
                    let preference = if value() == "high" { 1 } else { 3 };
                    more.attributes.set(rta::PREFERENCE, &[preference]);
                }
                // `encap NUMBER`: a kind of encapsulation that needs nothing else.
                "encap" => {
                    let kind = number::<u16>(value()).to_ne_bytes();
                    let attributes = &mut last(&mut hops).attributes;
                    attributes.set(rta::ENCAP_TYPE, &kind);
                    attributes.set(rta::ENCAP, &[]);
                }
                "scope" => scope = (value() == "link").then_some(SCOPE_LINK),
                other => panic!("what is {other} in {text}?"),
            }
        }
        let family = hops
            .iter()
            .find_map(|hop| hop.gateway)
            .map_or(Family::V4, Family::of);
        let destination = match first {
            "default" => any(family),
            "default6" => any(Family::V6),
            net => prefix(net),
        };
        let v6 = Family::of_net(destination) == Family::V6;
        Route {
            table,
            destination,
            kind,
            hops,
            metric: metric.unwrap_or(if v6 { 1024 } else { 0 }),
            scope: scope.unwrap_or(0),
            protocol,
            ..more
        }
    }

    /// Adds an IPv4 rule in the words of `ip rule add`, after the others of its priority.
    pub fn rule(self, words: &str) -> Self {
        self.rule_of(Family::V4, words)
    }

    /// Adds an IPv6 rule in the words of `ip rule add`.
    pub fn rule6(self, words: &str) -> Self {
        self.rule_of(Family::V6, words)
    }

    fn rule_of(mut self, family: Family, words: &str) -> Self {
        let rule = parse_rule(family, words);
        let behind = |other: &Rule| (other.family, other.priority) > (family, rule.priority);
        let at = self
            .rules
            .iter()
            .position(behind)
            .unwrap_or(self.rules.len());
        self.rules.insert(at, rule);
        self
    }
}

fn last(hops: &mut [Hop]) -> &mut Hop {
    hops.last_mut().expect("dev comes before weight and onlink")
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse()
        .unwrap_or_else(|_: N::Err| panic!("{word} is not a number"))
}

fn prefix(word: &str) -> IpNet {
    word.parse()
        .or_else(|_no_length| word.parse::<IpAddr>().map(IpNet::from))
        .unwrap_or_else(|_neither| panic!("{word} is not a prefix"))
}

fn pair<N: std::str::FromStr + Copy>(word: &str) -> (N, N) {
    let (start, end) = word.split_once('-').unwrap_or((word, word));
    (number(start), number(end))
}

/// A rule in the words of `ip rule add`.
fn parse_rule(family: Family, text: &str) -> Rule {
    let mut rule = Rule::new(family, Priority(0), BOOT, RuleAction::Nop);
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .unwrap_or_else(|| panic!("{word} what? {text}"))
        };
        match word {
            "pref" => rule.priority = Priority(number(value())),
            "not" => rule.invert = true,
            "from" => rule.from = Some(value()).filter(|v| *v != "all").map(prefix),
            "to" => rule.to = Some(prefix(value())),
            "iif" => rule.iif = Some(value().to_owned()),
            "oif" => rule.oif = Some(value().to_owned()),
            "fwmark" => {
                let (mark, mask) = value().split_once('/').unwrap_or(("0", "0"));
                rule.mark = Some((number(mark), number(mask)));
            }
            "tos" => rule.tos = number(value()),
            "ipproto" => rule.ip_protocol = Some(number(value())),
            "sport" | "dport" => {
                let (start, end) = pair(value());
                let range = Some(PortRange { start, end });
                if word == "sport" {
                    rule.sport = range
                } else {
                    rule.dport = range
                }
            }
            "uidrange" => {
                let (start, end) = pair(value());
                rule.uids = Some(UidRange { start, end });
            }
            "lookup" => rule.action = RuleAction::Table(TableId(number(value()))),
            "goto" => rule.action = RuleAction::Goto(Priority(number(value()))),
            "nop" => rule.action = RuleAction::Nop,
            "blackhole" => rule.action = RuleAction::Blackhole,
            "unreachable" => rule.action = RuleAction::Unreachable,
            "prohibit" => rule.action = RuleAction::Prohibit,
            "l3mdev" => rule.action = RuleAction::L3mdev,
            "suppress_prefixlength" => rule.suppress_prefix_length = Some(number(value())),
            "suppress_ifgroup" => rule.suppress_group = Some(Group(number(value()))),
            "protocol" => rule.protocol = Protocol(number(value())),
            other => panic!("what is {other} in {text}?"),
        }
    }
    rule
}
