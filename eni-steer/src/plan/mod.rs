//! The plan: desired minus observed, as steps that can be printed, done and undone.

mod order;
mod revert;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    desired::{Desired, WantedAttachment, WantedDatapath},
    model::{
        Attachment, Direction, EniRow, IfIndex, Knob, Memory, NextHop, Owner, Route, Rule, Settings,
    },
    observe::Observed,
};

#[cfg(test)]
mod decisions;
#[cfg(test)]
mod properties;

pub use text::{Names, line, route_text};

/// One change of one object, from what it is to what it should be. `None`: not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// What is there.
    pub from: Option<T>,
    /// What should be there.
    pub to: Option<T>,
}

/// One step of a plan. Each is undone by the step with `from` and `to` swapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "object")]
pub enum Step {
    /// Write down (or forget) the value a knob had before us.
    Memory {
        /// The knob.
        knob: Knob,
        /// The change.
        change: Change<Memory>,
    },
    /// Turn a knob.
    Knob {
        /// The knob.
        knob: Knob,
        /// The change.
        change: Change<u32>,
        /// It gets back the value it had before us, after everything that needed ours is gone.
        put_back: bool,
    },
    /// Add, replace or delete a route of ours.
    Route {
        /// The change.
        change: Change<Route>,
    },
    /// Add or delete a rule of ours.
    Rule {
        /// The change.
        change: Change<Rule>,
    },
    /// Create or remove the maps, or change what all programs read.
    Settings {
        /// The change.
        change: Change<Settings>,
    },
    /// Tell the programs of an ENI.
    Eni {
        /// The ENI.
        eni: IfIndex,
        /// The change.
        change: Change<EniRow>,
    },
    /// Tell the programs who owns an address or prefix.
    Owner {
        /// The address or prefix.
        net: IpNet,
        /// The change.
        change: Change<Owner>,
    },
    /// Tell the programs how an ENI reaches a destination.
    NextHop {
        /// The ENI.
        eni: IfIndex,
        /// The destination.
        net: IpNet,
        /// The change.
        change: Change<NextHop>,
    },
    /// Tell the programs of a destination that is never steered.
    Exempt {
        /// The destination.
        net: IpNet,
        /// Whether it is to be.
        exempt: bool,
    },
    /// Attach, replace or detach a program.
    Program {
        /// The ENI.
        eni: IfIndex,
        /// The hook.
        direction: Direction,
        /// The change.
        change: Change<Program>,
    },
    /// Take away the pins of another version's layout, with its programs and counters, once
    /// the programs of this one are there. Nothing brings them back: it is the last step.
    Retire {
        /// The layout.
        layout: u32,
        /// It is taken away; `false`: it would be brought back, which nothing can.
        retired: bool,
    },
}

/// A program in a step: as seen, or as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// As read from the kernel.
    Seen(Attachment),
    /// As desired.
    Wanted(WantedAttachment),
}

/// The steps, in the order in which they are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl<T> Change<T> {
    fn new(from: Option<T>, to: Option<T>) -> Self {
        Self { from, to }
    }
}

impl Plan {
    /// What leads from what is seen to what is desired. Empty: the host is as it should be.
    pub fn between(desired: &Desired, seen: &Observed) -> Self {
        let mut steps = Vec::new();
        knobs(desired, seen, &mut steps);
        routes(desired, seen, &mut steps);
        rules(desired, seen, &mut steps);
        datapath(desired.datapath.as_ref(), seen, &mut steps);
        steps.extend(seen.other_layouts.iter().map(|layout| Step::Retire {
            layout: *layout,
            retired: true,
        }));
        order::sort(&mut steps);
        Self { steps }
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

fn knobs(desired: &Desired, seen: &Observed, steps: &mut Vec<Step>) {
    for (&knob, &to) in &desired.knobs {
        let Some(&now) = seen.knobs.get(&knob) else {
            continue;
        };
        let known = seen.memory.get(&knob).copied();
        if now == to {
            continue;
        }
        let previous = match known {
            Some(memory) if memory.ours == now => memory.previous,
            _ => now,
        };
        let memory = Memory { previous, ours: to };
        if known != Some(memory) {
            steps.push(Step::Memory {
                knob,
                change: Change::new(known, Some(memory)),
            });
        }
        steps.push(Step::Knob {
            knob,
            change: Change::new(Some(now), Some(to)),
            put_back: false,
        });
    }
    for (&knob, &memory) in &seen.memory {
        if desired.knobs.contains_key(&knob) {
            continue;
        }
        // Put back only what is still ours: a value somebody set since stays.
        if seen.knobs.get(&knob) == Some(&memory.ours) && memory.ours != memory.previous {
            let change = Change::new(Some(memory.ours), Some(memory.previous));
            steps.push(Step::Knob {
                knob,
                change,
                put_back: true,
            });
        }
        steps.push(Step::Memory {
            knob,
            change: Change::new(Some(memory), None),
        });
    }
}

/// What makes two routes of one table the same place: the kernel holds one route for it.
fn place(route: &Route) -> (u32, IpNet, u32, u8) {
    (route.table.0, route.destination, route.metric, route.tos)
}

fn routes(desired: &Desired, seen: &Observed, steps: &mut Vec<Step>) {
    let ours: Vec<&Route> = seen
        .routes
        .iter()
        .filter(|route| desired.ownership.route(route))
        .collect();
    let wanted: BTreeMap<_, &Route> = desired
        .routes
        .iter()
        .map(|route| (place(route), route))
        .collect();
    // Two routes of ours can stand in one place (`ip route append`): the right one stays.
    let right = |route: &Route| wanted.get(&place(route)).is_some_and(|want| *want == route);
    let settled: BTreeSet<_> = ours.iter().filter(|r| right(r)).map(|r| place(r)).collect();
    let mut met = BTreeSet::new();
    for route in ours {
        if settled.contains(&place(route)) && !right(route) {
            steps.push(Step::Route {
                change: Change::new(Some(route.clone()), None),
            });
            continue;
        }
        match wanted.get(&place(route)) {
            Some(want) if met.insert(place(route)) => {
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

fn rules(desired: &Desired, seen: &Observed, steps: &mut Vec<Step>) {
    let ours = |rule: &&Rule| desired.ownership.rule(rule);
    let mut have: Vec<&Rule> = seen.rules.iter().filter(ours).collect();
    let mut wanted: Vec<&Rule> = desired.rules.iter().collect();
    have.sort();
    wanted.sort();
    wanted.dedup();
    let mut have = have.into_iter().peekable();
    // What is wanted and not ours, the kernel's own rule, may be there already.
    let there = |rule: &Rule| !desired.ownership.rule(rule) && seen.rules.contains(rule);
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
    seen: &BTreeMap<K, V>,
    steps: &mut Vec<Step>,
    step: impl Fn(K, Change<V>) -> Step,
) {
    for (key, want) in wanted {
        let have = seen.get(key);
        if have != Some(want) {
            steps.push(step(*key, Change::new(have.cloned(), Some(want.clone()))));
        }
    }
    for (key, have) in seen {
        if !wanted.contains_key(key) {
            steps.push(step(*key, Change::new(Some(have.clone()), None)));
        }
    }
}

fn datapath(wanted: Option<&WantedDatapath>, seen: &Observed, steps: &mut Vec<Step>) {
    let have = &seen.datapath;
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
    for (&(eni, direction), want) in programs {
        let from = have.attachments.get(&(eni, direction));
        if !from.is_some_and(|seen| want.satisfied_by(seen)) {
            let change = Change::new(
                from.cloned().map(Program::Seen),
                Some(Program::Wanted(*want)),
            );
            steps.push(Step::Program {
                eni,
                direction,
                change,
            });
        }
    }
    for (&(eni, direction), from) in &have.attachments {
        if !programs.contains_key(&(eni, direction)) {
            let change = Change::new(Some(Program::Seen(from.clone())), None);
            steps.push(Step::Program {
                eni,
                direction,
                change,
            });
        }
    }
}
