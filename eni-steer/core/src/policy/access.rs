//! The administrator's own rules: `[[rule]]` refuses packets or sends them out through an ENI,
//! and `[balance]` spreads new connections over ENIs.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Selector;
use crate::model::{Family, PortRange, TableId, UidRange};

/// `IPPROTO_ICMP`
const ICMP: u8 = 1;
/// `IPPROTO_ICMPV6`
const ICMPV6: u8 = 58;

/// What happens to the packets that an [`AccessRule`] matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessAction {
    /// It leaves through this ENI, unless another ENI owns its source.
    Eni(Selector),
    /// The kernel refuses it as "administratively prohibited" (EACCES).
    Prohibit,
    /// The kernel refuses it as "unreachable" (ENETUNREACH).
    Unreachable,
    /// The kernel drops it: a socket of this host gets EINVAL, a forwarded packet no answer.
    Blackhole,
}

/// IP protocols that have ports: TCP, UDP, DCCP, SCTP and UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// One `[[rule]]`. A packet must match every field that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Its source lies in this prefix.
    pub from: Option<IpNet>,
    /// Its destination lies in this prefix.
    pub to: Option<IpNet>,
    /// It has this IP protocol.
    pub ip_protocol: Option<u8>,
    /// Its source port is one of these.
    pub sport: Option<PortRange>,
    /// Its destination port is one of these.
    pub dport: Option<PortRange>,
    /// A socket of one of these users sends it.
    pub uids: Option<UidRange>,
    /// It carries this mark, seen through this mask.
    pub mark: Option<(u32, u32)>,
    /// It comes in by this interface; `lo`: a socket of this host sends it.
    pub iif: Option<String>,
    /// What happens to it.
    pub then: AccessAction,
}

impl AccessRule {
    /// A rule that matches every packet.
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

    /// Whether no field is set, so that the rule matches every packet.
    pub fn matches_everything(&self) -> bool {
        *self == Self::new(self.then.clone())
    }

    /// The IP versions of the packets that it can match.
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

    /// Why it can never match a packet, and how to correct it.
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let has_ports = self.sport.is_some() || self.dport.is_some();
        let forwarded = self.iif.as_deref().is_some_and(|name| name != "lo");
        if self.families().next().is_none() {
            Some((
                "it mixes IPv4 and IPv6",
                "from, to and proto (icmp, ipv6-icmp) must all be IPv4 or all be IPv6",
            ))
        } else if has_ports && self.ip_protocol.is_some_and(|p| !WITH_PORTS.contains(&p)) {
            Some((
                "its protocol has no ports",
                "sport and dport need proto tcp, udp or sctp",
            ))
        } else if forwarded && self.uids.is_some() {
            Some((
                "packets that come in by an interface have no user",
                "uid matches this host's own sockets only: omit uid or iif",
            ))
        } else {
            None
        }
    }

    /// Whether it refuses packets. The other rules choose the ENI that packets leave through.
    pub fn refuses(&self) -> bool {
        !matches!(self.then, AccessAction::Eni(_))
    }
}

/// How eni-steer spreads this host's new connections over ENIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The share of each ENI.
    pub weights: Vec<(Selector, u16)>,
    /// The table that holds the multipath default route; `None`: the table base plus 999.
    pub table: Option<TableId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, ip_protocol: Option<u8>) -> AccessRule {
        AccessRule {
            from: Some(from.parse().expect("a prefix")),
            ip_protocol,
            ..AccessRule::new(AccessAction::Prohibit)
        }
    }

    #[test]
    fn a_rule_matches_the_ip_versions_of_its_prefixes_and_its_protocol() {
        let families = |rule: &AccessRule| rule.families().collect::<Vec<_>>();
        let any = AccessRule::new(AccessAction::Prohibit);
        assert_eq!(families(&any), Family::BOTH);
        assert_eq!(families(&rule("10.0.0.0/8", Some(6))), [Family::V4]);
        assert_eq!(families(&rule("10.0.0.0/8", Some(ICMP))), [Family::V4]);
        assert_eq!(families(&rule("fd00::/8", None)), [Family::V6]);
        assert_eq!(families(&rule("fd00::/8", Some(ICMPV6))), [Family::V6]);
        for never in [
            rule("10.0.0.0/8", Some(ICMPV6)),
            rule("fd00::/8", Some(ICMP)),
        ] {
            assert_eq!(families(&never), []);
            let (why, _) = never.contradiction().expect("it never matches");
            assert_eq!(why, "it mixes IPv4 and IPv6");
        }
        for (number, family) in [(ICMP, Family::V4), (ICMPV6, Family::V6)] {
            let ip_protocol = Some(number);
            let rule = AccessRule {
                ip_protocol,
                ..any.clone()
            };
            assert_eq!(families(&rule), [family]);
        }
    }

    #[test]
    fn a_rule_refuses_packets_unless_it_names_an_eni() {
        let refuses = |then| AccessRule::new(then).refuses();
        assert!(refuses(AccessAction::Prohibit));
        assert!(refuses(AccessAction::Unreachable));
        assert!(refuses(AccessAction::Blackhole));
        assert!(!refuses(AccessAction::Eni(Selector::from("eth1"))));
    }
}
