//! Lists, adds, replaces and deletes routes (`RTM_GETROUTE` as a dump, `RTM_NEWROUTE`,
//! `RTM_DELROUTE`).

use std::net::IpAddr;

use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{
        RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol,
        RouteScope, RouteType, RouteVia,
    },
};

use super::{
    connection::{Netlink, Request},
    errno::NetlinkError,
    wire::{self, Attributes, Message, address_to_wire, family_to_wire, prefix, u16_at, u32_at},
};
use eni_steer_core::model::{
    self, Family, Hop, IfIndex, Protocol, Route, RouteKind, TableId, any, metric, rta,
};

/// Length in bytes of `struct rtmsg`, which precedes the attributes.
const HEADER: usize = 12;
/// `RTNH_F_ONLINK`, a flag of a route's header and of a next hop's.
const ONLINK: u32 = 4;
/// `RTA_NH_ID`: the number of a nexthop object.
const NEXTHOP_OBJECT: u16 = 30;
/// Attributes that say nothing about the route itself: its age and when it expires, which change by
/// themselves, and the question that a lookup answers.
const PASSING: [u16; 5] = [
    libc::RTA_CACHEINFO,
    EXPIRES,
    libc::RTA_UID,
    libc::RTA_MARK,
    libc::RTA_IIF,
];
/// `RTA_EXPIRES`: when the route goes.
const EXPIRES: u16 = 23;
/// `RTA_PAD`: no attribute, but the gap before one.
const PAD: u16 = 24;

/// Which routes [`Netlink::routes`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// Routes that send packets to an interface, or refuse them.
    Forwarding,
    /// Routes that deliver packets to this host itself; the kernel keeps several for each of its
    /// addresses.
    Delivery,
    /// Routes that deliver a prefix to this host (`local`) and that a program has added, not the
    /// kernel.
    AddedLocal,
    /// The routes of [`Routes::Forwarding`] that carry this protocol number.
    Of(Protocol),
}

/// `RTN_UNSPEC`: a request with this type lists routes of every type.
const ANY: RouteKind = RouteKind::Other(0);

impl Netlink {
    /// Lists routes of both families and all tables, without cached ones. The kernel skips routes
    /// of another type far faster than it can send them, so one request per type is faster than one
    /// for all (`rtm_type`, which the kernel honours under strict checking: `ip_valid_fib_dump_req`
    /// of net/ipv4/fib_frontend.c, since 4.20).
    ///
    /// # Errors
    /// The kernel refused a dump, or it could not be read completely.
    pub fn routes(&self, which: Routes) -> Result<Vec<Route>, NetlinkError> {
        let (kinds, protocol): (&[RouteKind], _) = match which {
            Routes::Forwarding => (&RouteKind::FORWARDING, 0),
            Routes::Delivery => (&RouteKind::DELIVERY, 0),
            Routes::AddedLocal => (&[RouteKind::Local], 0),
            // Few routes carry one protocol number, so one request for all types is enough.
            Routes::Of(protocol) => (&[ANY], protocol.0),
        };
        let mut routes = Vec::new();
        for family in Family::BOTH {
            for kind in kinds {
                let mut request = RouteMessage::default();
                request.header.address_family = family_to_wire(family);
                request.header.protocol = RouteProtocol::from(protocol);
                request.header.kind = kind_to_wire(*kind);
                let request = RouteNetlinkMessage::GetRoute(request);
                let wanted = |route: &Route| match which {
                    Routes::Of(_) => RouteKind::FORWARDING.contains(&route.kind),
                    Routes::Forwarding | Routes::Delivery => {
                        // The kernel lists a route by an object that refuses packets as unicast.
                        let by_object = route.nexthop_object.is_some();
                        route.kind == *kind || by_object && *kind == RouteKind::Unicast
                    }
                    Routes::AddedLocal => route.kind == *kind && route.protocol != Protocol::KERNEL,
                };
                let read = |message: &Message<'_>| from_message(message).filter(wanted);
                self.dump_into(&mut routes, "list the routes", request, read)?;
            }
        }
        self.resolve(&mut routes)?;
        Ok(routes)
    }
}

impl Netlink {
    /// All routes of both families and all tables, of every kind, in the order in which the kernel
    /// lists them. For `explain`: of equal routes the first wins, and a dump of one kind at a time
    /// does not tell which is the first.
    pub fn routes_in_order(&self) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            let mut request = RouteMessage::default();
            request.header.address_family = family_to_wire(family);
            let request = RouteNetlinkMessage::GetRoute(request);
            self.dump_into(&mut routes, "list the routes", request, from_message)?;
        }
        self.resolve(&mut routes)?;
        Ok(routes)
    }
}

/// The request that adds a route. The kernel refuses it if the table already has a route with the
/// same destination, metric and TOS.
pub(crate) fn add(route: &Route) -> Request {
    let message = RouteNetlinkMessage::NewRoute(to_message(route));
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL)
}

/// The request that replaces the route with the same table, destination and metric. At every moment
/// one of the two routes is in effect.
pub(crate) fn replace(route: &Route) -> Request {
    let message = RouteNetlinkMessage::NewRoute(to_message(route));
    Request::new(message, NLM_F_CREATE | NLM_F_REPLACE)
}

/// The request that deletes exactly this route. The kernel compares the protocol number too (ESRCH
/// if it differs), so it never deletes a route of another program.
pub(crate) fn delete(route: &Route) -> Request {
    Request::new(RouteNetlinkMessage::DelRoute(to_message(route)), 0)
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

fn kind_from_wire(kind: u8) -> RouteKind {
    match kind {
        libc::RTN_UNICAST => RouteKind::Unicast,
        libc::RTN_LOCAL => RouteKind::Local,
        libc::RTN_BROADCAST => RouteKind::Broadcast,
        libc::RTN_ANYCAST => RouteKind::Anycast,
        libc::RTN_MULTICAST => RouteKind::Multicast,
        libc::RTN_BLACKHOLE => RouteKind::Blackhole,
        libc::RTN_UNREACHABLE => RouteKind::Unreachable,
        libc::RTN_PROHIBIT => RouteKind::Prohibit,
        libc::RTN_THROW => RouteKind::Throw,
        other => RouteKind::Other(other),
    }
}

fn gateway_to_wire(family: Family, gateway: IpAddr) -> RouteAttribute {
    match (family, gateway) {
        // RFC 5549: an IPv6 next hop of an IPv4 route has a separate attribute.
        (Family::V4, IpAddr::V6(v6)) => RouteAttribute::Via(RouteVia::Inet6(v6)),
        _ => RouteAttribute::Gateway(address_to_wire(gateway)),
    }
}

/// The address in RTA_VIA, whose first two bytes are the next hop's own family.
fn via(value: &[u8]) -> Option<IpAddr> {
    let family = wire::family_of_byte(u8::try_from(u16_at(value, 0)?).ok()?)?;
    wire::address(family, value.get(2..)?)
}

fn gateway_from_wire(family: Family, kind: u16, value: &[u8]) -> Option<IpAddr> {
    match kind {
        libc::RTA_GATEWAY => wire::address(family, value),
        libc::RTA_VIA => via(value),
        _ => None,
    }
}

fn to_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family_to_wire(route.family());
    header.destination_prefix_length = route.destination.prefix_len();
    header.source_prefix_length = route.from.map_or(0, |from| from.prefix_len());
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
    if let Some(from) = route.from.filter(|from| from.prefix_len() > 0) {
        attributes.push(RouteAttribute::Source(address_to_wire(from.network())));
    }
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(source) = route.source {
        attributes.push(RouteAttribute::PrefSource(address_to_wire(source)));
    }
    let mut metrics = route.metrics.clone();
    if let Some(mtu) = route.mtu {
        metrics.set(metric::MTU, &mtu.to_ne_bytes());
    }
    if !metrics.is_empty() {
        let all = nested(&metrics);
        attributes.push(RouteAttribute::Other(DefaultNla::new(
            libc::RTA_METRICS,
            all,
        )));
    }
    attributes.extend(opaque(&route.attributes));
    match route.hops.as_slice() {
        [] => {}
        [hop] => {
            attributes.push(RouteAttribute::Oif(hop.out.get()));
            if let Some(gateway) = hop.gateway {
                attributes.push(gateway_to_wire(route.family(), gateway));
            }
            attributes.extend(opaque(&hop.attributes));
            if hop.onlink {
                header.flags |= RouteFlags::Onlink;
            }
        }
        hops => attributes.push(RouteAttribute::MultiPath(
            hops.iter()
                .map(|hop| {
                    let mut nexthop = RouteNextHop::default();
                    nexthop.interface_index = hop.out.get();
                    // The message counts from 0: "weight 1" is 0 (rtnetlink(7), rtnh_hops).
                    nexthop.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
                    if hop.onlink {
                        nexthop.flags |= RouteNextHopFlags::Onlink;
                    }
                    if let Some(gateway) = hop.gateway {
                        nexthop
                            .attributes
                            .push(gateway_to_wire(route.family(), gateway));
                    }
                    nexthop.attributes.extend(opaque(&hop.attributes));
                    nexthop
                })
                .collect(),
        )),
    }
    message
}

/// Attributes as the kernel gave them.
fn opaque(attributes: &model::Attributes) -> impl Iterator<Item = RouteAttribute> {
    let all = attributes.iter();
    all.map(|(kind, value)| RouteAttribute::Other(DefaultNla::new(kind, value.to_vec())))
}

/// Attributes as the value of another one.
fn nested(attributes: &model::Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes.iter() {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Decodes one message of a dump; `None` for families other than IP and for cached copies of
/// routes.
pub(super) fn from_message(message: &Message<'_>) -> Option<Route> {
    let (header, _) = message.split::<HEADER>()?;
    let cached = u32_at(header, 8)? & libc::RTM_F_CLONED != 0;
    if cached { None } else { from_answer(message) }
}

/// Decodes the answer to a route lookup, which always carries the flag of a cached copy.
pub(super) fn from_answer(message: &Message<'_>) -> Option<Route> {
    if message.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let (header, attributes) = message.split::<HEADER>()?;
    let [
        family,
        length,
        from_length,
        tos,
        table,
        protocol,
        scope,
        kind,
        ..,
    ] = *header;
    let family = wire::family_of_byte(family)?;
    let mut route = Route {
        kind: kind_from_wire(kind),
        // IPv6 has no scopes: the field holds whatever the program that added the route wrote.
        scope: if family == Family::V4 { scope } else { 0 },
        tos,
        ..Route::new(TableId(table.into()), any(family), Protocol(protocol))
    };
    if from_length > 0 {
        // An attribute with the address follows, unless the address is all zeros.
        route.from = prefix(any(family).addr(), from_length);
    }
    let (mut out, mut gateway, mut of_hop) = (None, None, model::Attributes::default());
    for (kind, value) in attributes {
        match kind {
            libc::RTA_TABLE => route.table = TableId(u32_at(value, 0)?),
            libc::RTA_DST => {
                route.destination = prefix(wire::address(family, value)?, length)?;
            }
            libc::RTA_SRC if from_length > 0 => {
                route.from = prefix(wire::address(family, value)?, from_length);
            }
            libc::RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            libc::RTA_PREFSRC => route.source = wire::address(family, value),
            libc::RTA_OIF => out = IfIndex::new(u32_at(value, 0)?),
            libc::RTA_GATEWAY | libc::RTA_VIA => {
                gateway = gateway_from_wire(family, kind, value);
            }
            libc::RTA_MULTIPATH => nexthops(family, value, &mut route.hops)?,
            libc::RTA_METRICS => {
                for (number, value) in Attributes(value) {
                    match (number, u32_at(value, 0)) {
                        (metric::MTU, mtu) => route.mtu = mtu,
                        // The kernel sends an empty lock mask along with other metrics.
                        (metric::LOCK, Some(0)) => {}
                        _ => route.metrics.set(number, value),
                    }
                }
            }
            NEXTHOP_OBJECT => route.nexthop_object = Some(u32_at(value, 0)?),
            rta::FLOW | rta::ENCAP_TYPE | rta::ENCAP => of_hop.set(kind, value),
            // Medium, which every IPv6 route has that says nothing else.
            rta::PREFERENCE if value == [0] => {}
            PAD => {}
            kind if PASSING.contains(&kind) => {}
            _ => route.attributes.set(kind, value),
        }
    }
    if let (true, Some(out)) = (route.hops.is_empty(), out) {
        // A vector with room for one: among thousands of routes few have a second next hop.
        route.hops = vec![Hop {
            out,
            gateway,
            onlink: u32_at(header, 8)? & ONLINK != 0,
            weight: 1,
            attributes: of_hop,
        }];
    }
    if route.kind.refuses() || route.kind == RouteKind::Throw {
        // IPv6 attaches such routes to the loopback interface.
        route.hops.clear();
    }
    Some(route)
}

/// Decodes the next hops of a multipath route. Each is a header of 8 bytes (`struct rtnexthop`),
/// which holds the length, and attributes.
fn nexthops(family: Family, mut rest: &[u8], hops: &mut Vec<Hop>) -> Option<()> {
    while let Some(header) = rest.first_chunk::<8>() {
        let [_, _, flags, weight, ..] = *header;
        let length = usize::from(u16_at(header, 0)?);
        let mut hop = Hop {
            onlink: u32::from(flags) & ONLINK != 0,
            // The message counts from 0 (rtnetlink(7), rtnh_hops).
            weight: u16::from(weight) + 1,
            ..Hop::new(IfIndex::new(u32_at(header, 4)?)?, None)
        };
        for (kind, value) in Attributes(rest.get(8..length)?) {
            match kind {
                libc::RTA_GATEWAY | libc::RTA_VIA => {
                    hop.gateway = gateway_from_wire(family, kind, value);
                }
                PAD => {}
                _ => hop.attributes.set(kind, value),
            }
        }
        hops.push(hop);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(())
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
        let opaque = |kinds: [u16; 3]| {
            let value = (
                proptest::sample::select(kinds.to_vec()),
                any::<[u8; 5]>(),
                1..=5usize,
            );
            proptest::collection::vec(value, 0..3).prop_map(|all| {
                let mut attributes = model::Attributes::default();
                for (kind, bytes, length) in all {
                    attributes.set(kind, &bytes[..length]);
                }
                attributes
            })
        };
        let more = (
            opaque([5, 8, 16]),
            opaque([33, 40, 999]),
            opaque([11, 21, 22]),
        );
        let v4 = (
            any::<u32>(),
            0u8..=32,
            any::<u32>(),
            any::<u32>(),
            proptest::collection::vec(hop4, 1..4),
            proptest::option::of(any::<u32>()),
            more,
        )
            .prop_map(|(bits, length, table, metric, hops, mtu, more)| {
                let single = hops.len() == 1;
                let (metrics, attributes, of_hop) = more;
                let destination = prefix(IpAddr::V4(bits.into()), length).expect("in range");
                Route {
                    hops: hops
                        .into_iter()
                        .map(|(out, gateway, onlink, weight)| Hop {
                            attributes: of_hop.clone(),
                            out: IfIndex::new(out).expect("not zero"),
                            gateway: gateway.map(|g| IpAddr::V4(g.into())),
                            onlink,
                            weight: if single { 1 } else { weight },
                        })
                        .collect(),
                    metric,
                    source: Some(IpAddr::V4(metric.into())),
                    scope: if single { 253 } else { 0 },
                    mtu,
                    metrics,
                    attributes,
                    ..Route::new(TableId(table), destination, Protocol(229))
                }
            });
        let v6 = (
            any::<u128>(),
            0u8..=128,
            any::<u32>(),
            1u32..9,
            any::<bool>(),
        )
            .prop_map(|(bits, length, table, out, refuse)| {
                let destination = prefix(IpAddr::V6(bits.into()), length).expect("in range");
                let out = IfIndex::new(out).expect("not zero");
                let (kind, hops) = match refuse {
                    true => (RouteKind::Unreachable, Vec::new()),
                    false => {
                        let hop = Hop::new(out, Some(IpAddr::V6(bits.into())));
                        (RouteKind::Unicast, vec![hop])
                    }
                };
                Route {
                    kind,
                    hops,
                    metric: 1024,
                    from: prefix(IpAddr::V6(bits.into()), length)
                        .filter(|net| net.prefix_len() > 0),
                    ..Route::new(TableId(table), destination, Protocol(229))
                }
            });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn a_route_survives_the_wire(route in routes()) {
            let bytes = wire::bytes_of(RouteNetlinkMessage::NewRoute(to_message(&route)));
            let message = Message::all(&bytes).next().expect("a message");
            prop_assert_eq!(from_message(&message), Some(route));
        }
    }
}
