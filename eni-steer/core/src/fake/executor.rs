//! A model of the kernel that carries out steps on a [`Host`] value. Tests of plans use it.

use std::collections::BTreeMap;

use crate::apply::Executor;
use crate::{
    model::{
        AttachKind, Attachment, Group, Host, Route, Rule, TunableKind, covers, host_prefix,
        link_local,
    },
    plan::{Change, Program, Step},
};

/// An executor that changes a value instead of a kernel.
#[derive(Clone, Debug)]
pub struct FakeExecutor {
    /// The host with all changes so far.
    pub host: Host,
}

/// Why the model refuses a step: mostly because the object is not as the step expects it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the kernel would refuse: {0}")]
pub struct Refused(&'static str);

impl FakeExecutor {
    fn do_step(&mut self, step: &Step) -> Result<(), Refused> {
        let host = &mut self.host;
        match step {
            Step::SavedValue { tunable, change } => {
                expect(host.saved.get(tunable), change)?;
                put(&mut host.saved, *tunable, change.to);
            }
            Step::Tunable {
                tunable, change, ..
            } => {
                expect(host.tunables.get(tunable), change)?;
                let value = change.to.ok_or(Refused("a tunable always has a value"))?;
                host.tunables.insert(*tunable, value);
                if tunable.kind == TunableKind::Group
                    && let Some(link) = host.links.get_mut(&tunable.index)
                {
                    link.group = Group(value);
                }
            }
            Step::Route { change } => {
                let Change { from, to } = change;
                let find = |from: &Route| {
                    let at = host.routes.iter().position(|route| route == from);
                    at.ok_or(Refused("no such route"))
                };
                let at = from.as_ref().map(find).transpose()?;
                if let Some(to) = to {
                    accept_route(host, to, from.is_some())?;
                }
                match (at, to) {
                    (Some(at), Some(to)) => host.routes[at] = to.clone(),
                    (Some(at), None) => drop(host.routes.remove(at)),
                    (None, Some(to)) => host.routes.push(to.clone()),
                    (None, None) => {}
                }
            }
            Step::Rule { change } => {
                if let Some(to) = &change.to
                    // The kernel answers EEXIST; the executor accepts that, since the rule exists.
                    && !host.rules.contains(to)
                {
                    let behind =
                        |rule: &Rule| (rule.family, rule.priority) > (to.family, to.priority);
                    let at = host
                        .rules
                        .iter()
                        .position(behind)
                        .unwrap_or(host.rules.len());
                    host.rules.insert(at, to.clone());
                }
                if let Some(from) = &change.from {
                    let at = host.rules.iter().position(|rule| rule == from);
                    host.rules.remove(at.ok_or(Refused("no such rule"))?);
                }
            }
            Step::Settings { change } => {
                if change.to.is_none()
                    && (!host.datapath.attachments.is_empty() || !host.datapath.enis.is_empty())
                {
                    return Err(Refused("maps in use"));
                }
                expect(host.datapath.settings.as_ref(), change)?;
                host.datapath.settings = change.to;
            }
            Step::Eni { .. }
            | Step::Owner { .. }
            | Step::NextHop { .. }
            | Step::Exempt { .. }
            | Step::Program { .. }
                if host.datapath.settings.is_none() =>
            {
                return Err(Refused("there are no maps"));
            }
            Step::Eni { eni, change } => {
                expect(host.datapath.enis.get(eni), change)?;
                put(&mut host.datapath.enis, *eni, change.to.clone());
            }
            Step::Owner { net, change } => {
                expect(host.datapath.owners.get(net), change)?;
                put(&mut host.datapath.owners, *net, change.to);
            }
            Step::NextHop { eni, net, change } => {
                if !host.datapath.enis.contains_key(eni) {
                    return Err(Refused("the ENI is not known"));
                }
                expect(host.datapath.next_hops.get(&(*eni, *net)), change)?;
                put(&mut host.datapath.next_hops, (*eni, *net), change.to);
            }
            Step::Exempt { net, exempt } => {
                if *exempt {
                    host.datapath.exempt.insert(*net);
                } else {
                    host.datapath.exempt.remove(net);
                }
            }
            Step::RemoveOldLayout { layout, removed } => {
                if !removed || !host.other_layouts.remove(layout) {
                    return Err(Refused("no such layout"));
                }
            }
            Step::Program { hook, change } => {
                let key = *hook;
                let attachments = &mut host.datapath.attachments;
                match &change.to {
                    Some(Program::Seen(attachment)) => {
                        attachments.insert(key, attachment.clone());
                    }
                    Some(Program::Wanted(wanted)) => {
                        let attachment = Attachment {
                            kind: wanted.kind.unwrap_or(AttachKind::Tcx),
                            build: wanted.build,
                            log_level: wanted.log_level.unwrap_or_default(),
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

/// Refuses the step unless the object is as the step expects it.
fn expect<T: PartialEq>(current: Option<&T>, change: &Change<T>) -> Result<(), Refused> {
    if current == change.from.as_ref() {
        Ok(())
    } else {
        Err(Refused("the object is not as the step expects it"))
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// Refuses a route that the kernel would refuse: its place is taken, one of its interfaces is down,
/// or a gateway is not a neighbour.
fn accept_route(host: &Host, to: &Route, replaces: bool) -> Result<(), Refused> {
    let mut in_place = host.routes.iter().filter(|route| route.key() == to.key());
    if if replaces {
        in_place.any(|route| route == to)
    } else {
        in_place.next().is_some()
    } {
        return Err(Refused("another route is in this place"));
    }
    for hop in &to.hops {
        if !host.links.get(&hop.out).is_some_and(|link| link.up) {
            return Err(Refused("the link is down"));
        }
        let Some(gateway) = hop.gateway else { continue };
        let on_link = |route: &Route| {
            let by = route
                .hop_by(hop.out)
                .is_some_and(|hop| hop.gateway.is_none());
            by && covers(route.destination, host_prefix(gateway))
        };
        let neighbour = hop.onlink
            || (gateway.is_ipv6() && link_local(gateway))
            || host.routes.iter().any(on_link);
        if !neighbour {
            return Err(Refused("the gateway is not a neighbour"));
        }
    }
    Ok(())
}

impl Executor for FakeExecutor {
    type Error = Refused;

    fn step(&mut self, step: &Step) -> Result<(), Refused> {
        self.do_step(step)
    }
}
