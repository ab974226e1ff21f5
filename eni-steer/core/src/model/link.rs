//! Interfaces and the addresses on them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, Group, IfIndex, Mac};

/// An interface, as `ip -d link` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Interface index.
    pub index: IfIndex,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Alternative names (`ip link property add`).
    pub altnames: Vec<String>,
    /// Ethernet address; `None` if it is no Ethernet interface or the loopback.
    pub mac: Option<Mac>,
    /// `IFLA_INFO_KIND`: "veth", "bridge", "vlan" ...; `None` for a physical or
    /// paravirtual NIC.
    pub kind: Option<String>,
    /// `IFF_UP`: the administrator wants it up.
    pub up: bool,
    /// `IFF_LOWER_UP`: there is a carrier.
    pub carrier: bool,
    /// `IFF_LOOPBACK`
    pub loopback: bool,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Interface group.
    pub group: Group,
    /// Index of the bridge, bond or VRF it is enslaved to.
    pub master: Option<IfIndex>,
}

impl Link {
    /// Whether the interface carries Ethernet frames and can be an ENI: it has a MAC address and
    /// is not the loopback.
    pub fn is_ethernet(&self) -> bool {
        self.mac.is_some() && !self.loopback
    }
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The interface.
    pub index: IfIndex,
    /// The address with the length of its on-link prefix.
    pub net: IpNet,
    /// `RT_SCOPE_UNIVERSE`: may be used to talk to the world.
    pub global: bool,
    /// `IFA_F_TENTATIVE` or `IFA_F_DADFAILED`: not usable (yet).
    pub tentative: bool,
    /// `IFA_F_TEMPORARY`: an IPv6 privacy address, replaced now and then.
    pub temporary: bool,
    /// `IFA_F_NOPREFIXROUTE`: the prefix is not on-link.
    pub no_prefix_route: bool,
}

impl Address {
    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.net.addr()
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of_net(self.net)
    }
}
