//! Why a host does not allow a policy, or a part of it. Each error names the object that it is
//! about, and its hint says what to do. An error that is about one ENI does not keep eni-steer from
//! serving the others; eni-steer returns the rest before it changes anything.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    model::{Family, Group, Priority, TableId},
    ownership::MIN_BAND,
};

/// Why the host does not allow the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "error")]
pub enum PolicyError {
    /// The policy names no ENI, and eni-steer discovered none.
    #[error(
        "no ENI found: no physical Ethernet interface is up and has a global address and a gateway"
    )]
    NothingFound,
    /// The policy names an interface that does not exist.
    #[error("this host has no interface {name}")]
    UnknownInterface {
        /// Name or MAC address in the policy.
        name: String,
        /// Names of the host's interfaces.
        known: Vec<String>,
    },
    /// The policy names one interface twice.
    #[error("the policy names {eni} twice")]
    SelectedTwice {
        /// Name of the interface.
        eni: String,
    },
    /// The interface is a loopback, a tunnel, InfiniBand ...
    #[error("{eni} is not an Ethernet interface")]
    NotEthernet {
        /// Name of the interface.
        eni: String,
    },
    /// The interface is administratively down.
    #[error("{eni} is down")]
    Down {
        /// Name of the interface.
        eni: String,
    },
    /// The interface has no address that other hosts can reach.
    #[error("{eni} has no global address")]
    NoAddress {
        /// Name of the interface.
        eni: String,
    },
    /// eni-steer knows no gateway for a family in which the ENI has addresses.
    #[error(
        "eni-steer knows no {0} gateway for {eni}, so packets of its {0} addresses follow the main table",
        ip(.family)
    )]
    NoGateway {
        /// Name of the interface.
        eni: String,
        /// Family that lacks a gateway.
        family: Family,
    },
    /// The gateway is an address of the ENI itself.
    #[error("the gateway {gateway} of {eni} is an address of {eni} itself")]
    GatewayIsOwn {
        /// Name of the interface.
        eni: String,
        /// Address of the gateway.
        gateway: IpAddr,
    },
    /// The interface is a port of a bridge or bond, or belongs to a VRF.
    #[error("{eni} belongs to the bridge, bond or VRF {master}")]
    Enslaved {
        /// Name of the interface.
        eni: String,
        /// Name of the bridge, bond or VRF.
        master: String,
    },
    /// The interface is a macvlan or ipvlan on another managed ENI.
    #[error(
        "{eni} is made on {parent}, which eni-steer manages too: each would redirect the other's packets"
    )]
    Stacked {
        /// Name of the interface.
        eni: String,
        /// Name of the interface below it.
        parent: String,
    },
    /// The interface has the MAC address of another managed ENI.
    #[error("{eni} has the MAC address of {other}, so it is the same ENI")]
    SameMac {
        /// Name of the interface.
        eni: String,
        /// Name of the managed ENI.
        other: String,
    },
    /// The main table's default route leaves by an Ethernet interface that is not managed. No
    /// program there counts or steers what leaves by it.
    #[error(
        "{link} carries the main table's {} default route, but eni-steer does not manage it: packets of {eni} that leave by {link} are neither counted nor steered",
        ip(.family)
    )]
    DefaultUnmanaged {
        /// An ENI with source rules.
        eni: String,
        /// Name of the interface that carries the default route.
        link: String,
        /// Family of the default route.
        family: Family,
    },
    /// The policy gives one table to two ENIs.
    #[error("the policy gives table {table} to another ENI and to {eni}")]
    TableTwice {
        /// The second of the two ENIs.
        eni: String,
        /// Number of the table.
        table: TableId,
    },
    /// The policy gives the ENI one of the kernel's own tables.
    #[error("table {} of {eni} is one of the kernel's own tables", .table.0)]
    TableReserved {
        /// Name of the ENI.
        eni: String,
        /// Number of the table.
        table: TableId,
    },
    /// The table of an ENI or of balance has a route of another program.
    #[error("another program uses table {table} of {eni}: the table has the route {route}")]
    TableTaken {
        /// Name of the ENI.
        eni: String,
        /// Number of the table.
        table: TableId,
        /// A route of the other program, as arguments of `ip route`.
        route: String,
        /// Commands that remove that program's routes and rules.
        commands: Vec<String>,
    },
    /// A rule of another program has a priority in eni-steer's band.
    #[error(
        "another program's rule has a priority between {first} and {last}, which eni-steer needs for its own rules: {rule}"
    )]
    BandTaken {
        /// Lowest priority of the band.
        first: Priority,
        /// Highest priority of the band.
        last: Priority,
        /// The rule, as a command of `ip`.
        rule: String,
    },
    /// An access rule or a balance weight names an interface that is not managed.
    #[error("{what} names {eni}, which eni-steer does not manage")]
    NotAnEni {
        /// `rule` and its number, or `balance`.
        what: String,
        /// Name or MAC address in the policy.
        eni: String,
    },
    /// The default route for an ENI in the main table would not come after the existing one.
    #[error(
        "default-metric {metric} of {eni} is not greater than the metric of the main table's default route: {route}"
    )]
    MetricNotBehind {
        /// Name of the ENI.
        eni: String,
        /// Metric of eni-steer's route.
        metric: u32,
        /// The existing default route, as arguments of `ip route`.
        route: String,
    },
    /// The policy has balance, but no source rules for the primary ENI.
    #[error("balance needs source rules for the primary ENI")]
    BalanceNeedsFull,
    /// The band is too small, or not between the rules of tables local and main.
    #[error("the priorities {first} to {last} cannot hold eni-steer's rules")]
    BandUnfit {
        /// Lowest priority of the band.
        first: Priority,
        /// Highest priority of the band.
        last: Priority,
    },
    /// The ENI is in an interface group that another program or a person chose.
    #[error("{eni} is in interface group {group} already, and eni-steer does not move it")]
    GroupTaken {
        /// Name of the ENI.
        eni: String,
        /// Group of the ENI.
        group: Group,
    },
    /// An interface that is not managed is in eni-steer's group.
    #[error("{link} is in interface group {group}, which only managed ENIs may be in")]
    GroupShared {
        /// Name of the interface.
        link: String,
        /// eni-steer's group.
        group: Group,
    },
}

fn ip(family: &Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

impl PolicyError {
    /// Name of the interface that the policy selects and that the error is about.
    pub(super) fn eni(&self) -> Option<&str> {
        match self {
            Self::SelectedTwice { eni }
            | Self::NotEthernet { eni }
            | Self::TableTwice { eni, .. } => Some(eni),
            _ => None,
        }
    }

    /// The interface, or else the part of the policy, that the error is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Self::UnknownInterface { name, .. } => name.clone(),
            Self::SelectedTwice { eni }
            | Self::NotEthernet { eni }
            | Self::Down { eni }
            | Self::NoAddress { eni }
            | Self::NoGateway { eni, .. }
            | Self::GatewayIsOwn { eni, .. }
            | Self::Enslaved { eni, .. }
            | Self::Stacked { eni, .. }
            | Self::SameMac { eni, .. }
            | Self::TableTwice { eni, .. }
            | Self::TableReserved { eni, .. }
            | Self::TableTaken { eni, .. }
            | Self::MetricNotBehind { eni, .. }
            | Self::GroupTaken { eni, .. } => eni.clone(),
            Self::DefaultUnmanaged { link, .. } | Self::GroupShared { link, .. } => link.clone(),
            Self::NotAnEni { what, .. } => what.clone(),
            Self::NothingFound
            | Self::BandTaken { .. }
            | Self::BalanceNeedsFull
            | Self::BandUnfit { .. } => "policy".to_owned(),
        }
    }

    /// What the reader can do: a command or a sentence, on one line.
    pub fn hint(&self) -> String {
        match self {
            Self::NothingFound => {
                "name the ENIs: --eni eth0 --eni eth1 ('ip -br address' lists them)".to_owned()
            }
            Self::UnknownInterface { known, .. } => {
                format!("this host has the interfaces {}", known.join(", "))
            }
            Self::SelectedTwice { eni } => format!("name {eni} once, by name or by MAC address"),
            Self::NotEthernet { .. } => "an ENI is an Ethernet interface; name another interface".to_owned(),
            Self::Down { eni } => format!("ip link set dev {eni} up"),
            Self::NoAddress { eni } => format!(
                "look at 'ip address show dev {eni}': tentative, link-local and host-scope addresses do not count"
            ),
            Self::NoGateway { eni, family } => format!(
                "name it: --gateway {eni}=ADDRESS, or {} = \"ADDRESS\" under [[eni]] name = \"{eni}\" in the configuration; eni-steer looked for one in default routes through {eni}, in DHCP leases and on other ENIs of the same subnet",
                match family {
                    Family::V4 => "gateway",
                    Family::V6 => "gateway6",
                }
            ),
            Self::GatewayIsOwn { eni, .. } => format!(
                "name the router of the subnet: --gateway {eni}=ADDRESS (in most clouds, the first address of the subnet)"
            ),
            Self::Enslaved { eni, master } => format!(
                "the addresses and routes are those of {master}: name it instead, or take {eni} out of it (ip link set dev {eni} nomaster)"
            ),
            Self::Stacked { eni, parent } => format!(
                "manage only one of the two; with {parent} alone, 'eni-steer status' shows which addresses of {eni} count as its own"
            ),
            Self::SameMac { eni, other } => format!(
                "leave {eni} out of the policy; eni-steer serves {other}, and a virtual function is enslaved to it later"
            ),
            Self::DefaultUnmanaged { link, .. } => {
                format!("manage it too: --eni {link}, or [[eni]] name = \"{link}\" in the configuration")
            }
            Self::TableTwice { .. } => "give each ENI its own table".to_owned(),
            Self::TableReserved { .. } => {
                "choose another one: tables 253, 254 and 255 are default, main and local, and 0 means none".to_owned()
            }
            Self::TableTaken { commands, .. } => format!(
                "choose another table (--table ENI=NUMBER, --table-base NUMBER), or remove the other program's rules and routes: {}",
                commands.join("; ")
            ),
            Self::BandTaken { .. } => {
                "choose other priorities (--band FIRST-LAST), or give that rule another one".to_owned()
            }
            Self::NotAnEni { eni, .. } => {
                format!(
                    "manage {eni} too, or name a managed ENI ('eni-steer status' lists them)"
                )
            }
            Self::MetricNotBehind { .. } => {
                "choose a greater default-metric; otherwise the primary's packets would leave by this ENI".to_owned()
            }
            Self::BalanceNeedsFull => {
                "set primary = \"full\" in [policy], or add --primary full; otherwise packets with the primary's own addresses would be spread as well".to_owned()
            }
            Self::BandUnfit { .. } => format!(
                "choose at least {MIN_BAND} priorities between the rules of tables local (0) and main (32766)"
            ),
            Self::GroupTaken { eni, group } => format!(
                "add --group {group} to use that group, if it contains only ENIs; or take {eni} out of it: ip link set dev {eni} group default"
            ),
            Self::GroupShared { link, .. } => {
                format!("choose another group (--group NUMBER), or manage {link} too (--eni {link})")
            }
        }
    }
}
