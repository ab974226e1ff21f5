//! Small conversions the object files share.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{AddressFamily, route::RouteAddress};

use crate::model::Family;

pub(super) fn family_to_wire(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// `None` for families that are not ours to look at (MPLS, multicast routing).
pub(super) fn family_from_wire(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

pub(super) fn address_to_wire(address: IpAddr) -> RouteAddress {
    RouteAddress::from(address)
}

pub(super) fn address_from_wire(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

/// A prefix with its host bits cleared, as the kernel keeps them.
pub(super) fn prefix(address: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(address, length).ok().map(|net| net.trunc())
}
