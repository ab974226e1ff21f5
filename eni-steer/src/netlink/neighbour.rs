//! Neighbours (`RTM_NEWNEIGH`): only to have a gateway resolved before it is needed.

use std::net::IpAddr;

use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::{Netlink, NetlinkError, wire::family_to_wire};
use crate::model::{Family, IfIndex};

impl Netlink {
    /// Starts resolution of a neighbour (`ip neigh add ... use`, NTF_USE): the first steered
    /// packet then need not wait for it. The kernel decides how long the entry lives. An entry
    /// that somebody has made permanent stays as it is: NTF_USE would make it one that is to be
    /// resolved (`__neigh_update` of net/core/neighbour.c, since 5.16).
    pub async fn warm_neighbour(&self, on: IfIndex, ip: IpAddr) -> Result<(), NetlinkError> {
        let mut message = message(on, ip);
        if self.is_permanent(&message, ip).await? {
            return Ok(());
        }
        message.header.flags = NeighbourFlags::Use;
        let what = format!("ip neigh replace {ip} dev #{on} use");
        self.change(
            &what,
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE,
        )
        .await
    }

    /// Whether there is such an entry, and nobody but who made it may change it.
    async fn is_permanent(
        &self,
        entry: &NeighbourMessage,
        ip: IpAddr,
    ) -> Result<bool, NetlinkError> {
        let what = format!("ip neigh get {ip} dev #{}", entry.header.ifindex);
        let request = RouteNetlinkMessage::GetNeighbour(entry.clone());
        let answers = match self.ask(&what, request, 0).await {
            Err(error) if error.is_gone() => Vec::new(),
            answers => answers?,
        };
        Ok(answers.iter().any(|answer| {
            matches!(answer, RouteNetlinkMessage::NewNeighbour(found) if matches!(
                found.header.state,
                NeighbourState::Permanent | NeighbourState::Noarp
            ))
        }))
    }
}

/// The entry of this neighbour.
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
