//! A model of the kernel: an observation to which steps can be done. Properties of plans
//! are tested on it, and `plan` can say what a host would look like.

use std::collections::BTreeMap;

use super::Kernel;
use crate::{
    model::{AttachKind, Attachment, Group, KnobKind, Route, Rule, covers, host, link_local},
    observe::Observed,
    plan::{Change, Program, Step},
};

/// The model: holds what the kernel would.
#[derive(Clone, Debug)]
pub struct ModelKernel {
    /// What an observation of it would show.
    pub seen: Observed,
}

/// A step the model can not do: what it changes is not as the step says.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the kernel would refuse: {0}")]
pub struct Refused(&'static str);

impl ModelKernel {
    fn do_step(&mut self, step: &Step) -> Result<(), Refused> {
        let seen = &mut self.seen;
        match step {
            Step::Memory { knob, change } => {
                expect(seen.memory.get(knob), change)?;
                put(&mut seen.memory, *knob, change.to);
            }
            Step::Knob { knob, change, .. } => {
                expect(seen.knobs.get(knob), change)?;
                let value = change.to.ok_or(Refused("a knob always has a value"))?;
                seen.knobs.insert(*knob, value);
                if knob.kind == KnobKind::Group
                    && let Some(link) = seen.links.get_mut(&knob.index)
                {
                    link.group = Group(value);
                }
            }
            Step::Route { change } => {
                let Change { from, to } = change;
                let at = from.as_ref().map(|from| {
                    let found = seen.routes.iter().position(|route| route == from);
                    found.ok_or(Refused("no such route"))
                });
                let at = at.transpose()?;
                if let Some(to) = to {
                    accept_route(seen, to, from.is_some())?;
                }
                match (at, to) {
                    (Some(at), Some(to)) => seen.routes[at] = to.clone(),
                    (Some(at), None) => drop(seen.routes.remove(at)),
                    (None, Some(to)) => seen.routes.push(to.clone()),
                    (None, None) => {}
                }
            }
            Step::Rule { change } => {
                if let Some(to) = &change.to
                    // The kernel says EEXIST, which is what was wanted.
                    && !seen.rules.contains(to)
                {
                    let behind =
                        |rule: &Rule| (rule.family, rule.priority) > (to.family, to.priority);
                    let at = seen
                        .rules
                        .iter()
                        .position(behind)
                        .unwrap_or(seen.rules.len());
                    seen.rules.insert(at, to.clone());
                }
                if let Some(from) = &change.from {
                    let at = seen.rules.iter().position(|rule| rule == from);
                    seen.rules.remove(at.ok_or(Refused("no such rule"))?);
                }
            }
            Step::Settings { change } => {
                if change.to.is_none()
                    && (!seen.datapath.attachments.is_empty() || !seen.datapath.enis.is_empty())
                {
                    return Err(Refused("maps in use"));
                }
                expect(seen.datapath.settings.as_ref(), change)?;
                seen.datapath.settings = change.to;
            }
            Step::Eni { .. }
            | Step::Owner { .. }
            | Step::NextHop { .. }
            | Step::Exempt { .. }
            | Step::Program { .. }
                if seen.datapath.settings.is_none() =>
            {
                return Err(Refused("there are no maps"));
            }
            Step::Eni { eni, change } => {
                expect(seen.datapath.enis.get(eni), change)?;
                put(&mut seen.datapath.enis, *eni, change.to.clone());
            }
            Step::Owner { net, change } => {
                expect(seen.datapath.owners.get(net), change)?;
                put(&mut seen.datapath.owners, *net, change.to);
            }
            Step::NextHop { eni, net, change } => {
                if !seen.datapath.enis.contains_key(eni) {
                    return Err(Refused("the ENI is not known"));
                }
                expect(seen.datapath.next_hops.get(&(*eni, *net)), change)?;
                put(&mut seen.datapath.next_hops, (*eni, *net), change.to);
            }
            Step::Exempt { net, exempt } => {
                if *exempt {
                    seen.datapath.exempt.insert(*net);
                } else {
                    seen.datapath.exempt.remove(net);
                }
            }
            Step::Retire { layout, retired } => {
                if !retired || !seen.other_layouts.remove(layout) {
                    return Err(Refused("no such layout"));
                }
            }
            Step::Program {
                eni,
                direction,
                change,
            } => {
                let key = (*eni, *direction);
                let attachments = &mut seen.datapath.attachments;
                match &change.to {
                    Some(Program::Seen(attachment)) => {
                        attachments.insert(key, attachment.clone());
                    }
                    Some(Program::Wanted(wanted)) => {
                        let attachment = Attachment {
                            kind: wanted.kind.unwrap_or(AttachKind::Tcx),
                            build: wanted.build,
                            log_level: wanted.log_level,
                        };
                        attachments.insert(key, attachment);
                    }
                    None => {
                        attachments.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is there has to be what the step changes.
fn expect<T: PartialEq>(there: Option<&T>, change: &Change<T>) -> Result<(), Refused> {
    if there == change.from.as_ref() {
        Ok(())
    } else {
        Err(Refused("it is not as the step says"))
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// What the kernel asks of a new route: a free place, links that are up, gateways that are
/// neighbours.
fn accept_route(seen: &Observed, to: &Route, replaces: bool) -> Result<(), Refused> {
    let place = |route: &Route| (route.table, route.destination, route.metric, route.tos);
    let mut there = seen.routes.iter().filter(|route| place(route) == place(to));
    if if replaces {
        there.any(|route| route == to)
    } else {
        there.next().is_some()
    } {
        return Err(Refused("a route stands in this place"));
    }
    for hop in &to.hops {
        if !seen.links.get(&hop.out).is_some_and(|link| link.up) {
            return Err(Refused("the link is down"));
        }
        let Some(gateway) = hop.gateway else { continue };
        let on_link = |route: &Route| {
            let by = route
                .hop_by(hop.out)
                .is_some_and(|leg| leg.gateway.is_none());
            by && covers(route.destination, host(gateway))
        };
        let neighbour = hop.onlink
            || (gateway.is_ipv6() && link_local(gateway))
            || seen.routes.iter().any(on_link);
        if !neighbour {
            return Err(Refused("the gateway is no neighbour"));
        }
    }
    Ok(())
}

impl Kernel for ModelKernel {
    type Error = Refused;

    async fn step(&mut self, step: &Step) -> Result<(), Refused> {
        self.do_step(step)
    }
}
