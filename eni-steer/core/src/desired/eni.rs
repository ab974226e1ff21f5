//! A managed ENI, and what its own addresses say about its neighbours.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Address, Family, IfIndex, Mac, Mode, TableId, covers, host_prefix, link_local};

/// A managed ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// Interface index.
    pub index: IfIndex,
    /// Name of the interface.
    pub name: String,
    /// MAC address of the interface.
    pub mac: Mac,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether the interface is administratively up.
    pub up: bool,
    /// Whether it is the primary ENI of a family: the main table's best default route leaves by it.
    pub primary: bool,
    /// How packets of its IPv4 addresses find their way.
    pub ipv4: Routing,
    /// How packets of its IPv6 addresses find their way.
    pub ipv6: Routing,
    /// Number of its own table.
    pub table: TableId,
    /// What the egress program does with a packet that another ENI's address sent through it.
    pub mode: Mode,
    /// Addresses configured on it, with their on-link prefixes.
    pub addresses: Vec<Address>,
    /// Addresses (as /32 or /128 prefixes) and delegated prefixes that it owns: those configured on
    /// it and those that the policy adds.
    pub owned: BTreeSet<IpNet>,
    /// Its gateways, at most one of each family.
    pub gateways: Vec<Gateway>,
    /// Metric of the default route through it that eni-steer adds to the main table; `None`:
    /// eni-steer adds none.
    pub default_metric: Option<u32>,
}

/// How packets of an ENI's own addresses find their way, in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// Whether the ENI is the primary of this family.
    pub primary: bool,
    /// What leads the packets.
    pub by: RoutedBy,
    /// Why, where it is not what an ENI of its kind usually has; part of a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What leads packets of an ENI's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutedBy {
    /// The main table. The primary usually has nothing else.
    Main,
    /// The ENI's own table for its subnets, and the main table for everything else.
    OnLink,
    /// The ENI's own table.
    Table,
}

/// A gateway, and how eni-steer knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Address of the gateway.
    pub address: IpAddr,
    /// How eni-steer knows it.
    pub source: GatewaySource,
}

/// How eni-steer knows a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewaySource {
    /// A flag or the configuration names it.
    Policy,
    /// A default route through the ENI has it.
    DefaultRoute,
    /// The DHCP lease in this file has it.
    Lease(String),
    /// The main table reaches the ENI's own subnet, this prefix, through it.
    SubnetRoute(IpNet),
    /// The ENI with this name uses it in the same on-link prefix.
    SameSubnet(String),
    /// An earlier `apply` recorded it in eni-steer's route or in the programs' maps, and the place
    /// where that `apply` found it no longer exists.
    Earlier,
}

impl Eni {
    /// The prefixes of a family that its addresses put on the link.
    pub(crate) fn on_link(&self, family: Family) -> BTreeSet<IpNet> {
        on_link(&self.addresses, family)
    }

    /// How packets of its addresses of a family find their way.
    pub fn routing(&self, family: Family) -> &Routing {
        match family {
            Family::V4 => &self.ipv4,
            Family::V6 => &self.ipv6,
        }
    }

    /// The same, to change it.
    pub(super) fn routing_mut(&mut self, family: Family) -> &mut Routing {
        match family {
            Family::V4 => &mut self.ipv4,
            Family::V6 => &mut self.ipv6,
        }
    }

    /// Whether its own table leads all packets of its addresses of a family.
    pub fn has_table(&self, family: Family) -> bool {
        self.routing(family).by == RoutedBy::Table
    }

    /// Its gateway of a family.
    pub(crate) fn gateway(&self, family: Family) -> Option<&Gateway> {
        self.gateways
            .iter()
            .find(|gateway| Family::of(gateway.address) == family)
    }

    /// Whether it owns an address or prefix of a family.
    pub(super) fn has(&self, family: Family) -> bool {
        self.owned.iter().any(|net| Family::of_net(*net) == family)
    }

    /// Whether an address is a neighbour on the ENI: link-local, or in an on-link prefix.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        (address.is_ipv6() && link_local(address))
            || self
                .on_link(Family::of(address))
                .iter()
                .any(|net| covers(*net, host_prefix(address)))
    }
}

/// The prefixes of a family that addresses put on the link: 172.16.20.177/24 puts 172.16.20.0/24
/// there, a /32 nothing.
pub(super) fn on_link<'a>(
    addresses: impl IntoIterator<Item = &'a Address>,
    family: Family,
) -> BTreeSet<IpNet> {
    let mut nets: Vec<IpNet> = addresses
        .into_iter()
        .filter(|address| {
            let net = address.net;
            address.family() == family
                && !address.no_prefix_route
                && net.prefix_len() < net.max_prefix_len()
        })
        .map(|address| address.net.trunc())
        .collect();
    // Cheap: most addresses of an interface are in the same prefix.
    nets.dedup();
    nets.into_iter().collect()
}

/// Whether two ENIs have overlapping IPv4 on-link prefixes.
pub(super) fn share_subnet(enis: &[Eni]) -> bool {
    let nets: Vec<BTreeSet<IpNet>> = enis.iter().map(|eni| eni.on_link(Family::V4)).collect();
    nets.iter().enumerate().any(|(i, one)| {
        let mut others = nets[i + 1..].iter().flatten();
        others.any(|b| one.iter().any(|a| covers(*a, *b) || covers(*b, *a)))
    })
}
