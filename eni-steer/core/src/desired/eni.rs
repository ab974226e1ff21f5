//! A managed ENI, and which hosts are its neighbours.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        Address, Family, Host, IfIndex, Mac, Mode, RouteKind, TableId, covers, host_prefix,
        link_local,
    },
    ownership::Ownership,
};

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
    /// Addresses configured on it, with the lengths of their subnets.
    pub addresses: Vec<Address>,
    /// The prefixes whose hosts are its neighbours.
    #[serde(default)]
    pub on_link: BTreeSet<IpNet>,
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
    /// The prefixes of a family whose hosts are its neighbours.
    pub(crate) fn on_link(&self, family: Family) -> BTreeSet<IpNet> {
        let of_family = |net: &&IpNet| Family::of_net(**net) == family;
        self.on_link.iter().filter(of_family).copied().collect()
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
                .on_link
                .iter()
                .any(|net| covers(*net, host_prefix(address)))
    }
}

/// The prefixes of a family whose hosts are neighbours on an interface: those that the main table
/// reaches by it without a gateway. An address does not tell. A router can advertise a prefix and
/// say that its hosts are not on the link, NetworkManager adds the route of a prefix itself, the
/// prefix of a point-to-point address is the peer's, and an address of /32 can have a gateway that
/// only a route puts on the link.
///
/// While the main table has no route by the interface at all, because it is down or was down a
/// moment ago, its addresses have to tell: the prefixes for which the kernel will add a route.
pub(super) fn on_link(
    host: &Host,
    ours: &Ownership,
    index: IfIndex,
    family: Family,
) -> BTreeSet<IpNet> {
    let is_up = host.links.get(&index).is_some_and(|link| link.up);
    let mut is_in_main = false;
    let mut nets = BTreeSet::new();
    for route in &host.routes {
        let Some(hop) = route.hop_by(index) else {
            continue;
        };
        let is_for_all = route.from.is_none() && route.tos == 0;
        if route.table != TableId::MAIN
            || route.family() != family
            || route.is_default()
            || ours.route(route)
        {
            continue;
        }
        is_in_main = true;
        let net = route.destination;
        if hop.gateway.is_none()
            && !hop.encapsulates()
            && route.kind == RouteKind::Unicast
            && is_for_all
            && !(net.addr().is_ipv6() && link_local(net.addr()))
        {
            nets.insert(net);
        }
    }
    if is_in_main && is_up {
        return nets;
    }
    let with_route = |address: &&Address| !address.no_prefix_route;
    subnets(host.usable_addresses(index).filter(with_route), family)
}

/// The subnets of addresses of a family: that of 172.16.20.177/24 is 172.16.20.0/24, and that of a
/// /32 says nothing.
pub(super) fn subnets<'a>(
    addresses: impl IntoIterator<Item = &'a Address>,
    family: Family,
) -> BTreeSet<IpNet> {
    let mut nets: Vec<IpNet> = addresses
        .into_iter()
        .filter(|address| {
            let net = address.net;
            address.family() == family && net.prefix_len() < net.max_prefix_len()
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
    let mut each = nets.iter().enumerate();
    each.any(|(i, one)| nets[i + 1..].iter().any(|other| overlap(one, other)))
}

/// Whether prefixes have an address in common with others.
pub(super) fn overlap<'a>(
    some: &BTreeSet<IpNet>,
    others: impl IntoIterator<Item = &'a IpNet>,
) -> bool {
    let mut others = others.into_iter();
    others.any(|b| some.iter().any(|a| covers(*a, *b) || covers(*b, *a)))
}
