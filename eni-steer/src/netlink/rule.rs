//! Rules on the wire (`RTM_NEWRULE`, `RTM_DELRULE`, `RTM_GETRULE`).

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
    Message, Netlink, NetlinkError, Request,
    wire::{family_from_wire, family_to_wire, prefix},
};
use crate::model::{
    Family, Group, PortRange, Priority, Protocol, Rule, RuleAction, TableId, UidRange,
};

/// Attributes newer than the wire library, seen in dumps of rules that do not use them.
/// FRA_SPORT_MASK and FRA_DPORT_MASK (28, 29) come back with every exact-port rule.
const HARMLESS_UNKNOWN: [u16; 2] = [28, 29];

impl Netlink {
    /// All rules of both families, in the order in which the kernel asks them.
    pub async fn rules(&self) -> Result<Vec<Rule>, NetlinkError> {
        let mut rules = Vec::new();
        // One family at a time: a dump of all families at once has been seen incomplete.
        for family in Family::BOTH {
            let mut request = RuleMessage::default();
            request.header.family = family_to_wire(family);
            let request = RouteNetlinkMessage::GetRule(request);
            let read = |message: &Message<'_>| match message.parse()? {
                RouteNetlinkMessage::NewRule(message) => from_message(&message),
                _ => None,
            };
            rules.extend(self.dump("list the rules", request, read).await?);
        }
        Ok(rules)
    }
}

/// Adds a rule; the kernel refuses one that is there.
pub(crate) fn add(rule: &Rule) -> Request {
    let message = RouteNetlinkMessage::NewRule(to_message(rule));
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL)
}

/// Deletes exactly this rule. The kernel compares every selector that is given, the protocol
/// too, so a rule of somebody else never matches.
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
            // A table above 255 does not fit the header: RT_TABLE_COMPAT stands for it.
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

/// Normalises: what the kernel fills in by itself (`suppress_prefixlength -1`, a full mask)
/// is left out, so that a rule equals itself after a trip through the kernel.
pub(super) fn from_message(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    let family = family_from_wire(header.family)?;
    let mut rule = Rule::new(
        family,
        Priority(0),
        Protocol(0),
        RuleAction::Table(TableId(header.table.into())),
    );
    rule.tos = header.tos;
    rule.invert = header.flags.contains(RuleFlags::Invert);
    let mut table = TableId(header.table.into());
    let mut target = Priority(0);
    let mut l3mdev = false;
    let (mut mark, mut mask) = (None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(n) => rule.priority = Priority(*n),
            RuleAttribute::Protocol(p) => rule.protocol = Protocol(u8::from(*p)),
            RuleAttribute::Source(a) => rule.from = prefix(*a, header.src_len),
            RuleAttribute::Destination(a) => rule.to = prefix(*a, header.dst_len),
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::FwMark(n) => mark = Some(*n),
            RuleAttribute::FwMask(n) => mask = *n,
            RuleAttribute::IpProtocol(p) => {
                rule.ip_protocol = u8::try_from(i32::from(*p)).ok();
                rule.partial |= rule.ip_protocol.is_none();
            }
            RuleAttribute::SourcePortRange(r) => {
                rule.sport = Some(PortRange {
                    start: r.start,
                    end: r.end,
                });
            }
            RuleAttribute::DestinationPortRange(r) => {
                rule.dport = Some(PortRange {
                    start: r.start,
                    end: r.end,
                });
            }
            RuleAttribute::UidRange(r) => {
                rule.uids = Some(UidRange {
                    start: r.start,
                    end: r.end,
                });
            }
            RuleAttribute::Table(n) => table = TableId(*n),
            RuleAttribute::Goto(n) => target = Priority(*n),
            RuleAttribute::L3MDev(on) => l3mdev = *on,
            RuleAttribute::SuppressPrefixLen(n) if *n != u32::MAX => {
                rule.suppress_prefix_length = Some(*n);
            }
            RuleAttribute::SuppressIfGroup(n) if *n != u32::MAX => {
                rule.suppress_group = Some(Group(*n));
            }
            RuleAttribute::SuppressPrefixLen(_) | RuleAttribute::SuppressIfGroup(_) => {}
            RuleAttribute::TunId(n) => rule.partial |= *n != 0,
            RuleAttribute::Realm(_) => rule.partial = true,
            RuleAttribute::Other(nla) => {
                use rtnetlink::packet_core::Nla;
                rule.partial |= !HARMLESS_UNKNOWN.contains(&nla.kind());
            }
            _ => rule.partial = true,
        }
    }
    rule.mark = mark
        .or((mask != u32::MAX).then_some(0))
        .map(|mark| (mark, mask));
    rule.action = match header.action {
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

    proptest! {
        #[test]
        fn a_rule_survives_the_wire(rule in rules()) {
            prop_assert_eq!(from_message(&to_message(&rule)), Some(rule));
        }
    }
}
