//! What must hold before anything is planned: numbers that can work, gateways, and places in
//! tables, bands and groups that nobody else uses.

use super::{Context, Eni, PolicyError, balance, redundant_rules::removal, routes};
use crate::{
    model::{Family, Group, IfIndex, Route, RouteKind, RuleAction, TableId, Tunable, TunableKind},
    ownership::MIN_BAND,
};

/// Numbers that can not work whatever the host has.
pub(super) fn check_numbers(cx: &Context<'_>) -> Result<(), PolicyError> {
    let (first, last) = (cx.policy.ownership.first, cx.policy.ownership.last);
    let span = last.0.saturating_sub(first.0).saturating_add(1);
    if first.0 == 0 || last.0 >= 32766 || first > last || span < MIN_BAND {
        return Err(PolicyError::BandUnfit { first, last });
    }
    Ok(())
}

/// Gateways that are missing or can not be. Beside one of the other family, a family without
/// a default route anywhere needs none: its packets stay on the link, as they do without us.
pub(super) fn check_gateways(cx: &Context<'_>, enis: &[Eni]) -> Result<(), PolicyError> {
    for family in Family::BOTH {
        let routed = || {
            let mut routes = cx.host.routes.iter();
            enis.iter().any(|eni| eni.gateway(family).is_some())
                || routes.any(|route| {
                    let kind = route.kind == RouteKind::Unicast && route.is_default();
                    kind && route.family() == family && !cx.policy.ownership.route(route)
                })
        };
        for eni in enis.iter().filter(|eni| eni.has(family)) {
            match eni.gateway(family) {
                None if eni.gateways.is_empty() || routed() => {
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

/// Main's default has to leave by a managed ENI: by any other Ethernet interface it would win
/// over every source rule. A tunnel that takes all traffic is somebody's wish.
pub(super) fn check_default(cx: &Context<'_>, enis: &[Eni]) -> Result<(), PolicyError> {
    for family in Family::BOTH {
        let has_source_rules = enis
            .iter()
            .find(|eni| eni.has_source_rules && eni.has(family));
        let best = routes::defaults_of_main(cx, family).min_by_key(|route| route.metric);
        let (Some(eni), Some(best)) = (has_source_rules, best) else {
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

/// Paths that somebody else has taken.
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
        let foreign = cx.host.routes.iter().find(|route| {
            route.table == eni.table
                && !ours.route(route)
                && route.kind != RouteKind::Local
                && eni.has_source_rules
        });
        if let Some(route) = foreign {
            return Err(PolicyError::TableTaken {
                eni: eni.name.clone(),
                table: eni.table,
                route: route.describe(cx.host),
                commands: commands(cx, eni.table),
            });
        }
        let group = group_before_us(cx, eni.index);
        if group != Group(0) && group != ours.group {
            return Err(PolicyError::GroupTaken {
                eni: eni.name.clone(),
                group,
            });
        }
    }
    if let Some(balance) = &cx.policy.balance {
        let table = balance::table(cx, balance);
        let theirs = |route: &&Route| route.table == table && !ours.route(route);
        if let Some(route) = cx.host.routes.iter().find(theirs) {
            return Err(PolicyError::TableTaken {
                eni: "balance".to_owned(),
                table,
                route: route.describe(cx.host),
                commands: commands(cx, table),
            });
        }
    }
    let managed = |index: IfIndex| enis.iter().any(|eni| eni.index == index);
    let stranger = cx
        .host
        .links
        .values()
        .find(|link| !managed(link.index) && group_before_us(cx, link.index) == ours.group);
    match stranger {
        Some(link) => Err(PolicyError::GroupShared {
            link: link.name.clone(),
            group: ours.group,
        }),
        None => Ok(()),
    }
}

/// What removes the routes of somebody else in a table, and the rules that lead to it.
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
    removal(cx.host, rules, routes)
}

/// The group of an interface without us: one that we put into a group leaves it with the
/// next plan, or goes on to the group the policy names now.
fn group_before_us(cx: &Context<'_>, index: IfIndex) -> Group {
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
