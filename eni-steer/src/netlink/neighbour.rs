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
    /// packet then need not wait for it. The kernel decides how long the entry lives.
    pub async fn warm_neighbour(&self, on: IfIndex, ip: IpAddr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family_to_wire(Family::of(ip));
        message.header.ifindex = on.get();
        message.header.state = NeighbourState::None;
        message.header.flags = NeighbourFlags::Use;
        message
            .attributes
            .push(NeighbourAttribute::Destination(match ip {
                IpAddr::V4(a) => NeighbourAddress::Inet(a),
                IpAddr::V6(a) => NeighbourAddress::Inet6(a),
            }));
        let what = format!("ip neigh replace {ip} dev #{on} use");
        self.change(
            &what,
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE,
        )
        .await
    }
}
