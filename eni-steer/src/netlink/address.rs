//! Addresses on the wire (`RTM_GETADDR`).

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
};

use super::{Netlink, NetlinkError};
use crate::model::{Address, IfIndex};

impl Netlink {
    /// All addresses of both families, by interface and in the kernel's order.
    pub async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses: Vec<Address> = self
            .dump("list the addresses", request)
            .await?
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => from_message(message),
                _ => None,
            })
            .collect();
        addresses.sort_by_key(|address| (address.index, address.family()));
        Ok(addresses)
    }
}

pub(super) fn from_message(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let (mut local, mut peer) = (None::<IpAddr>, None::<IpAddr>);
    let mut flags = AddressFlags::from_bits_retain(u32::from(header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            // The header has eight bits for flags; the attribute has all of them.
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // On a point-to-point interface IFA_ADDRESS is the peer and IFA_LOCAL is ours.
    let net = IpNet::new(local.or(peer)?, header.prefix_len).ok()?;
    Some(Address {
        index: IfIndex::new(header.index)?,
        net,
        global: header.scope == AddressScope::Universe,
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
            && !flags.contains(AddressFlags::Optimistic),
        temporary: net.addr().is_ipv6() && flags.contains(AddressFlags::Secondary),
        no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
    })
}
