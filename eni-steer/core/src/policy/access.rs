//! Rules of the administrator, beyond "a packet leaves by the ENI that owns its source":
//! access control, pinning, and spreading new connections.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Selector;
use crate::model::{Family, PortRange, TableId, UidRange};

/// `IPPROTO_ICMP`
const ICMP: u8 = 1;
/// `IPPROTO_ICMPV6`
const ICMPV6: u8 = 58;

/// What happens to the traffic an [`AccessRule`] matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessAction {
    /// It leaves by this ENI, unless its source is owned already.
    Eni(Selector),
    /// It is refused: "administratively prohibited" (EACCES).
    Prohibit,
    /// It is refused: "unreachable" (ENETUNREACH).
    Unreachable,
    /// It is dropped: silently where it is forwarded, with EINVAL where it is made here.
    Blackhole,
}

/// Protocols that have ports: TCP, UDP, DCCP, SCTP and UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// One `[[rule]]`. What a field leaves open matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Source.
    pub from: Option<IpNet>,
    /// Destination.
    pub to: Option<IpNet>,
    /// IP protocol number.
    pub ip_protocol: Option<u8>,
    /// Source ports.
    pub sport: Option<PortRange>,
    /// Destination ports.
    pub dport: Option<PortRange>,
    /// Users whose sockets send it.
    pub uids: Option<UidRange>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// Interface it comes from; `lo`: made on this host.
    pub iif: Option<String>,
    /// What happens to it.
    pub then: AccessAction,
}

impl AccessRule {
    /// A rule that matches everything.
    pub fn new(then: AccessAction) -> Self {
        Self {
            from: None,
            to: None,
            ip_protocol: None,
            sport: None,
            dport: None,
            uids: None,
            mark: None,
            iif: None,
            then,
        }
    }

    /// Whether every field is left open.
    pub fn matches_everything(&self) -> bool {
        *self == Self::new(self.then.clone())
    }

    /// The families it speaks of.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        Family::BOTH.into_iter().filter(|family| {
            let nets = [self.from, self.to];
            nets.iter()
                .flatten()
                .all(|net| Family::of_net(*net) == *family)
                && match self.ip_protocol {
                    Some(ICMP) => *family == Family::V4,
                    Some(ICMPV6) => *family == Family::V6,
                    _ => true,
                }
        })
    }

    /// Why it can never match, and what is possible.
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let has_ports = self.sport.is_some() || self.dport.is_some();
        let forwarded = self.iif.as_deref().is_some_and(|name| name != "lo");
        if self.families().next().is_none() {
            Some((
                "its parts are of different IP versions",
                "from, to and proto (icmp, ipv6-icmp) are all of IPv4 or all of IPv6",
            ))
        } else if has_ports && self.ip_protocol.is_some_and(|p| !WITH_PORTS.contains(&p)) {
            Some((
                "its protocol has no ports",
                "sport and dport are of tcp, udp or sctp",
            ))
        } else if forwarded && self.uids.is_some() {
            Some((
                "what comes in by an interface is of no user",
                "uid speaks of this host's own sockets: leave it out, or iif",
            ))
        } else {
            None
        }
    }

    /// Whether it refuses, rather than choosing a way out.
    pub fn refuses(&self) -> bool {
        !matches!(self.then, AccessAction::Eni(_))
    }
}

/// New connections of this host, spread over ENIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The share of each ENI.
    pub weights: Vec<(Selector, u16)>,
    /// The table that holds the multipath default; `None`: table base plus 999.
    pub table: Option<TableId>,
}
