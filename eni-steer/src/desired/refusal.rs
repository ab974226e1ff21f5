//! Why nothing can be said about what a host should have: each reason names its object
//! and says what to do. Nothing has been changed when one is returned.

use std::net::IpAddr;

use crate::{
    model::{
        Family, Group, IfIndex, Knob, KnobKind, Priority, Route, RouteKind, RuleAction, TableId,
    },
    observe::Observed,
    ownership::MIN_BAND,
    policy::Policy,
};

use super::{Eni, balance, handmade::removal, routes};

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
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

impl Refusal {
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

/// Numbers that can not work whatever the host has.
pub(super) fn check_numbers(policy: &Policy) -> Result<(), Refusal> {
    let (first, last) = (policy.ownership.first, policy.ownership.last);
    let span = last.0.saturating_sub(first.0).saturating_add(1);
    if first.0 == 0 || last.0 >= 32766 || first > last || span < MIN_BAND {
        return Err(Refusal::BandUnfit { first, last });
    }
    Ok(())
}

/// Gateways that are missing or can not be. Beside one of the other family, a family without
/// a default route anywhere needs none: its packets stay on the link, as they do without us.
pub(super) fn check_gateways(
    seen: &Observed,
    policy: &Policy,
    enis: &[Eni],
) -> Result<(), Refusal> {
    for family in Family::BOTH {
        let routed = || {
            let mut routes = seen.routes.iter();
            enis.iter().any(|eni| eni.gateway(family).is_some())
                || routes.any(|route| {
                    let kind = route.kind == RouteKind::Unicast && route.is_default();
                    kind && route.family() == family && !policy.ownership.route(route)
                })
        };
        for eni in enis.iter().filter(|eni| eni.has(family)) {
            match eni.gateway(family) {
                None if eni.gateways.is_empty() || routed() => {
                    return Err(Refusal::NoGateway {
                        eni: eni.name.clone(),
                        family,
                    });
                }
                Some(gateway) if eni.addresses.iter().any(|a| a.ip() == gateway.address) => {
                    return Err(Refusal::GatewayIsOwn {
                        eni: eni.name.clone(),
                        gateway: gateway.address,
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Main's default has to leave by a managed ENI: by any other Ethernet interface it would win
/// over every source rule. A tunnel that takes all traffic is somebody's wish.
pub(super) fn check_default(seen: &Observed, policy: &Policy, enis: &[Eni]) -> Result<(), Refusal> {
    for family in Family::BOTH {
        let ruled = enis.iter().find(|eni| eni.ruled && eni.has(family));
        let best = routes::defaults_of_main(seen, policy, family).min_by_key(|route| route.metric);
        let (Some(eni), Some(best)) = (ruled, best) else {
            continue;
        };
        let unmanaged = best
            .hops
            .iter()
            .filter(|hop| enis.iter().all(|eni| eni.index != hop.out))
            .filter_map(|hop| seen.links.get(&hop.out))
            .find(|link| link.mac.is_some());
        if let Some(link) = unmanaged {
            return Err(Refusal::DefaultUnmanaged {
                eni: eni.name.clone(),
                link: link.name.clone(),
                family,
            });
        }
    }
    Ok(())
}

/// Places that somebody else has taken.
pub(super) fn check_conflicts(
    seen: &Observed,
    policy: &Policy,
    enis: &[Eni],
) -> Result<(), Refusal> {
    let ours = &policy.ownership;
    for rule in &seen.rules {
        if ours.in_band(rule.priority) && !ours.rule(rule) {
            return Err(Refusal::BandTaken {
                first: ours.first,
                last: ours.last,
                rule: format!("ip {} rule {rule}", rule.family),
            });
        }
    }
    for eni in enis {
        let reserved = [TableId(0), TableId::DEFAULT, TableId::MAIN, TableId::LOCAL];
        if reserved.contains(&eni.table) {
            return Err(Refusal::TableReserved {
                eni: eni.name.clone(),
                table: eni.table,
            });
        }
        let foreign = seen.routes.iter().find(|route| {
            route.table == eni.table
                && !ours.route(route)
                && route.kind != RouteKind::Local
                && eni.ruled
        });
        if let Some(route) = foreign {
            return Err(Refusal::TableTaken {
                eni: eni.name.clone(),
                table: eni.table,
                route: crate::plan::route_text(route, |index| seen.name(index)),
                commands: commands(seen, policy, eni.table),
            });
        }
        let group = group_before_us(seen, eni.index);
        if group != Group(0) && group != ours.group {
            return Err(Refusal::GroupTaken {
                eni: eni.name.clone(),
                group,
            });
        }
    }
    if let Some(balance) = &policy.balance {
        let table = balance::table(policy, balance);
        let theirs = |route: &&Route| route.table == table && !ours.route(route);
        if let Some(route) = seen.routes.iter().find(theirs) {
            return Err(Refusal::TableTaken {
                eni: "balance".to_owned(),
                table,
                route: crate::plan::route_text(route, |index| seen.name(index)),
                commands: commands(seen, policy, table),
            });
        }
    }
    let managed = |index: IfIndex| enis.iter().any(|eni| eni.index == index);
    let stranger = seen
        .links
        .values()
        .find(|link| !managed(link.index) && group_before_us(seen, link.index) == ours.group);
    match stranger {
        Some(link) => Err(Refusal::GroupShared {
            link: link.name.clone(),
            group: ours.group,
        }),
        None => Ok(()),
    }
}

/// What removes the routes of somebody else in a table, and the rules that lead to it.
fn commands(seen: &Observed, policy: &Policy, table: TableId) -> Vec<String> {
    let ours = &policy.ownership;
    let rules = seen
        .rules
        .iter()
        .filter(|rule| rule.action == RuleAction::Table(table) && !ours.rule(rule));
    let routes = seen.routes.iter().filter(|route| {
        route.table == table && route.kind != RouteKind::Local && !ours.route(route)
    });
    removal(seen, rules, routes)
}

/// The group of an interface without us: one that we put into a group leaves it with the
/// next plan, or goes on to the group the policy names now.
fn group_before_us(seen: &Observed, index: IfIndex) -> Group {
    let kind = KnobKind::Group;
    let known = seen.baseline(Knob { index, kind }).map(Group);
    known.unwrap_or_else(|| seen.links.get(&index).map_or(Group(0), |link| link.group))
}

#[cfg(test)]
mod tests;
