//! A datagram of rtnetlink, read as each of those who wait for such would read it.

use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

use super::{ERROR, Message, address, errno::KernelRefusal, link, route, rule, watch};

/// What the messages in a datagram say, in our words; `None`: the first is no message.
pub(crate) fn read(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    for message in Message::all(bytes) {
        let kind = message.kind;
        text += &match kind {
            ERROR => format!("{:?}", KernelRefusal::of(&message)),
            libc::RTM_NEWLINK => format!("{:?}", link::from_message(&message)),
            libc::RTM_NEWADDR => format!("{:?}", address::from_message(&message)),
            libc::RTM_NEWROUTE => format!("{:?}", route::from_message(&message)),
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
