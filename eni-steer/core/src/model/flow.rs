//! The fields of a packet that policy routing looks at.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::IfIndex;

/// What the kernel compares the selectors of rules with (`struct flowi` in its
/// include/net/flow.h). A rule whose selector asks for a field that is `None` does not match,
/// unless the field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Destination address.
    pub to: IpAddr,
    /// Source address; `None`: the kernel has not chosen one yet.
    pub from: Option<IpAddr>,
    /// `skb->mark`; 0: no mark.
    pub mark: u32,
    /// Interface the packet came in by; `None`: this host made the packet.
    pub iif: Option<IfIndex>,
    /// Interface that the sending socket is bound to; the kernel ignores it if `iif` is given.
    pub oif: Option<IfIndex>,
    /// User whose socket sends the packet; `None`: root. The kernel routes a packet that it forwards
    /// as root's (`sock_net_uid` of net/ipv4/route.c, a zeroed `flowi6_uid` for IPv6), whatever
    /// stands here.
    pub uid: Option<u32>,
    /// TOS or traffic class, the whole byte.
    pub tos: u8,
    /// IP protocol number.
    pub ip_protocol: Option<u8>,
    /// Source port; `None`: no rule for source ports matches.
    pub sport: Option<u16>,
    /// Destination port; `None`: no rule for destination ports matches.
    pub dport: Option<u16>,
}

impl Flow {
    /// A packet that this host makes, whose source the kernel has not chosen yet.
    pub fn to(to: IpAddr) -> Self {
        Self {
            to,
            from: None,
            mark: 0,
            iif: None,
            oif: None,
            uid: None,
            tos: 0,
            ip_protocol: None,
            sport: None,
            dport: None,
        }
    }

    /// The same packet with this source.
    pub fn from(self, from: IpAddr) -> Self {
        Self {
            from: Some(from),
            ..self
        }
    }
}
