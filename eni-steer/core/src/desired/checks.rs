//! Conditions for any plan: numbers that can work, known gateways, and tables, priorities and
//! groups that no other program uses.

use super::{
    context::Context,
    eni::{Eni, Gateway, GatewaySource, RoutedBy},
    error::PolicyError,
    removal::removal_commands,
    routes,
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

/// The ENIs that lack a gateway, by family, and gateways that are an ENI's own address, which this
/// function drops. Packets of such an ENI and family follow the main table, as without eni-steer.
///
/// If an ENI has a gateway of one family, the other family may lack one as long as no default route
/// for it exists on the host: its packets stay on the link, as they do without eni-steer. For
/// example, cloud hosts often have IPv6 addresses without any IPv6 default route.
pub(super) fn gateways(
    cx: &Context<'_>,
    enis: &mut [Eni],
    unserved: &mut Vec<PolicyError>,
) -> Result<(), PolicyError> {
    for eni in enis.iter_mut() {
        let is_own = |gateway: &Gateway| eni.addresses.iter().any(|a| a.ip() == gateway.address);
        let gateways = std::mem::take(&mut eni.gateways);
        let (own, others): (Vec<_>, Vec<_>) = gateways.into_iter().partition(is_own);
        eni.gateways = others;
        for gateway in own {
            let error = PolicyError::GatewayIsOwn {
                eni: eni.name.clone(),
                gateway: gateway.address,
            };
            match gateway.source {
                GatewaySource::Policy => cx.leave_out(error, unserved)?,
                _ => unserved.push(error),
            }
        }
    }
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
            let is_lacking = eni.gateways.is_empty() || family_is_routed();
            let is_own = unserved.iter().any(|error| {
                matches!(error, PolicyError::GatewayIsOwn { eni: name, gateway }
                    if *name == eni.name && Family::of(*gateway) == family)
            });
            if eni.gateway(family).is_none() && is_lacking && !is_own {
                unserved.push(PolicyError::NoGateway {
                    eni: eni.name.clone(),
                    family,
                });
            }
        }
    }
    Ok(())
}

/// Where the main table's best default route leaves by an Ethernet interface that is not managed:
/// no program there counts or steers what leaves by it, and if it is on the subnet of an ENI, main's
/// route for the subnet may leave by it too, which the first rule does not ignore. A default route
/// through a tunnel is allowed.
pub(super) fn unmanaged_defaults(cx: &Context<'_>, enis: &[Eni]) -> Vec<PolicyError> {
    let mut unserved = Vec::new();
    for family in Family::BOTH {
        let ruled = enis
            .iter()
            .find(|eni| eni.has_table(family) && eni.has(family));
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
            unserved.push(PolicyError::DefaultUnmanaged {
                eni: eni.name.clone(),
                link: link.name.clone(),
                family,
            });
        }
    }
    unserved
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
                && eni.routing(route.family()).by != RoutedBy::Main
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

#[cfg(test)]
mod tests;
