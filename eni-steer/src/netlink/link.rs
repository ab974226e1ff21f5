//! Interfaces on the wire (`RTM_GETLINK`, `RTM_SETLINK`).

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Prop},
};

use super::{Netlink, NetlinkError};
use crate::model::{Group, IfIndex, Link, Mac};

impl Netlink {
    /// All interfaces, by index.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut links: Vec<Link> = self
            .dump("list the interfaces", request)
            .await?
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => from_message(message),
                _ => None,
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Puts an interface into a group.
    pub async fn set_group(&self, index: IfIndex, group: Group) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index.get();
        message.attributes.push(LinkAttribute::Group(group.0));
        let what = format!("ip link set dev #{index} group {group}");
        self.change(&what, RouteNetlinkMessage::SetLink(message), 0)
            .await
    }
}

pub(super) fn from_message(message: &LinkMessage) -> Option<Link> {
    let header = &message.header;
    let loopback = header.flags.contains(LinkFlags::Loopback);
    let mut link = Link {
        index: IfIndex::new(header.index)?,
        name: String::new(),
        altnames: Vec::new(),
        mac: None,
        kind: None,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        loopback,
        mtu: 0,
        group: Group(0),
        master: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::PropList(properties) => {
                link.altnames
                    .extend(properties.iter().filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name.clone()),
                        _ => None,
                    }));
            }
            LinkAttribute::Address(bytes) if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Group(group) => link.group = Group(*group),
            LinkAttribute::Controller(index) => link.master = IfIndex::new(*index),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind_text(kind)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

fn kind_text(kind: &InfoKind) -> String {
    kind.to_string()
}
