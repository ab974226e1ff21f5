//! Routes, and their text in the words of `ip route`.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Attributes, Family, IfIndex, Names, Protocol, TableId, any, route_text};

/// What a route does with a packet (`rtm_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Sends the packet on.
    Unicast,
    /// Delivers the packet to this host.
    Local,
    /// Sends the packet to every host on the link.
    Broadcast,
    /// Delivers to an IPv6 anycast address of this host.
    Anycast,
    /// Sends to a multicast group.
    Multicast,
    /// Drops the packet silently.
    Blackhole,
    /// Refuses the packet with "host unreachable".
    Unreachable,
    /// Refuses the packet with "administratively prohibited".
    Prohibit,
    /// Sends the lookup on to the next rule, as if the table had no route.
    Throw,
    /// Another `rtm_type`, by its number.
    Other(u8),
}

/// Numbers of route attributes (`RTA_*`) of which eni-steer knows more than that it copies them.
pub mod rta {
    /// `RTA_FLOW`: realms, the classes of routes that tc can tell apart.
    pub const FLOW: u16 = 11;
    /// `RTA_PREF`: the preference that an IPv6 router advertised of itself (RFC 4191).
    pub const PREFERENCE: u16 = 20;
    /// `RTA_ENCAP_TYPE`: how packets are encapsulated.
    pub const ENCAP_TYPE: u16 = 21;
    /// `RTA_ENCAP`: what the encapsulation needs: addresses, labels, segments.
    pub const ENCAP: u16 = 22;
}

/// Numbers of the metrics of a route (`RTAX_*`).
pub mod metric {
    /// `RTAX_LOCK`: which of the metrics the kernel may not adjust, one bit each.
    pub const LOCK: u16 = 1;
    /// `RTAX_MTU`: the largest packet.
    pub const MTU: u16 = 2;
    /// `RTAX_ADVMSS`: the largest TCP segment that this host asks its peer to send.
    pub const ADVMSS: u16 = 8;
}

/// One next hop of a route. A multipath route has several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// Interface the packet leaves by.
    pub out: IfIndex,
    /// Gateway; `None`: the destination is a neighbour on the interface.
    pub gateway: Option<IpAddr>,
    /// `RTNH_F_ONLINK`: the kernel treats the gateway as a neighbour although no route says so.
    pub onlink: bool,
    /// Share of the traffic of a multipath route, 1..=256.
    pub weight: u16,
    /// What else the kernel keeps with the next hop: encapsulation, realms.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

impl Hop {
    /// A next hop of weight 1 without `onlink`.
    pub fn new(out: IfIndex, gateway: Option<IpAddr>) -> Self {
        Self {
            out,
            gateway,
            onlink: false,
            weight: 1,
            attributes: Attributes::default(),
        }
    }

    /// Whether the kernel puts packets that take this next hop into other packets.
    pub fn encapsulates(&self) -> bool {
        self.attributes.get(rta::ENCAP_TYPE).is_some()
    }
}

/// A route of a routing table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The table that holds it.
    pub table: TableId,
    /// Destination prefix; length 0: a default route.
    pub destination: IpNet,
    /// What the route does with a packet.
    pub kind: RouteKind,
    /// Next hops: none for blackhole and the like, more than one for a multipath route.
    pub hops: Vec<Hop>,
    /// Metric (`RTA_PRIORITY`): the lower one wins. The kernel turns an IPv6 metric of 0 into
    /// 1024.
    pub metric: u32,
    /// Source for packets whose sender chose none (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
    /// `rtm_scope`: 253 link, 0 universe.
    pub scope: u8,
    /// TOS that packets must have; 0: any.
    pub tos: u8,
    /// MTU of the route (`RTAX_MTU`); `None`: the MTU of the interface counts.
    pub mtu: Option<u32>,
    /// The other metrics (`RTA_METRICS`): locks, advmss, initcwnd, congestion control ...
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub metrics: Attributes,
    /// Program that installed the route (`rtm_protocol`).
    pub protocol: Protocol,
    /// Only for packets from this prefix (`RTA_SRC`); IPv6 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// What else the kernel keeps with the route. Not among these: what changes by itself, such as
    /// the age of the route.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Number of the nexthop object (`ip nexthop`) that the route points to. Its next hops are in
    /// `hops`; a copy of the route has them as its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop_object: Option<u32>,
}

/// The longest prefix of a route that counts as a default route.
///
/// - IPv4: 7. A prefix of length 8 can be one network, such as 10.0.0.0/8; a shorter one cannot.
/// - IPv6: 6. A route to fc00::/7 leads to private networks, so it is a specific destination. No
///   network is larger; 2000::/3 is everything that is in use, and OpenVPN splits it into 2000::/4
///   and 3000::/4.
pub(crate) fn longest_default(family: Family) -> u8 {
    match family {
        Family::V4 => 7,
        Family::V6 => 6,
    }
}

/// The place of a route in its table. The kernel holds one route of each key (`fib_find_alias` in
/// net/ipv4/fib_trie.c, `fib6_add_rt2node` in net/ipv6/ip6_fib.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteKey {
    table: TableId,
    destination: IpNet,
    metric: u32,
    tos: u8,
    from: Option<IpNet>,
}

impl Route {
    /// A unicast route without next hops, and without anything beyond what every route has.
    pub fn new(table: TableId, destination: IpNet, protocol: Protocol) -> Self {
        Self {
            table,
            destination,
            kind: RouteKind::Unicast,
            hops: Vec::new(),
            metric: 0,
            source: None,
            scope: 0,
            tos: 0,
            mtu: None,
            metrics: Attributes::default(),
            protocol,
            from: None,
            attributes: Attributes::default(),
            nexthop_object: None,
        }
    }

    /// The place of the route in its table.
    pub(crate) fn key(&self) -> RouteKey {
        RouteKey {
            table: self.table,
            destination: self.destination,
            metric: self.metric,
            tos: self.tos,
            from: self.from,
        }
    }

    /// The route as arguments of `ip route add`.
    pub fn describe(&self, names: &impl Names) -> String {
        let mut words = Vec::new();
        if self.kind != RouteKind::Unicast {
            words.push(self.kind.to_string());
        }
        words.push(destination_text(self.destination).to_string());
        words.extend(self.from.map(|from| format!("from {from}")));
        if self.tos != 0 {
            words.push(format!("tos {:#04x}", self.tos));
        }
        // What `ip` has no words for; a comment at the end of the command names it.
        let mut wordless = Vec::new();
        let hops = self.hops.iter();
        let hops = hops.flat_map(|hop| self.describe_hop(hop, names, &mut wordless));
        let mut hops: Vec<String> = hops.collect();
        // Several next hops come last in the command.
        if self.hops.len() == 1 {
            words.append(&mut hops);
        }
        words.push(format!("table {}", self.table));
        if let Some(source) = self.source {
            words.push(format!("src {source}"));
        }
        if self.metric != 0 {
            words.push(format!("metric {}", self.metric));
        }
        words.extend(route_text::metrics(self.mtu, &self.metrics, &mut wordless));
        words.extend(route_text::attributes(&self.attributes, &mut wordless));
        if self.scope == 253 && self.hops.iter().all(|hop| hop.gateway.is_none()) {
            words.push("scope link".to_owned());
        }
        words.push(format!("proto {}", self.protocol));
        words.append(&mut hops);
        if !wordless.is_empty() {
            words.push(format!("# with {}", wordless.join(", ")));
        }
        words.join(" ")
    }

    fn describe_hop(
        &self,
        hop: &Hop,
        names: &impl Names,
        wordless: &mut Vec<String>,
    ) -> Vec<String> {
        let is_one_of_several = self.hops.len() > 1;
        let mut words = Vec::new();
        if is_one_of_several {
            words.push("nexthop".to_owned());
        }
        words.extend(route_text::encapsulation(&hop.attributes, wordless));
        if let Some(gateway) = hop.gateway {
            let inet6 = gateway.is_ipv6() && self.destination.addr().is_ipv4();
            words.push(format!(
                "via {}{gateway}",
                if inet6 { "inet6 " } else { "" }
            ));
        }
        words.push(format!("dev {}", names.name(hop.out)));
        if is_one_of_several {
            words.push(format!("weight {}", hop.weight));
        }
        if hop.onlink {
            words.push("onlink".to_owned());
        }
        words.extend(route_text::realms(&hop.attributes));
        words
    }

    /// The preference of the router as the kernel compares it: 1 low, 2 medium, 3 high
    /// (`IPV6_DECODE_PREF`). On the wire 0 is medium, 1 high and 3 low (RFC 4191).
    pub fn preference(&self) -> u8 {
        let wire = self.attributes.get(rta::PREFERENCE);
        (wire.and_then(|value| value.first()).map_or(0, |p| *p) & 3) ^ 2
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        Family::of_net(self.destination)
    }

    /// Whether the route is a default route (prefix length 0).
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    /// Whether the route is a default route or stands for one: full-tunnel VPNs often install two
    /// halves of a default route (0.0.0.0/1 and 128.0.0.0/1), WireGuard lists without the private
    /// ranges split it further, and 2000::/3 is all of IPv6 that is in use.
    pub(crate) fn counts_as_default(&self) -> bool {
        self.destination.prefix_len() <= longest_default(self.family())
    }

    /// The next hop through an interface.
    pub(crate) fn hop_by(&self, out: IfIndex) -> Option<&Hop> {
        self.hops.iter().find(|hop| hop.out == out)
    }
}

impl RouteKind {
    /// The kinds that send packets to an interface, or refuse them, in the order in which eni-steer
    /// reads them from the kernel.
    pub const FORWARDING: [Self; 5] = [
        Self::Unicast,
        Self::Blackhole,
        Self::Unreachable,
        Self::Prohibit,
        Self::Throw,
    ];
    /// The kinds that deliver packets to the host itself, in the same way.
    pub const DELIVERY: [Self; 4] = [Self::Local, Self::Broadcast, Self::Anycast, Self::Multicast];

    /// Whether such a route refuses the packet, which ends the lookup.
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

/// A destination in the words of `ip route`: `default`, a prefix, or an address without `/32`.
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
