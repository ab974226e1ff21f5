//! What differs between the desired state and the host: one function for each kind of object.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Program, Step};
use crate::{
    desired::{Desired, WantedDatapath},
    model::{Host, Route, Rule, SavedValue},
};

pub(super) fn tunables(desired: &Desired, host: &Host, steps: &mut Vec<Step>) {
    for (&tunable, &to) in &desired.tunables {
        let Some(&now) = host.tunables.get(&tunable) else {
            continue;
        };
        let known = host.saved.get(&tunable).copied();
        if now == to {
            continue;
        }
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
        // Put back only what is still ours: a value somebody set since stays.
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
    // Two routes of ours can stand in one place (`ip route append`): the right one stays.
    let right = |route: &Route| wanted.get(&route.key()).is_some_and(|want| *want == route);
    let settled: BTreeSet<_> = ours.iter().filter(|r| right(r)).map(|r| r.key()).collect();
    let mut met = BTreeSet::new();
    for route in ours {
        if settled.contains(&route.key()) && !right(route) {
            steps.push(Step::Route {
                change: Change::new(Some(route.clone()), None),
            });
            continue;
        }
        match wanted.get(&route.key()) {
            Some(want) if met.insert(route.key()) => {
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
        if !met.contains(&key) {
            steps.push(Step::Route {
                change: Change::new(None, Some(route.clone())),
            });
        }
    }
}

pub(super) fn rules(desired: &Desired, host: &Host, steps: &mut Vec<Step>) {
    let ours = |rule: &&Rule| desired.ownership.rule(rule);
    let mut have: Vec<&Rule> = host.rules.iter().filter(ours).collect();
    let mut wanted: Vec<&Rule> = desired.rules.iter().collect();
    have.sort();
    wanted.sort();
    wanted.dedup();
    let mut have = have.into_iter().peekable();
    // What is wanted and not ours, the kernel's own rule, may be there already.
    let there = |rule: &Rule| !desired.ownership.rule(rule) && host.rules.contains(rule);
    let mut change = |from: Option<&Rule>, to: Option<&Rule>| {
        let change = Change::new(from.cloned(), to.cloned());
        steps.push(Step::Rule { change });
    };
    for rule in wanted {
        // Also removes the second of two equal rules: the kernel lets duplicates be made.
        while let Some(other) = have.next_if(|other| *other < rule) {
            change(Some(other), None);
        }
        if have.next_if_eq(&rule).is_none() && !there(rule) {
            change(None, Some(rule));
        }
    }
    have.for_each(|rule| change(Some(rule), None));
}

/// Steps for each key whose value differs.
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
