//! A packet, as far as policy routing looks at it.

use std::net::IpAddr;

use serde::Serialize;

use super::IfIndex;

/// What the selectors of rules are compared with (`struct flowi` in the kernel's
/// include/net/flow.h). What is `None` is not said: no rule that asks for it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Flow {
    /// Destination.
    pub to: IpAddr,
    /// Source; `None`: not chosen yet.
    pub from: Option<IpAddr>,
    /// `skb->mark`
    pub mark: u32,
    /// Interface it came in by; `None`: made on this host.
    pub iif: Option<IfIndex>,
    /// User whose socket sends it; `None`: root, for what is made on this host.
    pub uid: Option<u32>,
    /// IP protocol number.
    pub ip_protocol: Option<u8>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

impl Flow {
    /// Made on this host, with no source chosen yet.
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

    /// From this source.
    pub fn from(self, from: IpAddr) -> Self {
        Self {
            from: Some(from),
            ..self
        }
    }
}
