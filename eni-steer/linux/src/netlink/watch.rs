//! Notifications of changes (rtnetlink multicast groups). An event only reports that something
//! changed, and which program changed it. The daemon then reads the host again.

use std::{io, os::fd::AsFd};

use futures_util::StreamExt;
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        neighbour::NeighbourState,
        route::RouteProtocol,
        rule::{RuleAttribute, RuleMessage},
    },
    sys::AsyncSocket,
};

use socket2::{SockFilter, SockRef};

use super::{errno::NetlinkError, nexthop::NexthopWatch, wire::family_of_byte};
use eni_steer_core::model::Protocol;

/// The groups that [`Watch`] subscribes to: each one leads to an [`Event`]. Nexthop objects have a
/// socket of their own ([`NexthopWatch`]), because the wire library cannot decode their messages.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Neigh,
    MulticastGroup::Tc,
];

/// Size of the receive buffer: room for a burst of thousands of routes while the daemon is busy.
const RECEIVE_BUFFER: u32 = 8 << 20;

/// A change in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface was added, removed or changed: its state, name, MTU or group.
    Link,
    /// An address was added or removed.
    Address,
    /// A route was added or deleted.
    Route {
        /// The protocol number of the route.
        protocol: Protocol,
        /// Whether the route was deleted.
        deleted: bool,
    },
    /// A rule was added or deleted.
    Rule {
        /// The protocol number of the rule.
        protocol: Protocol,
        /// Whether the rule was deleted.
        deleted: bool,
    },
    /// A nexthop object was added, replaced or deleted.
    Nexthop,
    /// The kernel could not resolve a neighbour.
    NeighbourLost,
    /// A qdisc or filter was added or deleted.
    TrafficControl,
    /// The receive buffer overflowed and notifications were lost: anything may have changed.
    Overrun,
}

/// An event, and the netlink port of the program that caused it. For most programs the port is
/// their process id; the kernel itself has port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The change that the kernel reported.
    pub event: Event,
    /// The netlink port of the program that made the change.
    pub port: u32,
}

/// A subscription to the kernel's notifications.
pub struct Watch {
    messages: futures_util::stream::BoxStream<'static, Option<Notification>>,
    nexthops: Option<NexthopWatch>,
}

impl Watch {
    /// Subscribes: [`Watch::next`] reports every change from now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// The socket could not be opened.
    pub fn open() -> Result<Self, NetlinkError> {
        let subscribe = || -> std::io::Result<_> {
            let (mut connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
            let socket = connection.socket_mut().socket_mut();
            ignore_routine_neighbour_changes(socket)?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
            Ok((connection, handle, messages))
        };
        let (connection, handle, messages) =
            subscribe().map_err(|cause| NetlinkError::io("subscribe to rtnetlink", cause))?;
        tokio::spawn(connection);
        let messages = messages
            .map(move |(message, _)| {
                // The connection ends when its last handle is dropped.
                let _keep_open = &handle;
                let port = message.header.port_number;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => {
                        classify(&inner).map(|event| Notification { event, port })
                    }
                    NetlinkPayload::Overrun(_) => Some(Notification {
                        event: Event::Overrun,
                        port: 0,
                    }),
                    _ => None,
                }
            })
            .boxed();
        let nexthops = NexthopWatch::open()
            .map_err(|cause| NetlinkError::io("subscribe to nexthop objects", cause))?;
        Ok(Self { messages, nexthops })
    }

    /// Waits for the next notification; `None` if the subscription has ended.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            let message = match &self.nexthops {
                None => self.messages.next().await?,
                Some(nexthops) => tokio::select! {
                    message = self.messages.next() => message?,
                    notification = nexthops.next() => match notification {
                        Ok(notification) => Some(notification),
                        Err(error) => {
                            tracing::warn!("nexthop objects are no longer watched: {error}");
                            self.nexthops = None;
                            None
                        }
                    },
                },
            };
            if let Some(notification) = message {
                return Some(notification);
            }
        }
    }
}

/// Attaches a filter to the socket that drops notifications of neighbours, except of those that the
/// kernel cannot resolve. Other changes of neighbours are routine, on a busy host many a second,
/// and would wake the daemon for nothing (`Documentation/networking/filter.rst`).
fn ignore_routine_neighbour_changes(socket: &impl AsFd) -> io::Result<()> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // A filter reads in network byte order; netlink writes in the host's byte order.
    let op = |code: u32, (yes, no): (u8, u8), k: u32| SockFilter::new(code as u16, yes, no, k);
    let host = |value: u16| u32::from(value.to_be());
    // The offsets of nlmsg_type, and of ndm_state behind the header of 16 bytes.
    let (kind, state) = (4, 16 + 8);
    let filter = [
        op(LOAD, (0, 0), kind),
        op(EQUAL, (4, 0), host(libc::RTM_DELNEIGH)),
        op(EQUAL, (0, 2), host(libc::RTM_NEWNEIGH)),
        op(LOAD, (0, 0), state),
        op(ANY_BIT, (0, 1), host(libc::NUD_FAILED)),
        op(RETURN, (0, 0), u32::MAX),
        op(RETURN, (0, 0), 0),
    ];
    SockRef::from(socket).attach_filter(&filter)
}

/// Which event a message reports; `None` if it concerns nothing that eni-steer reads.
pub(super) fn classify(message: &RouteNetlinkMessage) -> Option<Event> {
    let protocol = |protocol: RouteProtocol| Protocol(u8::from(protocol));
    Some(match message {
        RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => Event::Link,
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Event::Address,
        RouteNetlinkMessage::NewRoute(route) => Event::Route {
            protocol: protocol(route.header.protocol),
            deleted: false,
        },
        RouteNetlinkMessage::DelRoute(route) => Event::Route {
            protocol: protocol(route.header.protocol),
            deleted: true,
        },
        RouteNetlinkMessage::NewRule(rule) => Event::Rule {
            protocol: protocol(protocol_of_rule(rule)?),
            deleted: false,
        },
        RouteNetlinkMessage::DelRule(rule) => Event::Rule {
            protocol: protocol(protocol_of_rule(rule)?),
            deleted: true,
        },
        RouteNetlinkMessage::NewNeighbour(neighbour)
            if neighbour.header.state == NeighbourState::Failed =>
        {
            Event::NeighbourLost
        }
        RouteNetlinkMessage::DelQueueDiscipline(_)
        | RouteNetlinkMessage::NewQueueDiscipline(_)
        | RouteNetlinkMessage::DelTrafficFilter(_)
        | RouteNetlinkMessage::NewTrafficFilter(_) => Event::TrafficControl,
        _ => return None,
    })
}

/// The protocol number of a rule; `None` for families other than IP.
fn protocol_of_rule(rule: &RuleMessage) -> Option<RouteProtocol> {
    family_of_byte(u8::from(rule.header.family))?;
    let mut attributes = rule.attributes.iter();
    let protocol = attributes.find_map(|attribute| match attribute {
        RuleAttribute::Protocol(number) => Some(*number),
        _ => None,
    });
    Some(protocol.unwrap_or(RouteProtocol::Unspec))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::AddressFamily;

    use super::*;

    #[test]
    fn rules_of_multicast_routing_are_ignored_and_rules_of_ip_carry_their_protocol() {
        let event = |family| {
            let mut rule = RuleMessage::default();
            rule.header.family = family;
            let protocol = RuleAttribute::Protocol(RouteProtocol::from(229));
            rule.attributes.push(protocol);
            classify(&RouteNetlinkMessage::DelRule(rule))
        };
        // RTNL_FAMILY_IPMR
        assert_eq!(event(AddressFamily::from(128)), None);
        let deleted = Event::Rule {
            protocol: Protocol(229),
            deleted: true,
        };
        assert_eq!(event(AddressFamily::Inet6), Some(deleted));
    }
}
