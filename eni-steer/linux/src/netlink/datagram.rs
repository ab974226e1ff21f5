//! Decodes an rtnetlink datagram with every parser of this module: the entry point of the fuzzer.

use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

use super::{
    address,
    errno::KernelRefusal,
    link, nexthop, route, rule, watch,
    wire::{ERROR, Message},
};

/// Decodes every message of a datagram and returns the results as text. `None` if the wire library
/// cannot read the first message.
pub(crate) fn decode_with_every_parser(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    for message in Message::all(bytes) {
        let kind = message.kind;
        text += &match kind {
            ERROR => format!("{:?}", KernelRefusal::from_message(&message)),
            libc::RTM_NEWLINK => format!("{:?}", link::from_message(&message)),
            libc::RTM_NEWADDR => format!("{:?}", address::from_message(&message)),
            libc::RTM_NEWROUTE => format!("{:?}", route::from_message(&message)),
            nexthop::NEW => format!("{:?}", nexthop::from_message(&message)),
            libc::RTM_NEWRULE => format!("{:?}", rule::from_message(&message)),
            _ => String::new(),
        };
    }
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
    if let NetlinkPayload::InnerMessage(inner) = &message.payload {
        text += &format!("{:?}", watch::classify(inner));
    }
    Some(text)
}
