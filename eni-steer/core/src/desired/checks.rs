//! Conditions for any plan: numbers that can work, known gateways, and tables, priorities and
//! groups that no other program uses.

use super::{
    context::Context, eni::Eni, error::PolicyError, removal::removal_commands, routes, selector,
    tables::balance_table,
};
use crate::{
    model::{Family, Group, IfIndex, Route, RouteKind, RuleAction, TableId, Tunable, TunableKind},
    ownership::MIN_BAND,
};

/// Refuses a band that cannot work on any host.
pub(super) fn check_numbers(cx: &Context<'_>) -> Result<(), PolicyError> {
    let (first, last) = (cx.policy.ownership.first, cx.policy.ownership.last);
    let span = last.0.saturating_sub(first.0).saturating_add(1);
    if first.0 == 0 || last.0 >= 32766 || first > last || span < MIN_BAND {
        return Err(PolicyError::BandUnfit { first, last });
    }
    Ok(())
}

/// Refuses ENIs without a gateway, and gateways that are the ENI's own address.
///
/// If an ENI has a gateway of one family, the other family may lack one as long as no default route
/// for it exists on the host: its packets stay on the link, as they do without eni-steer. For
/// example, cloud hosts often have IPv6 addresses without any IPv6 default route.
pub(super) fn check_gateways(cx: &Context<'_>, enis: &[Eni]) -> Result<(), PolicyError> {
    for family in Family::BOTH {
        let family_is_routed = || {
            let mut routes = cx.host.routes.iter();
            enis.iter().any(|eni| eni.gateway(family).is_some())
                || routes.any(|route| {
                    let is_default = route.kind == RouteKind::Unicast && route.is_default();
                    is_default && route.family() == family && !cx.policy.ownership.route(route)
                })
        };
        for eni in enis.iter().filter(|eni| eni.has(family)) {
            match eni.gateway(family) {
                None if eni.gateways.is_empty() || family_is_routed() => {
                    return Err(PolicyError::NoGateway {
                        eni: eni.name.clone(),
                        family,
                    });
                }
                Some(gateway) if eni.addresses.iter().any(|a| a.ip() == gateway.address) => {
                    return Err(PolicyError::GatewayIsOwn {
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

/// Refuses a host whose main table has its best default route through an Ethernet interface that is
/// not managed. The first rule ignores only routes through managed ENIs, so it would follow that
/// default route and no source rule would ever be evaluated. A default route through a tunnel is
/// allowed: the administrator wants all traffic to use the tunnel.
pub(super) fn check_default(cx: &Context<'_>, enis: &[Eni]) -> Result<(), PolicyError> {
    for family in Family::BOTH {
        let ruled = enis
            .iter()
            .find(|eni| eni.has_source_rules && eni.has(family));
        let best = routes::defaults_of_main(cx, family).min_by_key(|route| route.metric);
        let (Some(eni), Some(best)) = (ruled, best) else {
            continue;
        };
        let unmanaged = best
            .hops
            .iter()
            .filter(|hop| enis.iter().all(|eni| eni.index != hop.out))
            .filter_map(|hop| cx.host.links.get(&hop.out))
            .find(|link| link.mac.is_some());
        if let Some(link) = unmanaged {
            return Err(PolicyError::DefaultUnmanaged {
                eni: eni.name.clone(),
                link: link.name.clone(),
                family,
            });
        }
    }
    Ok(())
}

/// Refuses priorities, tables and groups that other programs use.
pub(super) fn check_conflicts(cx: &Context<'_>, enis: &[Eni]) -> Result<(), PolicyError> {
    let ours = &cx.policy.ownership;
    for rule in &cx.host.rules {
        if ours.in_band(rule.priority) && !ours.rule(rule) {
            return Err(PolicyError::BandTaken {
                first: ours.first,
                last: ours.last,
                rule: format!("ip {} rule {rule}", rule.family),
            });
        }
    }
    for eni in enis {
        if eni.table.is_kernel_own() {
            return Err(PolicyError::TableReserved {
                eni: eni.name.clone(),
                table: eni.table,
            });
        }
        let is_foreign = |route: &&Route| {
            route.table == eni.table
                && !ours.route(route)
                && route.kind != RouteKind::Local
                && eni.has_source_rules
        };
        if let Some(route) = cx.host.routes.iter().find(is_foreign) {
            return Err(PolicyError::TableTaken {
                eni: eni.name.clone(),
                table: eni.table,
                route: route.describe(cx.host),
                commands: commands(cx, eni.table),
            });
        }
        let group = group_without_us(cx, eni.index);
        if group != Group(0) && group != ours.group {
            return Err(PolicyError::GroupTaken {
                eni: eni.name.clone(),
                group,
            });
        }
    }
    if let Some(balance) = &cx.policy.balance {
        let table = balance_table(cx, balance);
        let is_foreign = |route: &&Route| route.table == table && !ours.route(route);
        if let Some(route) = cx.host.routes.iter().find(is_foreign) {
            return Err(PolicyError::TableTaken {
                eni: "balance".to_owned(),
                table,
                route: route.describe(cx.host),
                commands: commands(cx, table),
            });
        }
    }
    let is_managed = |index: IfIndex| enis.iter().any(|eni| eni.index == index);
    let other_member = cx
        .host
        .links
        .values()
        .find(|link| !is_managed(link.index) && group_without_us(cx, link.index) == ours.group);
    match other_member {
        Some(link) => Err(PolicyError::GroupShared {
            link: link.name.clone(),
            group: ours.group,
        }),
        None => Ok(()),
    }
}

/// The commands that remove other programs' routes from a table, and other programs' rules that
/// look it up.
fn commands(cx: &Context<'_>, table: TableId) -> Vec<String> {
    let ours = &cx.policy.ownership;
    let rules = cx
        .host
        .rules
        .iter()
        .filter(|rule| rule.action == RuleAction::Table(table) && !ours.rule(rule));
    let routes = cx.host.routes.iter().filter(|route| {
        route.table == table && route.kind != RouteKind::Local && !ours.route(route)
    });
    removal_commands(cx.host, rules, routes)
}

/// The group that an interface has without eni-steer. An interface that eni-steer put into a group
/// counts with its previous group, because the next plan restores that or sets the group that the
/// policy names now.
fn group_without_us(cx: &Context<'_>, index: IfIndex) -> Group {
    let kind = TunableKind::Group;
    let known = cx.host.baseline(Tunable { index, kind }).map(Group);
    known.unwrap_or_else(|| {
        cx.host
            .links
            .get(&index)
            .map_or(Group(0), |link| link.group)
    })
}

/// The ENIs of the policy that a daemon waits for: missing, down, or without an address.
pub(super) fn absent(cx: &Context<'_>) -> Vec<PolicyError> {
    let managed = cx.policy.enis.iter().filter(|eni| eni.managed);
    managed
        .filter_map(|wanted| {
            let Some(link) = selector::link(cx, &wanted.select) else {
                let known = cx.host.links.values().map(|link| link.name.clone());
                return Some(PolicyError::UnknownInterface {
                    name: wanted.select.to_string(),
                    known: known.collect(),
                });
            };
            let eni = link.name.clone();
            if !link.up {
                Some(PolicyError::Down { eni })
            } else if link.is_ethernet() && cx.host.usable_addresses(link.index).next().is_none() {
                Some(PolicyError::NoAddress { eni })
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
