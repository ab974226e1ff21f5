//! Routes on the wire (`RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_GETROUTE` as a dump).

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{
        RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
        RouteProtocol, RouteScope, RouteType, RouteVia,
    },
};

use super::{
    Netlink, NetlinkError,
    wire::{address_from_wire, address_to_wire, family_from_wire, family_to_wire, prefix},
};
use crate::model::{Family, Hop, IfIndex, Protocol, Route, RouteKind, TableId, any};

impl Netlink {
    /// All routes of both families and all tables, without cached ones.
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            let mut request = RouteMessage::default();
            request.header.address_family = family_to_wire(family);
            let request = RouteNetlinkMessage::GetRoute(request);
            for answer in self.dump("list the routes", request).await? {
                if let RouteNetlinkMessage::NewRoute(message) = answer {
                    routes.extend(from_message(&message));
                }
            }
        }
        Ok(routes)
    }

    /// Adds a route; fails if one with the same destination, metric and TOS is in its table.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("ip {} route add {}", route.family(), Line(route));
        let request = RouteNetlinkMessage::NewRoute(to_message(route));
        self.change(&what, request, NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Puts a route in the place of the one with the same table, destination and metric,
    /// without a moment in which neither is there.
    pub async fn replace_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("ip {} route replace {}", route.family(), Line(route));
        let request = RouteNetlinkMessage::NewRoute(to_message(route));
        self.change(&what, request, NLM_F_CREATE | NLM_F_REPLACE)
            .await
    }

    /// Deletes exactly this route: the kernel compares the protocol too (ESRCH if it
    /// differs), so a route of somebody else never matches.
    pub async fn delete_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("ip {} route del {}", route.family(), Line(route));
        self.change(&what, RouteNetlinkMessage::DelRoute(to_message(route)), 0)
            .await
    }
}

/// A route in messages, with interface numbers: names are not known here.
struct Line<'a>(&'a Route);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Route {
            destination,
            table,
            hops,
            ..
        } = self.0;
        write!(f, "{destination} table {table}")?;
        for hop in hops {
            if let Some(gateway) = hop.gateway {
                write!(f, " via {gateway}")?;
            }
            write!(f, " dev #{}", hop.out)?;
        }
        Ok(())
    }
}

fn kind_to_wire(kind: RouteKind) -> RouteType {
    match kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Local => RouteType::Local,
        RouteKind::Broadcast => RouteType::Broadcast,
        RouteKind::Anycast => RouteType::Anycast,
        RouteKind::Multicast => RouteType::Multicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Throw => RouteType::Throw,
        RouteKind::Other(number) => RouteType::from(number),
    }
}

fn kind_from_wire(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        other => RouteKind::Other(u8::from(other)),
    }
}

fn gateway_to_wire(family: Family, gateway: IpAddr) -> RouteAttribute {
    match (family, gateway) {
        // RFC 5549: an IPv6 next hop for an IPv4 route has an attribute of its own.
        (Family::V4, IpAddr::V6(v6)) => RouteAttribute::Via(RouteVia::Inet6(v6)),
        _ => RouteAttribute::Gateway(address_to_wire(gateway)),
    }
}

fn gateway_from_wire(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => address_from_wire(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn to_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family_to_wire(route.family());
    header.destination_prefix_length = route.destination.prefix_len();
    header.tos = route.tos;
    header.table = u8::try_from(route.table.0).unwrap_or(0);
    header.protocol = RouteProtocol::from(route.protocol.0);
    header.scope = RouteScope::from(route.scope);
    header.kind = kind_to_wire(route.kind);
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table.0));
    if route.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(address_to_wire(
            route.destination.network(),
        )));
    }
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(source) = route.source {
        attributes.push(RouteAttribute::PrefSource(address_to_wire(source)));
    }
    if let Some(mtu) = route.mtu {
        attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    match route.hops.as_slice() {
        [] => {}
        [hop] => {
            attributes.push(RouteAttribute::Oif(hop.out.get()));
            if let Some(gateway) = hop.gateway {
                attributes.push(gateway_to_wire(route.family(), gateway));
            }
            if hop.onlink {
                header.flags |= RouteFlags::Onlink;
            }
        }
        hops => attributes.push(RouteAttribute::MultiPath(
            hops.iter()
                .map(|hop| {
                    let mut leg = RouteNextHop::default();
                    leg.interface_index = hop.out.get();
                    // The wire counts from 0: "weight 1" is 0 (rtnetlink(7), rtnh_hops).
                    leg.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
                    if hop.onlink {
                        leg.flags |= RouteNextHopFlags::Onlink;
                    }
                    if let Some(gateway) = hop.gateway {
                        leg.attributes
                            .push(gateway_to_wire(route.family(), gateway));
                    }
                    leg
                })
                .collect(),
        )),
    }
    message
}

/// Normalises; `None` for other families and for cached copies of routes.
pub(super) fn from_message(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let family = family_from_wire(header.address_family)?;
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut route = Route {
        table: TableId(header.table.into()),
        destination: any(family),
        kind: kind_from_wire(header.kind),
        hops: Vec::new(),
        metric: 0,
        source: None,
        // IPv6 has no scopes; the field is what the sender wrote into it.
        scope: if family == Family::V4 {
            u8::from(header.scope)
        } else {
            0
        },
        tos: header.tos,
        mtu: None,
        protocol: Protocol(u8::from(header.protocol)),
        partial: header.source_prefix_length != 0,
    };
    let (mut out, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(n) => route.table = TableId(*n),
            RouteAttribute::Destination(address) => {
                route.destination = prefix(
                    address_from_wire(address)?,
                    header.destination_prefix_length,
                )?;
            }
            RouteAttribute::Priority(n) => route.metric = *n,
            RouteAttribute::PrefSource(address) => route.source = address_from_wire(address),
            RouteAttribute::Oif(n) => out = IfIndex::new(*n),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                gateway = gateway_from_wire(attribute);
            }
            RouteAttribute::MultiPath(legs) => {
                for leg in legs {
                    route.hops.push(Hop {
                        out: IfIndex::new(leg.interface_index)?,
                        gateway: leg.attributes.iter().find_map(gateway_from_wire),
                        onlink: leg.flags.contains(RouteNextHopFlags::Onlink),
                        weight: u16::from(leg.hops) + 1,
                    });
                }
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => route.mtu = Some(*mtu),
                        // The kernel writes a zero lock mask beside other metrics.
                        RouteMetric::Lock(0) => {}
                        _ => route.partial = true,
                    }
                }
            }
            RouteAttribute::CacheInfo(_) | RouteAttribute::Preference(_) => {}
            _ => route.partial = true,
        }
    }
    if let (true, Some(out)) = (route.hops.is_empty(), out) {
        route.hops.push(Hop {
            out,
            gateway,
            onlink: header.flags.contains(RouteFlags::Onlink),
            weight: 1,
        });
    }
    if route.kind.refuses() || route.kind == RouteKind::Throw {
        // IPv6 hangs such routes on the loopback interface.
        route.hops.clear();
    }
    Some(route)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use proptest::prelude::any;

    fn routes() -> impl Strategy<Value = Route> {
        let hop4 = (
            1u32..100,
            proptest::option::of(any::<u32>()),
            any::<bool>(),
            1u16..=256,
        );
        let v4 = (
            any::<u32>(),
            0u8..=32,
            any::<u32>(),
            any::<u32>(),
            proptest::collection::vec(hop4, 1..4),
            proptest::option::of(any::<u32>()),
        )
            .prop_map(|(bits, length, table, metric, hops, mtu)| {
                let single = hops.len() == 1;
                Route {
                    table: TableId(table),
                    destination: prefix(IpAddr::V4(bits.into()), length).expect("in range"),
                    kind: RouteKind::Unicast,
                    hops: hops
                        .into_iter()
                        .map(|(out, gateway, onlink, weight)| Hop {
                            out: IfIndex::new(out).expect("not zero"),
                            gateway: gateway.map(|g| IpAddr::V4(g.into())),
                            onlink,
                            weight: if single { 1 } else { weight },
                        })
                        .collect(),
                    metric,
                    source: Some(IpAddr::V4(metric.into())),
                    scope: if single { 253 } else { 0 },
                    tos: 0,
                    mtu,
                    protocol: Protocol(229),
                    partial: false,
                }
            });
        let v6 = (
            any::<u128>(),
            0u8..=128,
            any::<u32>(),
            1u32..9,
            any::<bool>(),
        )
            .prop_map(|(bits, length, table, out, refuse)| Route {
                table: TableId(table),
                destination: prefix(IpAddr::V6(bits.into()), length).expect("in range"),
                kind: if refuse {
                    RouteKind::Unreachable
                } else {
                    RouteKind::Unicast
                },
                hops: if refuse {
                    Vec::new()
                } else {
                    vec![Hop::new(
                        IfIndex::new(out).expect("not zero"),
                        Some(IpAddr::V6(bits.into())),
                    )]
                },
                metric: 1024,
                source: None,
                scope: 0,
                tos: 0,
                mtu: None,
                protocol: Protocol(229),
                partial: false,
            });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn a_route_survives_the_wire(route in routes()) {
            prop_assert_eq!(from_message(&to_message(&route)), Some(route));
        }
    }
}
