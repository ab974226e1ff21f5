//! Notifications of changes (rtnetlink multicast groups). An event says that something
//! changed and who did it; what the host is like now is always observed anew.

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

use super::{NetlinkError, wire::family_of_byte};
use eni_steer_core::model::Protocol;

/// What is subscribed to. The table of events in the daemon is about these and no
/// others. Nexthop objects are left out: the wire library has no such message.
pub const GROUPS: [MulticastGroup; 9] = [
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

/// Room for a burst of thousands of routes while a pass is under way.
const RECEIVE_BUFFER: u32 = 8 << 20;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface: up, down, renamed, come, gone, another MTU or group.
    Link,
    /// An address came or went.
    Address,
    /// A route of this protocol came or went.
    Route {
        /// Its protocol.
        protocol: Protocol,
        /// It went.
        deleted: bool,
    },
    /// A rule of this protocol came or went.
    Rule {
        /// Its protocol.
        protocol: Protocol,
        /// It went.
        deleted: bool,
    },
    /// A neighbour could not be resolved.
    NeighbourLost,
    /// A qdisc or filter came or went.
    TrafficControl,
    /// The kernel had more to say than we could take: anything may have changed.
    Overrun,
}

/// An event and the netlink port of who caused it: the process id of most programs, 0 for
/// the kernel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What changed.
    pub event: Event,
    /// Who did it.
    pub port: u32,
}

/// The subscription.
pub struct Watch {
    messages: futures_util::stream::BoxStream<'static, Option<Notification>>,
}

impl Watch {
    /// Subscribes. Everything that changes from now on is told.
    pub fn open() -> Result<Self, NetlinkError> {
        let opened = || -> std::io::Result<_> {
            let (mut connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
            let socket = connection.socket_mut().socket_mut();
            leave_out_neighbours(socket)?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
            Ok((connection, handle, messages))
        };
        let (connection, handle, messages) =
            opened().map_err(|cause| NetlinkError::io("subscribe to rtnetlink", cause))?;
        tokio::spawn(connection);
        let messages = messages
            .map(move |(message, _)| {
                // The connection ends when its last handle goes.
                let _alive = &handle;
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
        Ok(Self { messages })
    }

    /// The next notification; `None`: the subscription broke off.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            if let Some(notification) = self.messages.next().await? {
                return Some(notification);
            }
        }
    }
}

/// Neighbours that age, are confirmed and are forgotten are everyday life, on a busy host many a
/// second: a filter of the socket leaves out all but those that can not be resolved, so that
/// nobody is woken (`Documentation/networking/filter.rst`).
fn leave_out_neighbours(socket: &impl AsFd) -> io::Result<()> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // A filter reads in network byte order what netlink writes in the host's.
    let op = |code: u32, (yes, no): (u8, u8), k: u32| SockFilter::new(code as u16, yes, no, k);
    let host = |value: u16| u32::from(value.to_be());
    // nlmsg_type, and ndm_state behind the header of 16 bytes.
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

/// `None`: a rule of a family that is not ours to look at.
fn protocol_of_rule(rule: &RuleMessage) -> Option<RouteProtocol> {
    family_of_byte(u8::from(rule.header.family))?;
    let mut attributes = rule.attributes.iter();
    let found = attributes.find_map(|attribute| match attribute {
        RuleAttribute::Protocol(number) => Some(*number),
        _ => None,
    });
    Some(found.unwrap_or(RouteProtocol::Unspec))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::AddressFamily;

    use super::*;

    #[test]
    fn a_rule_of_multicast_routing_is_no_event_and_one_of_ip_tells_whose_it_is() {
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
