//! A datagram of rtnetlink, read as each of those who wait for such would read it.

use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

use super::{NetlinkError, address, link, route, rule, watch};

/// What the message in a datagram says, in our words; `None`: it is no message.
pub(crate) fn read(bytes: &[u8]) -> Option<String> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
    Some(match message.payload {
        NetlinkPayload::InnerMessage(inner) => {
            let object = match &inner {
                RouteNetlinkMessage::NewLink(link) => format!("{:?}", link::from_message(link)),
                RouteNetlinkMessage::NewAddress(address) => {
                    format!("{:?}", address::from_message(address))
                }
                RouteNetlinkMessage::NewRoute(route) => {
                    format!("{:?}", route::from_message(route))
                }
                RouteNetlinkMessage::NewRule(rule) => format!("{:?}", rule::from_message(rule)),
                _ => String::new(),
            };
            format!("{:?} {object}", watch::classify(&inner))
        }
        NetlinkPayload::Error(error) => NetlinkError::refused("read", &error).to_string(),
        _ => String::new(),
    })
}
