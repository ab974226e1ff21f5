//! Neighbours (`RTM_NEWNEIGH`): eni-steer only asks the kernel to resolve gateways before the first
//! packet needs them.

use std::net::IpAddr;

use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::{
    connection::{Netlink, Request},
    errno::NetlinkError,
    wire::{Message, family_to_wire},
};
use eni_steer_core::model::{Family, IfIndex};

impl Netlink {
    /// Asks the kernel to resolve neighbours (`ip neigh add ... use`, NTF_USE), so that the first
    /// steered packet does not wait for it. The kernel decides how long it keeps an entry.
    /// Permanent entries are left as they are, because NTF_USE would turn one into an entry that
    /// the kernel has to resolve (`__neigh_update` of net/core/neighbour.c, since 5.16). Returns
    /// the requests that the kernel refused.
    pub(crate) fn warm_neighbours(&self, all: &[(IfIndex, IpAddr)]) -> Vec<NetlinkError> {
        let get = |(on, ip): &(IfIndex, IpAddr)| {
            Request::new(RouteNetlinkMessage::GetNeighbour(message(*on, *ip)), 0)
        };
        let command =
            |verb: &str, (on, ip): (IfIndex, IpAddr)| format!("ip neigh {verb} {ip} dev #{on}");
        let known = self.ask_all(
            all.iter().map(get).collect(),
            |at| command("get", all[at]),
            is_permanent,
        );
        let mut refused = Vec::new();
        let mut wanted = Vec::new();
        for (entry, known) in all.iter().zip(known) {
            match known {
                Ok(entries) if entries.contains(&true) => continue,
                Err(error) if !error.is_gone() => refused.push(error),
                _ => wanted.push(*entry),
            }
        }
        let warm = |(on, ip): &(IfIndex, IpAddr)| {
            let mut entry = message(*on, *ip);
            entry.header.flags = NeighbourFlags::Use;
            Request::new(RouteNetlinkMessage::NewNeighbour(entry), NLM_F_CREATE)
        };
        let answers = self.change_all(wanted.iter().map(warm).collect(), |at| {
            command("replace", wanted[at])
        });
        refused.extend(answers.into_iter().filter_map(Result::err));
        refused
    }
}

/// Returns whether the answer describes an entry that the kernel never resolves again; `None` if
/// the message is not an entry.
fn is_permanent(answer: &Message<'_>) -> Option<bool> {
    match answer.parse()? {
        RouteNetlinkMessage::NewNeighbour(found) => Some(matches!(
            found.header.state,
            NeighbourState::Permanent | NeighbourState::Noarp
        )),
        _ => None,
    }
}

/// A message that names this neighbour.
fn message(on: IfIndex, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_to_wire(Family::of(ip));
    message.header.ifindex = on.get();
    message.header.state = NeighbourState::None;
    message
        .attributes
        .push(NeighbourAttribute::Destination(match ip {
            IpAddr::V4(a) => NeighbourAddress::Inet(a),
            IpAddr::V6(a) => NeighbourAddress::Inet6(a),
        }));
    message
}
