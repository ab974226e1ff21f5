//! Reads interfaces (`RTM_GETLINK`) and changes their group (`RTM_SETLINK`).

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};

use super::{
    connection::{Netlink, Request},
    errno::NetlinkError,
    wire::{Attributes, Message, text, u16_at, u32_at},
};
use eni_steer_core::model::{Group, IfIndex, Link, Mac, TableId, TunableKind};

/// `IFLA_INET_CONF`: the values of all sysctls in `net.ipv4.conf.<interface>`, in the order of
/// linux/ip.h.
const INET_CONF: u16 = 1;

/// `IFLA_VRF_TABLE`: the table of a VRF.
const VRF_TABLE: u16 = 1;

/// `IFLA_XDP_ATTACHED`: how an XDP program is attached.
const XDP_ATTACHED: u16 = 2;

/// An interface, and the sysctls of it that eni-steer may change. An interface without IPv4 has no
/// such sysctls.
pub(crate) type Interface = (Link, Vec<(TunableKind, u32)>);

impl Netlink {
    /// Lists all interfaces, sorted by index.
    pub(crate) fn interfaces(&self) -> Result<Vec<Interface>, NetlinkError> {
        let mut request = LinkMessage::default();
        // For the kernel, gathering an interface's statistics takes longer than everything else.
        let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        request.attributes.push(mask);
        let request = RouteNetlinkMessage::GetLink(request);
        let mut interfaces = self.dump("list the interfaces", request, from_message)?;
        interfaces.sort_by_key(|(link, _)| link.index);
        Ok(interfaces)
    }

    /// Lists the VRFs and their tables.
    pub(crate) fn vrf_tables(&self) -> Result<Vec<(IfIndex, TableId)>, NetlinkError> {
        let mut request = LinkMessage::default();
        let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        request.attributes.push(mask);
        let request = RouteNetlinkMessage::GetLink(request);
        self.dump("list the VRFs", request, vrf_table)
    }
}

impl Netlink {
    /// Index, name and number of receive queues of each interface, and whether an XDP program is
    /// attached.
    pub(crate) fn devices(&self) -> Result<Vec<(IfIndex, String, u32, bool)>, NetlinkError> {
        let mut request = LinkMessage::default();
        let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        request.attributes.push(mask);
        let request = RouteNetlinkMessage::GetLink(request);
        self.dump("list the devices", request, device)
    }
}

fn device(message: &Message<'_>) -> Option<(IfIndex, String, u32, bool)> {
    let (header, attributes) = message.split::<16>()?;
    let index = IfIndex::new(u32_at(header, 4)?)?;
    let value = |kind: u16| {
        { attributes }
            .find(|(this, _)| *this == kind)
            .map(|(_, v)| v)
    };
    let queues = value(libc::IFLA_NUM_RX_QUEUES).and_then(|value| u32_at(value, 0));
    // A byte: 0 none, else how it is attached.
    let xdp = value(libc::IFLA_XDP).and_then(|xdp| of_kind(xdp, XDP_ATTACHED).next());
    let xdp = xdp.and_then(|how| how.first()).is_some_and(|how| *how != 0);
    Some((
        index,
        text(value(libc::IFLA_IFNAME)?),
        queues.unwrap_or(0),
        xdp,
    ))
}

fn vrf_table(message: &Message<'_>) -> Option<(IfIndex, TableId)> {
    let (header, attributes) = message.split::<16>()?;
    let index = IfIndex::new(u32_at(header, 4)?)?;
    let (_, info) = { attributes }.find(|(kind, _)| *kind == libc::IFLA_LINKINFO)?;
    let kind = of_kind(info, libc::IFLA_INFO_KIND).next().map(text)?;
    let data = of_kind(info, libc::IFLA_INFO_DATA).next()?;
    let table = of_kind(data, VRF_TABLE).next()?;
    (kind == "vrf").then_some((index, TableId(u32_at(table, 0)?)))
}

/// The request that puts an interface into a group.
pub(crate) fn set_group(index: IfIndex, group: Group) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index.get();
    message.attributes.push(LinkAttribute::Group(group.0));
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Decodes one message of the dump; `None` for messages of another type.
pub(super) fn from_message(message: &Message<'_>) -> Option<Interface> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let (header, attributes) = message.split::<16>()?;
    let layer = u16_at(header, 2)?;
    let flags = u32_at(header, 8)?;
    let is = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
    let mut link = Link {
        index: IfIndex::new(u32_at(header, 4)?)?,
        name: String::new(),
        altnames: Vec::new(),
        mac: None,
        kind: None,
        up: is(libc::IFF_UP),
        carrier: is(libc::IFF_LOWER_UP),
        loopback: is(libc::IFF_LOOPBACK),
        mtu: 0,
        group: Group(0),
        master: None,
        parent: None,
    };
    let mut parent_is_elsewhere = false;
    let mut tunables = Vec::new();
    for (kind, value) in attributes {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_PROP_LIST => {
                let names = of_kind(value, libc::IFLA_ALT_IFNAME);
                link.altnames.extend(names.map(text));
            }
            libc::IFLA_ADDRESS if layer == libc::ARPHRD_ETHER => {
                link.mac = <[u8; 6]>::try_from(value).ok().map(Mac);
            }
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_GROUP => link.group = Group(u32_at(value, 0)?),
            libc::IFLA_MASTER => link.master = IfIndex::new(u32_at(value, 0)?),
            libc::IFLA_LINK => link.parent = IfIndex::new(u32_at(value, 0)?),
            libc::IFLA_LINK_NETNSID => parent_is_elsewhere = true,
            libc::IFLA_LINKINFO => {
                link.kind = of_kind(value, libc::IFLA_INFO_KIND).next().map(text);
            }
            libc::IFLA_AF_SPEC => {
                let inet = of_kind(value, libc::AF_INET as u16);
                let conf = inet.flat_map(|inet| of_kind(inet, INET_CONF));
                tunables.extend(conf.flat_map(sysctls));
            }
            _ => {}
        }
    }
    if parent_is_elsewhere {
        link.parent = None;
    }
    Some((link, tunables))
}

/// The values of all nested attributes of this kind.
fn of_kind(nested: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    Attributes(nested)
        .filter(move |(this, _)| *this == kind)
        .map(|(_, value)| value)
}

/// The sysctls that eni-steer may change, from the value of `IFLA_INET_CONF`.
fn sysctls(conf: &[u8]) -> impl Iterator<Item = (TunableKind, u32)> {
    TunableKind::SYSCTLS.into_iter().filter_map(|kind| {
        // IPV4_DEVCONF_* of linux/ip.h; the numbers begin with 1.
        let number = match kind {
            TunableKind::Group => return None,
            TunableKind::RpFilter => 8,
            TunableKind::ArpAnnounce => 18,
            TunableKind::ArpIgnore => 19,
        };
        Some((kind, u32_at(conf, (number - 1) * 4)?))
    })
}
