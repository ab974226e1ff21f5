//! Reads the addresses of all interfaces (`RTM_GETADDR`).

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{RouteNetlinkMessage, address::AddressMessage};

use super::{
    connection::Netlink,
    errno::NetlinkError,
    wire::{self, Message, u32_at},
};
use eni_steer_core::model::{Address, IfIndex};

impl Netlink {
    /// Lists all IPv4 and IPv6 addresses, sorted by interface and family, else in the kernel's
    /// order.
    ///
    /// # Errors
    /// The kernel refused the dump, or it could not be read completely.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses = self.dump("list the addresses", request, from_message)?;
        addresses.sort_by_key(|address| (address.index, address.family()));
        Ok(addresses)
    }
}

/// Whether an address can be used to talk to hosts beyond the link. For IPv6, the kernel derives the
/// scope from the address. For IPv4, whoever adds the address chooses the scope, and it only decides
/// which source the kernel prefers: keepalived gives its addresses the scope `link` so that no
/// connection of this host starts from them, but requests to them arrive all the same.
fn is_global(address: IpAddr, scope: u8) -> bool {
    match address {
        IpAddr::V4(v4) => scope < libc::RT_SCOPE_HOST && !v4.is_link_local(),
        IpAddr::V6(_) => scope == libc::RT_SCOPE_UNIVERSE,
    }
}

/// Decodes one message of the dump; `None` for other messages and for families other than IP.
pub(super) fn from_message(message: &Message<'_>) -> Option<Address> {
    if message.kind != libc::RTM_NEWADDR {
        return None;
    }
    let (header, attributes) = message.split::<8>()?;
    let [family, length, flags, scope, ..] = *header;
    let family = wire::family_of_byte(family)?;
    // The header holds the first eight flags; the attribute, if present, holds all of them.
    let mut flags = u32::from(flags);
    let (mut local, mut peer) = (None::<IpAddr>, None::<IpAddr>);
    for (kind, value) in attributes {
        match kind {
            libc::IFA_LOCAL => local = wire::address(family, value),
            libc::IFA_ADDRESS => peer = wire::address(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point interface IFA_ADDRESS is the peer's address and IFA_LOCAL this host's.
    let net = IpNet::new(local.or(peer)?, length).ok()?;
    let is = |flag: u32| flags & flag != 0;
    Some(Address {
        index: IfIndex::new(u32_at(header, 4)?)?,
        net,
        global: is_global(net.addr(), scope),
        tentative: is(libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) && !is(libc::IFA_F_OPTIMISTIC),
        temporary: net.addr().is_ipv6() && is(libc::IFA_F_SECONDARY),
        no_prefix_route: is(libc::IFA_F_NOPREFIXROUTE),
    })
}
