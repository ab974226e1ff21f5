//! Neighbours (`RTM_NEWNEIGH`): eni-steer only asks the kernel to resolve gateways before the first
//! packet needs them.

use std::net::IpAddr;

use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
        NeighbourState as WireState,
    },
};

use super::{
    connection::{Netlink, Request},
    errno::NetlinkError,
    wire::{self, Message, family_to_wire},
};
use eni_steer_core::{
    explain::NeighbourState,
    model::{Family, IfIndex},
};

/// `NDA_DST`
const NDA_DST: u16 = 1;

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

impl Netlink {
    /// What the kernel knows about neighbours of both families.
    pub fn neighbours(&self) -> Result<Vec<(IfIndex, IpAddr, NeighbourState)>, NetlinkError> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.dump("list the neighbours", request, state_of)
    }
}

/// `struct ndmsg` has 12 bytes: family, interface at 4, state at 8.
fn state_of(answer: &Message<'_>) -> Option<(IfIndex, IpAddr, NeighbourState)> {
    if answer.kind != libc::RTM_NEWNEIGH {
        return None;
    }
    let (header, attributes) = answer.split::<12>()?;
    let family = wire::family_of_byte(header[0])?;
    let on = IfIndex::new(wire::u32_at(header, 4)?)?;
    let (_, address) = { attributes }.find(|(kind, _)| *kind == NDA_DST)?;
    let is = |states: u16| wire::u16_at(header, 8).is_some_and(|state| state & states != 0);
    let state = if is(libc::NUD_FAILED) {
        NeighbourState::Failed
    } else if is(libc::NUD_INCOMPLETE) {
        NeighbourState::Asked
    } else if is(libc::NUD_REACHABLE | libc::NUD_PERMANENT | libc::NUD_NOARP) {
        NeighbourState::Answers
    } else if is(libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE) {
        NeighbourState::Stale
    } else {
        return None;
    };
    Some((on, wire::address(family, address)?, state))
}

/// Returns whether the answer describes an entry that the kernel never resolves again; `None` if
/// the message is not an entry.
fn is_permanent(answer: &Message<'_>) -> Option<bool> {
    match answer.parse()? {
        RouteNetlinkMessage::NewNeighbour(found) => Some(matches!(
            found.header.state,
            WireState::Permanent | WireState::Noarp
        )),
        _ => None,
    }
}

/// A message that names this neighbour.
pub(super) fn message(on: IfIndex, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_to_wire(Family::of(ip));
    message.header.ifindex = on.get();
    message.header.state = WireState::None;
    message
        .attributes
        .push(NeighbourAttribute::Destination(match ip {
            IpAddr::V4(a) => NeighbourAddress::Inet(a),
            IpAddr::V6(a) => NeighbourAddress::Inet6(a),
        }));
    message
}
