//! Sends IPv6 router advertisements.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use crate::NetNs;

/// All nodes of a link (RFC 4291, 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// ICMPv6 type of a router advertisement (RFC 4861, 4.2).
const ROUTER_ADVERTISEMENT: u8 = 134;

/// Sends one router advertisement out of a device, from the device's link-local address. It
/// announces a default router for `lifetime`, at most 18 hours, and no prefixes. A lifetime of
/// zero withdraws the default router.
#[track_caller]
pub fn advertise(ns: &NetNs, ifname: &str, lifetime: Duration) {
    let lifetime = u16::try_from(lifetime.as_secs()).expect("at most 18 hours");
    let mut message = [0u8; 16];
    // The kernel fills in the checksum, in bytes 2 and 3.
    message[0] = ROUTER_ADVERTISEMENT;
    message[4] = 64;
    message[6..8].copy_from_slice(&lifetime.to_be_bytes());
    let sent = ns.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(ifname.as_bytes()))?;
        // Receivers accept only a hop limit of 255, which proves that the sender is on the link
        // (RFC 4861, 6.1.2).
        socket.set_multicast_hops_v6(255)?;
        let scope = if_nametoindex(ifname)?;
        socket.send_to(&message, &SocketAddrV6::new(ALL_NODES, 0, 0, scope).into())
    });
    if let Err(e) = sent {
        panic!(
            "can not send a router advertisement by {ifname} in {}: {e}",
            ns.name()
        );
    }
}
