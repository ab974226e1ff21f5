//! Routes.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, IfIndex, Names, Protocol, TableId, any};

/// What a route does with a packet (`rtm_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// To this host.
    Local,
    /// Broadcast on the link.
    Broadcast,
    /// Anycast address of this host.
    Anycast,
    /// Multicast.
    Multicast,
    /// Drops it silently.
    Blackhole,
    /// Refuses with "host unreachable".
    Unreachable,
    /// Refuses with "administratively prohibited".
    Prohibit,
    /// Makes the rule walk go on with the next rule.
    Throw,
    /// Another `rtm_type`.
    Other(u8),
}

/// One leg of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// Interface the packet leaves by.
    pub out: IfIndex,
    /// Gateway; `None`: the destination is a neighbour.
    pub gateway: Option<IpAddr>,
    /// `RTNH_F_ONLINK`: the gateway is a neighbour although no route says so.
    pub onlink: bool,
    /// Share of a multipath route, 1..=256.
    pub weight: u16,
}

impl Hop {
    /// A leg of weight 1.
    pub fn new(out: IfIndex, gateway: Option<IpAddr>) -> Self {
        Self {
            out,
            gateway,
            onlink: false,
            weight: 1,
        }
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Its table.
    pub table: TableId,
    /// Destination; length 0 is the default route.
    pub destination: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// Legs; empty for blackhole and the like, more than one for multipath.
    pub hops: Vec<Hop>,
    /// Metric (`RTA_PRIORITY`): lower wins. IPv6 reads 0 as 1024.
    pub metric: u32,
    /// Preferred source (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
    /// `rtm_scope`: 253 link, 0 universe.
    pub scope: u8,
    /// TOS the route is limited to; 0: none.
    pub tos: u8,
    /// Route MTU (`RTAX_MTU`).
    pub mtu: Option<u32>,
    /// Who installed it.
    pub protocol: Protocol,
    /// It carries something this type can not hold (a nexthop object, an encapsulation,
    /// metrics other than the MTU): never rewritten, and copied only in what is held.
    pub partial: bool,
}

/// What makes two routes the same place in a table: the kernel holds one route of each key
/// (`fib_find_alias` in net/ipv4/fib_trie.c, `fib6_add_rt2node` in net/ipv6/ip6_fib.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    table: TableId,
    destination: IpNet,
    metric: u32,
    tos: u8,
}

impl Route {
    /// Its place in its table.
    pub fn key(&self) -> RouteKey {
        RouteKey {
            table: self.table,
            destination: self.destination,
            metric: self.metric,
            tos: self.tos,
        }
    }

    /// The route as an argument list of `ip route add`.
    pub fn describe(&self, names: &impl Names) -> String {
        let mut words = Vec::new();
        if self.kind != RouteKind::Unicast {
            words.push(self.kind.to_string());
        }
        words.push(destination_text(self.destination).to_string());
        let single = self.hops.len() == 1;
        for hop in &self.hops {
            if !single {
                words.push("nexthop".to_owned());
            }
            if let Some(gateway) = hop.gateway {
                let inet6 = gateway.is_ipv6() && self.destination.addr().is_ipv4();
                words.push(format!(
                    "via {}{gateway}",
                    if inet6 { "inet6 " } else { "" }
                ));
            }
            words.push(format!("dev {}", names.name(hop.out)));
            if !single {
                words.push(format!("weight {}", hop.weight));
            }
            if hop.onlink {
                words.push("onlink".to_owned());
            }
        }
        words.push(format!("table {}", self.table));
        if let Some(source) = self.source {
            words.push(format!("src {source}"));
        }
        if self.metric != 0 {
            words.push(format!("metric {}", self.metric));
        }
        if let Some(mtu) = self.mtu {
            words.push(format!("mtu {mtu}"));
        }
        if self.scope == 253 && self.hops.iter().all(|hop| hop.gateway.is_none()) {
            words.push("scope link".to_owned());
        }
        words.push(format!("proto {}", self.protocol));
        words.join(" ")
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of_net(self.destination)
    }

    /// Whether it is a default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    /// The leg through an interface.
    pub fn hop_by(&self, out: IfIndex) -> Option<&Hop> {
        self.hops.iter().find(|hop| hop.out == out)
    }
}

impl RouteKind {
    /// Whether it ends the rule walk by refusing.
    pub fn refuses(self) -> bool {
        matches!(self, Self::Blackhole | Self::Unreachable | Self::Prohibit)
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Anycast => "anycast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
            Self::Other(n) => return write!(f, "type {n}"),
        })
    }
}

/// How `ip route` names a destination: `default`, or the prefix, an address without `/32`.
pub fn destination_text(net: IpNet) -> impl fmt::Display {
    Destination(net)
}

struct Destination(IpNet);

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = self.0;
        if net == any(Family::of_net(net)) {
            f.pad("default")
        } else if net.prefix_len() == net.max_prefix_len() {
            net.addr().fmt(f)
        } else {
            net.fmt(f)
        }
    }
}
