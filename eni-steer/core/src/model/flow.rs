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
    /// Interface that the sending socket is bound to; the kernel ignores it beside `iif`.
    pub oif: Option<IfIndex>,
    /// User whose socket sends it; `None`: root. The kernel routes what it forwards as root's
    /// (`sock_net_uid` of net/ipv4/route.c, a zeroed `flowi6_uid` for IPv6), whatever stands here.
    pub uid: Option<u32>,
    /// TOS or traffic class, the whole byte.
    pub tos: u8,
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
            oif: None,
            uid: None,
            tos: 0,
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
