//! Nexthop objects (`ip nexthop`): routes can point to one instead of naming next hops. With
//! `net.ipv4.nexthop_compat_mode=0` the kernel then shows only the object's number with a route, so
//! the object has to be read as well. The wire library does not know these messages.

use std::{collections::BTreeMap, future::poll_fn, io};

use rtnetlink::sys::{AsyncSocket, TokioSocket, protocols::NETLINK_ROUTE};

use super::{
    connection::Netlink,
    errno::NetlinkError,
    watch::{Event, Notification},
    wire::{self, Message, u32_at},
};
use eni_steer_core::model::{Family, Hop, IfIndex, Route, RouteKind, rta};

/// `RTM_NEWNEXTHOP`
pub(super) const NEW: u16 = 104;
/// `RTM_GETNEXTHOP`
const GET: u16 = 106;
/// `RTNLGRP_NEXTHOP`
const GROUP: u32 = 32;
/// Length of `struct nhmsg`, which precedes the attributes.
const HEADER: usize = 8;
/// `RTNH_F_ONLINK`
const ONLINK: u32 = 4;
/// Room for a notification; what is longer is cut off.
const LONGEST: usize = 4096;
/// The largest weight that a route itself can hold (`rtnh_hops`).
const MAX_WEIGHT: u32 = 256;

/// Numbers of attributes (`NHA_*`).
mod attribute {
    pub const ID: u16 = 1;
    pub const GROUP: u16 = 2;
    pub const OIF: u16 = 5;
    pub const GATEWAY: u16 = 6;
    pub const ENCAP_TYPE: u16 = 7;
    pub const ENCAP: u16 = 8;
}

/// A nexthop object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nexthop {
    id: u32,
    /// Its next hop; `None`: it is a group, or it refuses packets.
    hop: Option<Hop>,
    /// The members of a group, with their weights.
    members: Vec<(u32, u32)>,
}

impl Netlink {
    /// Gives routes that point to nexthop objects the next hops of these objects. The kernel is
    /// asked for the objects only if it did not show the next hops with the routes.
    pub(super) fn resolve(&self, routes: &mut [Route]) -> Result<(), NetlinkError> {
        if !routes.iter().any(is_unresolved) {
            return Ok(());
        }
        let header = [0; HEADER];
        let objects = self.dump_raw("list the nexthop objects", GET, &header, from_message)?;
        let objects: BTreeMap<u32, Nexthop> = objects
            .into_iter()
            .map(|object| (object.id, object))
            .collect();
        for route in routes.iter_mut().filter(|route| is_unresolved(route)) {
            if let Some(id) = route.nexthop_object {
                route.hops = hops(&objects, id);
            }
        }
        Ok(())
    }
}

/// Whether a route should have next hops and has none.
fn is_unresolved(route: &Route) -> bool {
    route.nexthop_object.is_some()
        && route.hops.is_empty()
        && !route.kind.refuses()
        && route.kind != RouteKind::Throw
}

/// The next hops of an object: its own, or those of a group's members.
fn hops(objects: &BTreeMap<u32, Nexthop>, id: u32) -> Vec<Hop> {
    let Some(object) = objects.get(&id) else {
        return Vec::new();
    };
    if let Some(hop) = &object.hop {
        return vec![hop.clone()];
    }
    let largest = object.members.iter().map(|(_, weight)| *weight).max();
    let largest = largest.unwrap_or(1).max(MAX_WEIGHT);
    let members = object.members.iter().filter_map(|(id, weight)| {
        let hop = objects.get(id)?.hop.clone()?;
        let weight = (weight * MAX_WEIGHT / largest).max(1);
        Some(Hop {
            weight: u16::try_from(weight).unwrap_or(u16::MAX),
            ..hop
        })
    });
    let mut hops: Vec<Hop> = members.collect();
    if let [only] = &mut hops[..] {
        only.weight = 1;
    }
    hops
}

/// Decodes one message of the dump.
pub(super) fn from_message(message: &Message<'_>) -> Option<Nexthop> {
    if message.kind != NEW {
        return None;
    }
    let (header, attributes) = message.split::<HEADER>()?;
    let family = wire::family_of_byte(header[0]);
    let (mut id, mut out, mut gateway, mut members) = (None, None, None, Vec::new());
    let mut encapsulation = eni_steer_core::model::Attributes::default();
    for (kind, value) in attributes {
        match kind {
            attribute::ID => id = u32_at(value, 0),
            attribute::GROUP => members = group(value),
            attribute::OIF => out = IfIndex::new(u32_at(value, 0)?),
            attribute::GATEWAY => {
                let family = match value.len() {
                    4 => Some(Family::V4),
                    16 => Some(Family::V6),
                    _ => family,
                };
                gateway = wire::address(family?, value);
            }
            attribute::ENCAP_TYPE => encapsulation.set(rta::ENCAP_TYPE, value),
            attribute::ENCAP => encapsulation.set(rta::ENCAP, value),
            _ => {}
        }
    }
    let flags = u32_at(header, 4)?;
    Some(Nexthop {
        id: id?,
        hop: out.map(|out| Hop {
            onlink: flags & ONLINK != 0,
            attributes: encapsulation,
            ..Hop::new(out, gateway)
        }),
        members,
    })
}

/// Decodes the members of a group (`struct nexthop_grp`). Weights count from 0; their upper half is
/// known since Linux 6.12, and zero before.
fn group(value: &[u8]) -> Vec<(u32, u32)> {
    let members = value.chunks_exact(8).filter_map(|member| {
        let weight = u16::from_le_bytes(*member.get(4..)?.first_chunk()?);
        Some((u32_at(member, 0)?, u32::from(weight) + 1))
    });
    members.collect()
}

/// A subscription to changes of nexthop objects. Where routes do not show their next hops, the
/// kernel reports a replaced object and not the routes that point to it.
pub(super) struct NexthopWatch {
    socket: TokioSocket,
}

impl NexthopWatch {
    /// Subscribes; `None`: this kernel has no nexthop objects (before 5.3).
    pub fn open() -> io::Result<Option<Self>> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.bind_auto()?;
        match inner.add_membership(GROUP) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(Self { socket }))
    }

    /// Waits for the next notification.
    pub async fn next(&self) -> io::Result<Notification> {
        // The header is enough to know that something changed, and by whom.
        let mut message = Vec::with_capacity(LONGEST);
        let received = poll_fn(|context| self.socket.poll_recv_from(context, &mut message)).await;
        let event = match received {
            Ok(_kernel) => Event::Nexthop,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Event::Overrun,
            Err(error) => return Err(error),
        };
        let port = u32_at(&message, 12).unwrap_or(0);
        Ok(Notification { event, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eni_steer_core::model::{Protocol, TableId, any};

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn read(family: u8, flags: u32, attributes: &[Vec<u8>]) -> Option<Nexthop> {
        let mut payload = vec![family, 0, 0, 0];
        payload.extend(flags.to_ne_bytes());
        payload.extend(attributes.concat());
        from_message(&Message {
            kind: NEW,
            flags: 0,
            sequence: 0,
            payload: &payload,
        })
    }

    fn single(id: u32, out: u32, last: u8) -> Nexthop {
        let attributes = [
            attribute(attribute::ID, &id.to_ne_bytes()),
            attribute(attribute::OIF, &out.to_ne_bytes()),
            attribute(attribute::GATEWAY, &[172, 16, 20, last]),
        ];
        read(2, ONLINK, &attributes).expect("an object")
    }

    #[test]
    fn a_route_has_the_next_hops_of_its_object_and_a_group_those_of_its_members() {
        let members = [
            [7u32.to_ne_bytes(), [2, 0, 0, 0]],
            [9u32.to_ne_bytes(), [0, 4, 0, 0]],
        ];
        let group = [
            attribute(attribute::ID, &20u32.to_ne_bytes()),
            attribute(attribute::GROUP, members.as_flattened().as_flattened()),
        ];
        let group = read(0, 0, &group).expect("a group");
        assert_eq!(group.members, [(7, 3), (9, 1025)]);
        let objects = [single(7, 3, 253), single(9, 4, 1), group];
        let objects = objects
            .into_iter()
            .map(|object| (object.id, object))
            .collect();
        let one = hops(&objects, 7);
        assert_eq!(one[0].gateway, Some([172, 16, 20, 253].into()));
        assert!(one[0].onlink && one.len() == 1);
        let all = hops(&objects, 20);
        let weights: Vec<_> = all.iter().map(|hop| (hop.out.get(), hop.weight)).collect();
        // A route cannot hold weights above 256, so they are scaled.
        assert_eq!(weights, [(3, 1), (4, 256)]);
        assert_eq!(hops(&objects, 99), []);
    }

    #[test]
    fn only_routes_that_lack_next_hops_are_looked_up() {
        let mut route = Route::new(TableId::MAIN, any(Family::V4), Protocol(3));
        assert!(!is_unresolved(&route));
        route.nexthop_object = Some(7);
        assert!(is_unresolved(&route));
        route.hops = vec![Hop::new(IfIndex::new(3).expect("not zero"), None)];
        assert!(!is_unresolved(&route));
    }
}
