//! Lists, adds and deletes rules (`RTM_GETRULE`, `RTM_NEWRULE`, `RTM_DELRULE`).

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::RouteProtocol,
    rule::{
        RuleAction as WireAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange,
        RuleUidRange,
    },
};

use super::{
    connection::{Netlink, Request},
    errno::NetlinkError,
    wire::{self, Message, family_to_wire, prefix, text, u16_at, u32_at},
};
use eni_steer_core::model::{
    Family, Group, PortRange, Priority, Protocol, RareSelector, Rule, RuleAction, TableId, UidRange,
};

/// Length in bytes of `struct fib_rule_hdr`, which precedes the attributes (linux/fib_rules.h).
const HEADER: usize = 12;

/// `FIB_RULE_INVERT`: the rule applies to packets that do not match (`ip rule add not ...`).
const INVERT: u32 = 2;
/// `FIB_RULE_PERMANENT`, `INVERT`, `UNRESOLVED`, `IIF_DETACHED`, `OIF_DETACHED`: what follows from
/// them is in the rule's other fields.
const KNOWN_FLAGS: u32 = 0x1f;
/// A DSCP field has six bits.
const ALL_OF_DSCP: u8 = 0x3f;

/// Numbers of the attributes (`FRA_*` of linux/fib_rules.h).
mod attribute {
    pub const DST: u16 = 1;
    pub const SRC: u16 = 2;
    pub const IIFNAME: u16 = 3;
    pub const GOTO: u16 = 4;
    pub const PRIORITY: u16 = 6;
    pub const FWMARK: u16 = 10;
    /// Realms: they select nothing.
    pub const FLOW: u16 = 11;
    pub const TUN_ID: u16 = 12;
    pub const SUPPRESS_IFGROUP: u16 = 13;
    pub const SUPPRESS_PREFIXLEN: u16 = 14;
    pub const TABLE: u16 = 15;
    pub const FWMASK: u16 = 16;
    pub const OIFNAME: u16 = 17;
    pub const L3MDEV: u16 = 19;
    pub const UID_RANGE: u16 = 20;
    pub const PROTOCOL: u16 = 21;
    pub const IP_PROTO: u16 = 22;
    pub const SPORT_RANGE: u16 = 23;
    pub const DPORT_RANGE: u16 = 24;
    pub const DSCP: u16 = 25;
    pub const FLOWLABEL: u16 = 26;
    pub const FLOWLABEL_MASK: u16 = 27;
    /// The kernel sends the port masks, with all bits set, with every rule that names one port.
    pub const SPORT_MASK: u16 = 28;
    pub const DPORT_MASK: u16 = 29;
    pub const DSCP_MASK: u16 = 30;
}

impl Netlink {
    /// Lists all rules of both families, in the order in which the kernel evaluates them.
    ///
    /// # Errors
    /// The kernel refused a dump, or it could not be read completely.
    pub(crate) fn rules(&self) -> Result<Vec<Rule>, NetlinkError> {
        let mut rules = Vec::new();
        // One family at a time: a dump of all families at once was seen to be incomplete.
        for family in Family::BOTH {
            let mut request = RuleMessage::default();
            request.header.family = family_to_wire(family);
            let request = RouteNetlinkMessage::GetRule(request);
            self.dump_into(&mut rules, "list the rules", request, from_message)?;
        }
        Ok(rules)
    }
}

/// The request that adds a rule. The kernel refuses a rule that exists already.
pub(crate) fn add(rule: &Rule) -> Request {
    let message = RouteNetlinkMessage::NewRule(to_message(rule));
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL)
}

/// The request that deletes exactly this rule. The kernel compares every selector of the request
/// and the protocol number, so it never deletes a rule of another program.
pub(crate) fn delete(rule: &Rule) -> Request {
    Request::new(RouteNetlinkMessage::DelRule(to_message(rule)), 0)
}

fn to_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let header = &mut message.header;
    header.family = family_to_wire(rule.family);
    header.tos = rule.tos;
    if rule.invert {
        header.flags |= RuleFlags::Invert;
    }
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority.0));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::from(
        rule.protocol.0,
    )));
    if let Some(net) = rule.from {
        header.src_len = net.prefix_len();
        attributes.push(RuleAttribute::Source(net.network()));
    }
    if let Some(net) = rule.to {
        header.dst_len = net.prefix_len();
        attributes.push(RuleAttribute::Destination(net.network()));
    }
    if let Some(name) = &rule.iif {
        attributes.push(RuleAttribute::Iifname(name.clone()));
    }
    if let Some(name) = &rule.oif {
        attributes.push(RuleAttribute::Oifname(name.clone()));
    }
    if let Some((mark, mask)) = rule.mark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    if let Some(number) = rule.ip_protocol {
        attributes.push(RuleAttribute::IpProtocol(i32::from(number).into()));
    }
    if let Some(PortRange { start, end }) = rule.sport {
        attributes.push(RuleAttribute::SourcePortRange(RulePortRange { start, end }));
    }
    if let Some(PortRange { start, end }) = rule.dport {
        attributes.push(RuleAttribute::DestinationPortRange(RulePortRange {
            start,
            end,
        }));
    }
    if let Some(UidRange { start, end }) = rule.uids {
        attributes.push(RuleAttribute::UidRange(RuleUidRange { start, end }));
    }
    match rule.action {
        RuleAction::Table(TableId(table)) => {
            header.action = WireAction::ToTable;
            // A table above 255 does not fit into the header, which then holds RT_TABLE_COMPAT.
            header.table = u8::try_from(table).unwrap_or(libc::RT_TABLE_COMPAT);
            attributes.push(RuleAttribute::Table(table));
        }
        RuleAction::Goto(Priority(target)) => {
            header.action = WireAction::Goto;
            attributes.push(RuleAttribute::Goto(target));
        }
        RuleAction::Nop => header.action = WireAction::Nop,
        RuleAction::Blackhole => header.action = WireAction::Blackhole,
        RuleAction::Unreachable => header.action = WireAction::Unreachable,
        RuleAction::Prohibit => header.action = WireAction::Prohibit,
        RuleAction::L3mdev => {
            header.action = WireAction::ToTable;
            attributes.push(RuleAttribute::L3MDev(true));
        }
        RuleAction::Other(number) => header.action = number.into(),
    }
    if let Some(length) = rule.suppress_prefix_length {
        attributes.push(RuleAttribute::SuppressPrefixLen(length));
    }
    if let Some(Group(group)) = rule.suppress_group {
        attributes.push(RuleAttribute::SuppressIfGroup(group));
    }
    message
}

/// Decodes one message of a dump. Values that the kernel adds by itself (`suppress_prefixlength
/// -1`, a mask with all bits set) are left out, so that a rule read back equals the rule that was
/// sent.
pub(super) fn from_message(message: &Message<'_>) -> Option<Rule> {
    if message.kind != libc::RTM_NEWRULE {
        return None;
    }
    let (header, attributes) = message.split::<HEADER>()?;
    let [family, to_length, from_length, tos, table, _, _, action, ..] = *header;
    let family = wire::family_of_byte(family)?;
    let mut rule = Rule::new(
        family,
        Priority(0),
        Protocol(0),
        RuleAction::Table(TableId(table.into())),
    );
    rule.tos = tos;
    rule.invert = u32_at(header, 8)? & INVERT != 0;
    let mut table = TableId(table.into());
    let mut target = Priority(0);
    let mut l3mdev = false;
    let (mut mark, mut mask) = (None, u32::MAX);
    let (mut dscp, mut dscp_mask) = (None, ALL_OF_DSCP);
    let (mut label, mut label_mask) = (None, u32::MAX);
    let flags = u32_at(header, 8)? & !KNOWN_FLAGS;
    if flags != 0 {
        rule.rare.push(RareSelector::Flags(flags));
    }
    let net = |value, length| prefix(wire::address(family, value)?, length);
    let ports = |value| {
        let (start, end) = (u16_at(value, 0)?, u16_at(value, 2)?);
        Some(PortRange { start, end })
    };
    let unless_all = |value: u32| (value != u32::MAX).then_some(value);
    for (kind, value) in attributes {
        match kind {
            attribute::PRIORITY => rule.priority = Priority(u32_at(value, 0)?),
            attribute::PROTOCOL => rule.protocol = Protocol(*value.first()?),
            attribute::SRC => rule.from = Some(net(value, from_length)?),
            attribute::DST => rule.to = Some(net(value, to_length)?),
            attribute::IIFNAME => rule.iif = Some(text(value)),
            attribute::OIFNAME => rule.oif = Some(text(value)),
            attribute::FWMARK => mark = Some(u32_at(value, 0)?),
            attribute::FWMASK => mask = u32_at(value, 0)?,
            attribute::IP_PROTO => rule.ip_protocol = Some(*value.first()?),
            attribute::SPORT_RANGE => rule.sport = Some(ports(value)?),
            attribute::DPORT_RANGE => rule.dport = Some(ports(value)?),
            attribute::UID_RANGE => {
                let (start, end) = (u32_at(value, 0)?, u32_at(value, 4)?);
                rule.uids = Some(UidRange { start, end });
            }
            attribute::TABLE => table = TableId(u32_at(value, 0)?),
            attribute::GOTO => target = Priority(u32_at(value, 0)?),
            attribute::L3MDEV => l3mdev = *value.first()? != 0,
            attribute::SUPPRESS_PREFIXLEN => {
                rule.suppress_prefix_length = unless_all(u32_at(value, 0)?);
            }
            attribute::SUPPRESS_IFGROUP => {
                rule.suppress_group = unless_all(u32_at(value, 0)?).map(Group);
            }
            attribute::SPORT_MASK | attribute::DPORT_MASK if value == [0xff; 2] => {}
            attribute::SPORT_MASK => {
                rule.rare
                    .push(RareSelector::SourcePortMask(u16_at(value, 0)?));
            }
            attribute::DPORT_MASK => {
                rule.rare
                    .push(RareSelector::DestinationPortMask(u16_at(value, 0)?));
            }
            attribute::DSCP => dscp = Some(*value.first()?),
            attribute::DSCP_MASK => dscp_mask = *value.first()?,
            attribute::FLOWLABEL => label = Some(u32_at(value, 0)?.to_be()),
            attribute::FLOWLABEL_MASK => label_mask = u32_at(value, 0)?.to_be(),
            attribute::TUN_ID => {
                let id = u64::from_be_bytes(*value.first_chunk()?);
                rule.rare.push(RareSelector::TunnelId(id));
            }
            attribute::FLOW => rule.partial = true,
            attribute => rule.rare.push(RareSelector::Unknown { attribute }),
        }
    }
    rule.rare.extend(dscp.map(|value| RareSelector::Dscp {
        value,
        mask: dscp_mask,
    }));
    rule.rare.extend(label.map(|value| RareSelector::FlowLabel {
        value,
        mask: label_mask,
    }));
    rule.partial |= rule.rare.iter().any(needs_attribute);
    rule.mark = mark
        .or((mask != u32::MAX).then_some(0))
        .map(|mark| (mark, mask));
    rule.action = match WireAction::from(action) {
        WireAction::ToTable if l3mdev => RuleAction::L3mdev,
        WireAction::ToTable => RuleAction::Table(table),
        WireAction::Goto => RuleAction::Goto(target),
        WireAction::Nop => RuleAction::Nop,
        WireAction::Blackhole => RuleAction::Blackhole,
        WireAction::Unreachable => RuleAction::Unreachable,
        WireAction::Prohibit => RuleAction::Prohibit,
        other => RuleAction::Other(other.into()),
    };
    Some(rule)
}

/// Whether a selector comes as an attribute that [`to_message`] does not write.
fn needs_attribute(selector: &RareSelector) -> bool {
    !matches!(selector, RareSelector::Flags(_))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> impl Strategy<Value = Rule> {
        let prefix4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| {
            ipnet::Ipv4Net::new(bits.into(), length)
                .expect("a length in range")
                .trunc()
                .into()
        });
        let prefix6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| {
            ipnet::Ipv6Net::new(bits.into(), length)
                .expect("a length in range")
                .trunc()
                .into()
        });
        let net = move |family| match family {
            Family::V4 => prefix4.clone().boxed(),
            Family::V6 => prefix6.clone().boxed(),
        };
        let action = prop_oneof![
            any::<u32>().prop_map(|n| RuleAction::Table(TableId(n))),
            any::<u32>().prop_map(|n| RuleAction::Goto(Priority(n))),
            Just(RuleAction::Nop),
            Just(RuleAction::Blackhole),
            Just(RuleAction::Unreachable),
            Just(RuleAction::Prohibit),
            Just(RuleAction::L3mdev),
        ];
        prop_oneof![Just(Family::V4), Just(Family::V6)].prop_flat_map(move |family| {
            (
                (any::<u32>(), any::<u8>(), action.clone(), any::<bool>()),
                proptest::option::of(net(family)),
                proptest::option::of(net(family)),
                proptest::option::of((any::<u32>(), any::<u32>())),
                proptest::option::of(any::<u8>()),
                proptest::option::of((any::<u16>(), any::<u16>())),
                proptest::option::of((any::<u32>(), any::<u32>())),
                proptest::option::of(0..u32::MAX),
                proptest::option::of("[a-z]{1,15}"),
            )
                .prop_map(
                    move |(
                        (priority, protocol, action, invert),
                        from,
                        to,
                        mark,
                        ip,
                        port,
                        uid,
                        group,
                        name,
                    )| {
                        let mut rule =
                            Rule::new(family, Priority(priority), Protocol(protocol), action);
                        rule.invert = invert;
                        rule.from = from;
                        rule.to = to;
                        rule.mark = mark;
                        rule.ip_protocol = ip;
                        rule.sport = port.map(|(start, end)| PortRange { start, end });
                        rule.dport = port.map(|(end, start)| PortRange { start, end });
                        rule.uids = uid.map(|(start, end)| UidRange { start, end });
                        rule.suppress_group = group.map(Group);
                        rule.suppress_prefix_length = group;
                        rule.iif = name.clone();
                        rule.oif = name;
                        rule
                    },
                )
        })
    }

    /// A rule as the kernel would send it, with one more attribute.
    fn with_attribute(kind: u16, value: &[u8]) -> Rule {
        let main = RuleAction::Table(TableId::MAIN);
        let rule = Rule::new(Family::V4, Priority(7), Protocol(0), main);
        let mut bytes = wire::bytes_of(RouteNetlinkMessage::NewRule(to_message(&rule)));
        bytes.extend(u16::to_ne_bytes(4 + value.len() as u16));
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let message = Message::all(&bytes).next().expect("a message");
        from_message(&message).expect("a rule")
    }

    #[test]
    fn an_unknown_selector_makes_a_rule_partial_and_what_the_kernel_adds_does_not() {
        // A tunnel, a realm, a DSCP, a flow label, and one that no kernel has yet.
        for kind in [12, 11, 25, 26, 99] {
            assert!(with_attribute(kind, &[0; 8]).partial, "{kind}");
        }
        // Which one it is, where eni-steer knows its meaning and where it does not.
        let rare = |kind, value: &[u8]| with_attribute(kind, value).rare;
        assert_eq!(
            rare(attribute::TUN_ID, &7u64.to_be_bytes()),
            [RareSelector::TunnelId(7)]
        );
        let dscp = RareSelector::Dscp {
            value: 10,
            mask: 0x3f,
        };
        assert_eq!(rare(attribute::DSCP, &[10]), [dscp]);
        assert_eq!(rare(99, &[0; 8]), [RareSelector::Unknown { attribute: 99 }]);
        assert_eq!(rare(attribute::FLOW, &[0; 4]), []);
        let masks = [attribute::SPORT_MASK, attribute::DPORT_MASK];
        for kind in masks {
            assert!(!with_attribute(kind, &[0xff; 2]).partial, "{kind}");
            assert!(with_attribute(kind, &[0xff, 0xf0]).partial, "{kind}");
        }
        let suppress = [attribute::SUPPRESS_PREFIXLEN, attribute::SUPPRESS_IFGROUP];
        for kind in suppress {
            let rule = with_attribute(kind, &[0xff; 4]);
            let plain = Rule::new(rule.family, rule.priority, rule.protocol, rule.action);
            assert_eq!(rule, plain, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_survives_the_wire(rule in rules()) {
            let bytes = wire::bytes_of(RouteNetlinkMessage::NewRule(to_message(&rule)));
            let message = Message::all(&bytes).next().expect("a message");
            prop_assert_eq!(from_message(&message), Some(rule));
        }
    }
}
