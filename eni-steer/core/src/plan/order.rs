//! The order of the steps: everything is added before anything is removed ("make before break"), so
//! that a host that is being reconfigured never lacks a route.
//!
//! eni-steer adds an object before the objects that need it: maps before programs, saved values
//! before the tunables they belong to, groups before the rule that names the group, on-link routes
//! before routes through gateways, routes before the rules that look them up, and the first rule
//! before the source rules, so that no packet for a container leaves by an ENI in between. Removals
//! follow in the opposite order.

use super::step::{Change, Step};

/// Sorts the steps. Steps with the same phase and the same place in it keep their order.
pub(super) fn sort(steps: &mut [Step]) {
    steps.sort_by_key(|step| (std::cmp::Reverse(phase(step)), within(step)));
}

/// Additions and changes run from 10 down to 1, then removals from -1 down to -11.
fn phase(step: &Step) -> i32 {
    let (rank, adds) = match step {
        Step::Settings { change } => (10, adds(change)),
        Step::Eni { change, .. } => (9, adds(change)),
        Step::Exempt { exempt, .. } => (8, *exempt),
        Step::NextHop { change, .. } => (7, adds(change)),
        Step::Owner { change, .. } => (6, adds(change)),
        Step::Program { change, .. } => (5, adds(change)),
        // Its removal comes after the step that restores the tunable.
        Step::SavedValue { change, .. } => (4, adds(change)),
        Step::Tunable { restores, .. } => (3, !restores),
        Step::Route { change } => (2, adds(change)),
        Step::Rule { change } => (1, adds(change)),
        Step::RemoveOldLayout { removed, .. } => (11, !removed),
    };
    if adds { rank } else { -rank }
}

fn adds<T>(change: &Change<T>) -> bool {
    change.to.is_some()
}

/// Place of a step within its phase.
fn within(step: &Step) -> i64 {
    match step {
        // On-link routes before routes through gateways; the default route last.
        Step::Route {
            change: Change {
                to: Some(route), ..
            },
        } => {
            let via = route.hops.iter().any(|hop| hop.gateway.is_some());
            i64::from(via) * 1000 - i64::from(route.destination.prefix_len())
        }
        // Routes through gateways before on-link routes.
        Step::Route {
            change:
                Change {
                    from: Some(route),
                    to: None,
                },
        } => {
            let via = route.hops.iter().any(|hop| hop.gateway.is_some());
            i64::from(!via) * 1000 + i64::from(route.destination.prefix_len())
        }
        Step::Rule {
            change: Change { to: Some(rule), .. },
        } => i64::from(rule.priority.0),
        Step::Rule {
            change:
                Change {
                    from: Some(rule),
                    to: None,
                },
        } => -i64::from(rule.priority.0),
        _ => 0,
    }
}
