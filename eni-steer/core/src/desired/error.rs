//! Why a host does not allow a policy: each reason names its object and says what to do. When
//! eni-steer returns one, it has changed nothing.

use std::net::IpAddr;

use crate::{
    model::{Family, Group, Priority, TableId},
    ownership::MIN_BAND,
};

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No ENI was named and none was found.
    #[error(
        "no ENI found: no up, non-virtual Ethernet interface has a global address and a gateway"
    )]
    NothingFound,
    /// A selector matches nothing.
    #[error("there is no interface {name}")]
    UnknownInterface {
        /// The selector.
        name: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// Two selectors match one interface.
    #[error("{eni} is selected twice")]
    SelectedTwice {
        /// The interface.
        eni: String,
    },
    /// Loopback, tunnel, InfiniBand ...
    #[error("{eni} is not an Ethernet interface")]
    NotEthernet {
        /// The interface.
        eni: String,
    },
    /// Administratively down.
    #[error("{eni} is down")]
    Down {
        /// The interface.
        eni: String,
    },
    /// No global address.
    #[error("{eni} has no global address")]
    NoAddress {
        /// The interface.
        eni: String,
    },
    /// No gateway known for a family it has addresses of.
    #[error("no {} gateway is known for {eni}", ip(.family))]
    NoGateway {
        /// The interface.
        eni: String,
        /// The family.
        family: Family,
    },
    /// The gateway is an address of the ENI itself.
    #[error("gateway {gateway} of {eni} is its own address")]
    GatewayIsOwn {
        /// The interface.
        eni: String,
        /// The address.
        gateway: IpAddr,
    },
    /// A port of a bridge or bond, or in a VRF.
    #[error("{eni} is enslaved to {master}")]
    Enslaved {
        /// The interface.
        eni: String,
        /// The master.
        master: String,
    },
    /// Main's default route leaves by an Ethernet interface that is no managed ENI, so the
    /// first rule would let main decide everything.
    #[error(
        "main's {} default route leaves by {link}, which is no managed ENI: the rules of {eni} would never be asked",
        ip(.family)
    )]
    DefaultUnmanaged {
        /// An ENI with rules.
        eni: String,
        /// The interface.
        link: String,
        /// The family.
        family: Family,
    },
    /// The policy gives one table to two ENIs.
    #[error("table {table} of {eni} belongs to another ENI already")]
    TableTwice {
        /// The second ENI.
        eni: String,
        /// The table.
        table: TableId,
    },
    /// The policy's table is one of the kernel's own.
    #[error("table {} of {eni} is one of the kernel's own", .table.0)]
    TableReserved {
        /// The ENI.
        eni: String,
        /// The table.
        table: TableId,
    },
    /// A foreign route stands in an ENI's table.
    #[error("table {table} of {eni} is used by someone else: it has the route {route}")]
    TableTaken {
        /// The ENI.
        eni: String,
        /// The table.
        table: TableId,
        /// The route.
        route: String,
        /// What removes what is there.
        commands: Vec<String>,
    },
    /// A foreign rule stands inside the band.
    #[error(
        "a rule of someone else stands inside eni-steer's priorities {first} to {last}: {rule}"
    )]
    BandTaken {
        /// First priority.
        first: Priority,
        /// Last priority.
        last: Priority,
        /// The rule.
        rule: String,
    },
    /// A rule or a weight speaks of something that is no managed ENI.
    #[error("{what} speaks of {eni}, which is no managed ENI")]
    NotAnEni {
        /// Which rule, or balance.
        what: String,
        /// The selector.
        eni: String,
    },
    /// The default route an ENI is to have in main would not come behind main's own.
    #[error("default-metric {metric} of {eni} does not come behind main's own default: {route}")]
    MetricNotBehind {
        /// The ENI.
        eni: String,
        /// The metric.
        metric: u32,
        /// The route.
        route: String,
    },
    /// Balance without source rules for the primary.
    #[error("balance needs source rules for the primary")]
    BalanceNeedsFull,
    /// The band is too small or reaches behind main.
    #[error("the priorities {first} to {last} can not hold eni-steer's rules")]
    BandUnfit {
        /// First priority.
        first: Priority,
        /// Last priority.
        last: Priority,
    },
    /// The ENI is in a group somebody chose.
    #[error("{eni} is in interface group {group}, which is not eni-steer's")]
    GroupTaken {
        /// The ENI.
        eni: String,
        /// Its group.
        group: Group,
    },
    /// Another interface is in our group.
    #[error("{link} is in interface group {group} but is no managed ENI")]
    GroupShared {
        /// The interface.
        link: String,
        /// Our group.
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
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NothingFound => {
                "name the ENIs: --eni eth0 --eni eth1 ('ip -br address' lists them)".to_owned()
            }
            Self::UnknownInterface { known, .. } => {
                format!("interfaces here: {}", known.join(", "))
            }
            Self::SelectedTwice { eni } => format!("name {eni} once, by name or by MAC address"),
            Self::NotEthernet { .. } => "ENIs are Ethernet interfaces; name another one".to_owned(),
            Self::Down { eni } => format!("ip link set dev {eni} up"),
            Self::NoAddress { eni } => format!(
                "ip address show dev {eni}; addresses that are tentative, link-local or of host scope do not count"
            ),
            Self::NoGateway { eni, .. } => format!(
                "name it: --gateway {eni}=ADDRESS; looked for in default routes through {eni}, DHCP leases and the same subnet on other ENIs"
            ),
            Self::GatewayIsOwn { eni, .. } => format!(
                "name the router of the subnet: --gateway {eni}=ADDRESS (in most clouds the first address of the subnet)"
            ),
            Self::Enslaved { master, .. } => {
                format!("routes and addresses belong to {master}: name it, or take the interface out of it")
            }
            Self::DefaultUnmanaged { link, .. } => {
                format!("manage {link} too: --eni {link} (the primary ENI keeps to main)")
            }
            Self::TableTwice { .. } => "give each ENI a table of its own".to_owned(),
            Self::TableReserved { .. } => {
                "tables 0 and 253 to 255 are default, main and local; choose another one".to_owned()
            }
            Self::TableTaken { commands, .. } => format!(
                "choose another table (--table ENI=NUMBER, --table-base NUMBER), or remove what is there: {}",
                commands.join("; ")
            ),
            Self::BandTaken { .. } => {
                "choose another band (--band FIRST-LAST) or move that rule".to_owned()
            }
            Self::NotAnEni { eni, .. } => {
                format!("manage {eni} too ('eni-steer status' lists the ENIs), or name another one")
            }
            Self::MetricNotBehind { .. } => {
                "choose a greater default-metric: one before the primary's would send the primary's traffic by this ENI".to_owned()
            }
            Self::BalanceNeedsFull => {
                "primary = \"full\" in [policy], or --primary full: else the primary's own traffic would be spread as well".to_owned()
            }
            Self::BandUnfit { .. } => format!(
                "a band has at least {MIN_BAND} priorities and lies between local (0) and main (32766)"
            ),
            Self::GroupTaken { group, .. } => format!(
                "--group {group} makes eni-steer use that group, if only ENIs are in it; or 'ip link set ... group default'"
            ),
            Self::GroupShared { link, .. } => {
                format!("choose another group (--group NUMBER), or manage {link} too")
            }
        }
    }
}
