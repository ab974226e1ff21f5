//! Policy routing rules, and their text in the words of `ip rule`.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, Group, Priority, Protocol, TableId, route::destination_text};

/// What a rule does with a packet that it matches (`FRA_ACTION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Looks the destination up in a table. If the table has no route, the next rule follows.
    Table(TableId),
    /// Continues with the first rule of this priority.
    Goto(Priority),
    /// Continues with the next rule.
    Nop,
    /// Drops the packet silently.
    Blackhole,
    /// Refuses the packet with "network unreachable".
    Unreachable,
    /// Refuses the packet with "administratively prohibited".
    Prohibit,
    /// Looks the destination up in the table of the packet's VRF (`l3mdev`).
    L3mdev,
    /// Another `FRA_ACTION`, by its number.
    Other(u8),
}

/// A range of ports that includes both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// Lowest port that matches.
    pub start: u16,
    /// Highest port that matches.
    pub end: u16,
}

/// A range of user ids that includes both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UidRange {
    /// Lowest user id that matches.
    pub start: u32,
    /// Highest user id that matches.
    pub end: u32,
}

/// A selector that eni-steer never writes. A rule with one is [`Rule::partial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RareSelector {
    /// `FRA_DSCP`: the six bits of the DSCP field, and the mask under which they are compared.
    Dscp {
        /// Value.
        value: u8,
        /// Mask.
        mask: u8,
    },
    /// `FRA_FLOWLABEL`
    FlowLabel {
        /// Value.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// `FRA_TUN_ID`
    TunnelId(u64),
    /// `FRA_SPORT_MASK` other than that of one port.
    SourcePortMask(u16),
    /// `FRA_DPORT_MASK` other than that of one port.
    DestinationPortMask(u16),
    /// Flags of the header (`FIB_RULE_*`) that eni-steer does not know.
    Flags(u32),
    /// An attribute (`FRA_*`) that eni-steer does not know.
    Unknown {
        /// Its number.
        attribute: u16,
    },
}

impl fmt::Display for RareSelector {
    /// Nearly as `ip rule list` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dscp { value, mask: 0x3f } => write!(f, "dscp {value:#x}"),
            Self::Dscp { value, mask } => write!(f, "dscp {value:#x}/{mask:#x}"),
            Self::FlowLabel { value, mask } => write!(f, "flowlabel {value:#x}/{mask:#x}"),
            Self::TunnelId(id) => write!(f, "tun_id {id}"),
            Self::SourcePortMask(mask) => write!(f, "sport mask {mask:#x}"),
            Self::DestinationPortMask(mask) => write!(f, "dport mask {mask:#x}"),
            Self::Flags(flags) => write!(f, "flags {flags:#x}"),
            Self::Unknown { attribute } => write!(f, "attribute {attribute}"),
        }
    }
}

/// A rule, without the attributes that the kernel adds to a dump by itself, so that a rule that
/// was read equals the rule that was added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// IPv4 or IPv6: the kernel keeps a list of rules for each.
    pub family: Family,
    /// Priority: the kernel evaluates lower ones first.
    pub priority: Priority,
    /// Program that installed the rule (`FRA_PROTOCOL`).
    pub protocol: Protocol,
    /// `FIB_RULE_INVERT`: the rule matches the packets that its selectors do not match.
    pub invert: bool,
    /// Prefix that the source must be in; `None`: any source.
    pub from: Option<IpNet>,
    /// Prefix that the destination must be in; `None`: any destination.
    pub to: Option<IpNet>,
    /// Name of the interface the packet came in by; `lo`: this host made the packet.
    pub iif: Option<String>,
    /// Name of the interface that the sending socket is bound to.
    pub oif: Option<String>,
    /// Mark that the packet must have, and the mask it is compared under.
    pub mark: Option<(u32, u32)>,
    /// TOS that the packet must have; 0: any.
    pub tos: u8,
    /// IP protocol number that the packet must have.
    pub ip_protocol: Option<u8>,
    /// Source ports that match.
    pub sport: Option<PortRange>,
    /// Destination ports that match.
    pub dport: Option<PortRange>,
    /// Users whose sockets' packets match.
    pub uids: Option<UidRange>,
    /// What the rule does with a packet that matches.
    pub action: RuleAction,
    /// The rule ignores a route whose prefix length is this or shorter
    /// (`suppress_prefixlength`).
    pub suppress_prefix_length: Option<u32>,
    /// The rule ignores a route that leaves by an interface of this group (`suppress_ifgroup`).
    pub suppress_group: Option<Group>,
    /// Whether the kernel's rule has selectors that this type cannot hold (tunnel id, flow label,
    /// DSCP). eni-steer shows such a rule, treats it as not matching, and never rewrites it.
    pub partial: bool,
    /// Which selectors those are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rare: Vec<RareSelector>,
}

impl Rule {
    /// A rule that matches every packet of a family.
    pub fn new(family: Family, priority: Priority, protocol: Protocol, action: RuleAction) -> Self {
        Self {
            family,
            priority,
            protocol,
            invert: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            tos: 0,
            ip_protocol: None,
            sport: None,
            dport: None,
            uids: None,
            action,
            suppress_prefix_length: None,
            suppress_group: None,
            partial: false,
            rare: Vec::new(),
        }
    }
}

impl fmt::Display for Rule {
    /// The rule as arguments of `ip rule add`, which is nearly what `ip rule list` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pref {}", self.priority)?;
        if self.invert {
            write!(f, " not")?;
        }
        match self.from {
            Some(net) => write!(f, " from {}", destination_text(net))?,
            None => write!(f, " from all")?,
        }
        if let Some(net) = self.to {
            write!(f, " to {}", destination_text(net))?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}")?;
            if mask != u32::MAX {
                write!(f, "/{mask:#x}")?;
            }
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        if let Some(name) = &self.iif {
            write!(f, " iif {name}")?;
        }
        if let Some(name) = &self.oif {
            write!(f, " oif {name}")?;
        }
        if let Some(UidRange { start, end }) = self.uids {
            write!(f, " uidrange {start}-{end}")?;
        }
        if let Some(number) = self.ip_protocol {
            match number {
                1 => write!(f, " ipproto icmp")?,
                6 => write!(f, " ipproto tcp")?,
                17 => write!(f, " ipproto udp")?,
                58 => write!(f, " ipproto ipv6-icmp")?,
                n => write!(f, " ipproto {n}")?,
            }
        }
        for (word, range) in [("sport", self.sport), ("dport", self.dport)] {
            if let Some(PortRange { start, end }) = range {
                write!(f, " {word} {start}")?;
                if end != start {
                    write!(f, "-{end}")?;
                }
            }
        }
        for selector in &self.rare {
            write!(f, " {selector}")?;
        }
        match self.action {
            RuleAction::Table(table) => write!(f, " lookup {table}")?,
            RuleAction::Goto(priority) => write!(f, " goto {priority}")?,
            RuleAction::Nop => write!(f, " nop")?,
            RuleAction::Blackhole => write!(f, " blackhole")?,
            RuleAction::Unreachable => write!(f, " unreachable")?,
            RuleAction::Prohibit => write!(f, " prohibit")?,
            RuleAction::L3mdev => write!(f, " l3mdev")?,
            RuleAction::Other(n) => write!(f, " action {n}")?,
        }
        if let Some(length) = self.suppress_prefix_length {
            write!(f, " suppress_prefixlength {length}")?;
        }
        if let Some(group) = self.suppress_group {
            write!(f, " suppress_ifgroup {group}")?;
        }
        write!(f, " protocol {}", self.protocol)
    }
}
