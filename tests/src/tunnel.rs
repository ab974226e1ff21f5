//! A VPN interface on the host, with its peer behind it. It is one end of a cable; for routing,
//! the only thing tested here, that is the same as a WireGuard interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Lab, NetNs, ip, write_sysctl};

const PEER_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 2);

/// The VPN. Dropping it removes it.
#[derive(Debug)]
pub struct Tunnel {
    /// The other end. It sends everything through the tunnel.
    pub peer: NetNs,
}

impl Tunnel {
    /// Gives the host an interface with this name and the addresses 10.99.0.1/24 and
    /// fd00:99::1/64. The peer behind it has the address .2.
    #[track_caller]
    pub fn open(lab: &Lab, ifname: &str) -> Self {
        let peer = NetNs::new("vpn");
        let path = peer.path();
        ip(
            &lab.host,
            &format!("link add {ifname} type veth peer name tun0 netns {path}"),
        );
        for (ns, device, last) in [(&lab.host, ifname, 1), (&peer, "tun0", 2)] {
            // The first packet must not wait until the link-local address is known to be unique.
            write_sysctl(ns, &format!("net.ipv6.conf.{device}.accept_dad"), 0);
            ip(ns, &format!("link set {device} up"));
            ip(ns, &format!("address add 10.99.0.{last}/24 dev {device}"));
            ip(
                ns,
                &format!("address add fd00:99::{last}/64 dev {device} nodad"),
            );
        }
        ip(&peer, "route add 0.0.0.0/0 via 10.99.0.1");
        ip(&peer, "route add ::/0 via fd00:99::1");
        Self { peer }
    }

    /// Returns the peer's address of the same family.
    pub fn peer_address(&self, family_of: IpAddr) -> IpAddr {
        match family_of {
            IpAddr::V4(_) => PEER_V4.into(),
            IpAddr::V6(_) => PEER_V6.into(),
        }
    }
}
