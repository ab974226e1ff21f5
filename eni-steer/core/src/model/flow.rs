//! The fields of a packet that policy routing looks at.

use std::net::IpAddr;

use serde::Serialize;

use super::IfIndex;

/// What the kernel compares the selectors of rules with (`struct flowi` in its
/// include/net/flow.h). A rule whose selector asks for a field that is `None` does not match,
/// unless the field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Flow {
    /// Destination address.
    pub to: IpAddr,
    /// Source address; `None`: the kernel has not chosen one yet.
    pub from: Option<IpAddr>,
    /// `skb->mark`; 0: no mark.
    pub mark: u32,
    /// Interface the packet came in by; `None`: this host made the packet.
    pub iif: Option<IfIndex>,
    /// User whose socket sends the packet; `None`: root if this host made the packet, nobody if it
    /// is forwarded.
    pub uid: Option<u32>,
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
            uid: None,
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
