//! The differences between the host and the desired state, as steps: one function for each kind of
//! object.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Change, Program, Step};
use crate::{
    desired::{Desired, WantedDatapath},
    model::{Host, Route, Rule, SavedValue},
};

/// Steps that set tunables to their desired values, and restore the saved ones that eni-steer needs
/// no longer.
pub(super) fn tunables(desired: &Desired, host: &Host, steps: &mut Vec<Step>) {
    for (&tunable, &to) in &desired.tunables {
        let Some(&now) = host.tunables.get(&tunable) else {
            continue;
        };
        let known = host.saved.get(&tunable).copied();
        if now == to {
            continue;
        }
        // The value to restore later: if another program has changed the tunable since, its value.
        let previous = match known {
            Some(saved) if saved.ours == now => saved.previous,
            _ => now,
        };
        let saved = SavedValue { previous, ours: to };
        if known != Some(saved) {
            steps.push(Step::SavedValue {
                tunable,
                change: Change::new(known, Some(saved)),
            });
        }
        steps.push(Step::Tunable {
            tunable,
            change: Change::new(Some(now), Some(to)),
            restores: false,
        });
    }
    for (&tunable, &saved) in &host.saved {
        if desired.tunables.contains_key(&tunable) {
            continue;
        }
        // Restore only a value that eni-steer set: if another program has set one since, it stays.
        if host.tunables.get(&tunable) == Some(&saved.ours) && saved.ours != saved.previous {
            let change = Change::new(Some(saved.ours), Some(saved.previous));
            steps.push(Step::Tunable {
                tunable,
                change,
                restores: true,
            });
        }
        steps.push(Step::SavedValue {
            tunable,
            change: Change::new(Some(saved), None),
        });
    }
}

/// Steps that add, replace and delete eni-steer's routes.
pub(super) fn routes(desired: &Desired, host: &Host, steps: &mut Vec<Step>) {
    let ours: Vec<&Route> = host
        .routes
        .iter()
        .filter(|route| desired.ownership.route(route))
        .collect();
    let wanted: BTreeMap<_, &Route> = desired
        .routes
        .iter()
        .map(|route| (route.key(), route))
        .collect();
    // `ip route append` can put two of eni-steer's routes into one place: the right one stays.
    let is_right = |route: &Route| wanted.get(&route.key()).is_some_and(|want| *want == route);
    let right_places: BTreeSet<_> = ours
        .iter()
        .filter(|route| is_right(route))
        .map(|route| route.key())
        .collect();
    let mut visited = BTreeSet::new();
    for route in ours {
        if right_places.contains(&route.key()) && !is_right(route) {
            steps.push(Step::Route {
                change: Change::new(Some(route.clone()), None),
            });
            continue;
        }
        match wanted.get(&route.key()) {
            Some(want) if visited.insert(route.key()) => {
                if *want != route {
                    let change = Change::new(Some(route.clone()), Some((*want).clone()));
                    steps.push(Step::Route { change });
                }
            }
            _ => steps.push(Step::Route {
                change: Change::new(Some(route.clone()), None),
            }),
        }
    }
    for (key, route) in wanted {
        if !visited.contains(&key) {
            steps.push(Step::Route {
                change: Change::new(None, Some(route.clone())),
            });
        }
    }
}

/// Steps that add and delete rules: one walk through both sorted lists.
pub(super) fn rules(desired: &Desired, host: &Host, steps: &mut Vec<Step>) {
    let ours = |rule: &&Rule| desired.ownership.rule(rule);
    let mut existing: Vec<&Rule> = host.rules.iter().filter(ours).collect();
    let mut wanted: Vec<&Rule> = desired.rules.iter().collect();
    existing.sort();
    wanted.sort();
    wanted.dedup();
    let mut unmatched = existing.into_iter().peekable();
    // The kernel's own rule may be wanted; it does not carry eni-steer's protocol number, so it is
    // not among the existing ones.
    let foreign_exists = |rule: &Rule| !desired.ownership.rule(rule) && host.rules.contains(rule);
    let mut change = |from: Option<&Rule>, to: Option<&Rule>| {
        let change = Change::new(from.cloned(), to.cloned());
        steps.push(Step::Rule { change });
    };
    for rule in wanted {
        // This also removes the second of two equal rules, which the kernel allows.
        while let Some(other) = unmatched.next_if(|other| *other < rule) {
            change(Some(other), None);
        }
        if unmatched.next_if_eq(&rule).is_none() && !foreign_exists(rule) {
            change(None, Some(rule));
        }
    }
    unmatched.for_each(|rule| change(Some(rule), None));
}

/// A step for each key whose value differs between the two maps.
fn differences<K: Ord + Copy, V: Clone + PartialEq>(
    wanted: &BTreeMap<K, V>,
    have: &BTreeMap<K, V>,
    steps: &mut Vec<Step>,
    step: impl Fn(K, Change<V>) -> Step,
) {
    for (key, want) in wanted {
        let now = have.get(key);
        if now != Some(want) {
            steps.push(step(*key, Change::new(now.cloned(), Some(want.clone()))));
        }
    }
    for (key, now) in have {
        if !wanted.contains_key(key) {
            steps.push(step(*key, Change::new(Some(now.clone()), None)));
        }
    }
}

/// Steps that change the programs' maps, and attach, replace and detach programs.
pub(super) fn datapath(wanted: Option<&WantedDatapath>, host: &Host, steps: &mut Vec<Step>) {
    let have = &host.datapath;
    let nothing = (
        BTreeMap::new(),
        BTreeMap::new(),
        BTreeMap::new(),
        BTreeSet::new(),
    );
    let (enis, owners, next_hops, exempt) = wanted
        .map_or((&nothing.0, &nothing.1, &nothing.2, &nothing.3), |w| {
            (&w.enis, &w.owners, &w.next_hops, &w.exempt)
        });
    let settings = wanted.map(|w| w.settings);
    if settings != have.settings {
        steps.push(Step::Settings {
            change: Change::new(have.settings, settings),
        });
    }
    differences(enis, &have.enis, steps, |eni, change| Step::Eni {
        eni,
        change,
    });
    differences(owners, &have.owners, steps, |net, change| Step::Owner {
        net,
        change,
    });
    differences(next_hops, &have.next_hops, steps, |(eni, net), change| {
        Step::NextHop { eni, net, change }
    });
    for net in exempt.symmetric_difference(&have.exempt) {
        steps.push(Step::Exempt {
            net: *net,
            exempt: exempt.contains(net),
        });
    }
    let none = BTreeMap::new();
    let programs = wanted.map_or(&none, |w| &w.attachments);
    for (&hook, want) in programs {
        let from = have.attachments.get(&hook);
        if !from.is_some_and(|attached| want.satisfied_by(attached)) {
            let change = Change::new(
                from.cloned().map(Program::Seen),
                Some(Program::Wanted(*want)),
            );
            steps.push(Step::Program { hook, change });
        }
    }
    for (&hook, from) in &have.attachments {
        if !programs.contains_key(&hook) {
            let change = Change::new(Some(Program::Seen(from.clone())), None);
            steps.push(Step::Program { hook, change });
        }
    }
}
