//! The order of the steps: make before break.
//!
//! What is looked up is there before what looks it up: maps before programs, memory before
//! tunables, groups before the rule that names the group, links before gateways, routes
//! before the rules that lead to them, and main's rule before the source rules, so that
//! local traffic is never caught between. All additions come before all removals, and
//! removals go the other way round.

use super::{Change, Step};

/// Sorts; steps of one place keep their order.
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
        // A memory that goes is forgotten after its tunable is put back.
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

/// Order within a phase.
fn within(step: &Step) -> i64 {
    match step {
        // Links before what goes through gateways; the default last.
        Step::Route {
            change: Change {
                to: Some(route), ..
            },
        } => {
            let via = route.hops.iter().any(|hop| hop.gateway.is_some());
            i64::from(via) * 1000 - i64::from(route.destination.prefix_len())
        }
        // Gateways' users before their links.
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
