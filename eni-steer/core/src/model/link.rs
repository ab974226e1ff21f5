//! Interfaces and the addresses on them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, Group, IfIndex, Mac};

/// An interface, as `ip -d link` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Interface index; unique in a network namespace.
    pub index: IfIndex,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Alternative names (`ip link property add`).
    pub altnames: Vec<String>,
    /// Ethernet address; `None`: not an Ethernet interface, or the loopback.
    pub mac: Option<Mac>,
    /// `IFLA_INFO_KIND`: "veth", "bridge", "vlan" ...; `None` for a physical or
    /// paravirtual NIC.
    pub kind: Option<String>,
    /// `IFF_UP`: the administrator has set the interface up.
    pub up: bool,
    /// `IFF_LOWER_UP`: the interface has a carrier.
    pub carrier: bool,
    /// `IFF_LOOPBACK`: the interface is a loopback.
    pub loopback: bool,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Interface group (`IFLA_GROUP`).
    pub group: Group,
    /// Index of the bridge, bond or VRF that the interface belongs to.
    pub master: Option<IfIndex>,
    /// Index of the interface that this one is made on (`IFLA_LINK`), such as the parent of a VLAN
    /// or a macvlan; `None` if it is in another network namespace.
    #[serde(default)]
    pub parent: Option<IfIndex>,
}

impl Link {
    /// Whether the interface carries Ethernet frames and can be an ENI: it has a MAC address and
    /// is not the loopback.
    pub fn is_ethernet(&self) -> bool {
        self.mac.is_some() && !self.loopback
    }

    /// Whether the kind of the interface can be connected to a network outside of this host by
    /// itself: not a bridge, a tunnel, or a dummy.
    pub(crate) fn leads_out(&self) -> bool {
        let kinds_that_do = ["veth", "vlan", "bond", "team", "macvlan", "ipvlan"];
        let kind = self.kind.as_deref();
        kind.is_none_or(|kind| kinds_that_do.contains(&kind))
    }
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Interface that has the address.
    pub index: IfIndex,
    /// The address with the length of its on-link prefix.
    pub net: IpNet,
    /// The address can be used to talk to any host. For IPv6: `RT_SCOPE_UNIVERSE`. For IPv4: any
    /// scope but `host`, and not link-local.
    pub global: bool,
    /// `IFA_F_TENTATIVE` or `IFA_F_DADFAILED`: the address cannot be used (yet).
    pub tentative: bool,
    /// `IFA_F_TEMPORARY`: an IPv6 privacy address, which the kernel replaces from time to time.
    pub temporary: bool,
    /// `IFA_F_NOPREFIXROUTE`: the kernel made no route for the prefix, so it is not on-link.
    pub no_prefix_route: bool,
}

impl Address {
    /// The address without its prefix length.
    pub fn ip(&self) -> IpAddr {
        self.net.addr()
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        Family::of_net(self.net)
    }
}
