//! A model of the kernel: an observation to which steps can be done. Properties of plans
//! are tested on it, and `plan` can say what a host would look like.

use super::Kernel;
use crate::{
    model::{AttachKind, Attachment, Group, KnobKind},
    observe::Observed,
    plan::{Program, Step},
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
            Step::Memory { knob, change } => match change.to {
                Some(memory) => drop(seen.memory.insert(*knob, memory)),
                None => drop(seen.memory.remove(knob)),
            },
            Step::Knob { knob, change, .. } => {
                let value = change.to.ok_or(Refused("a knob always has a value"))?;
                seen.knobs.insert(*knob, value);
                if knob.kind == KnobKind::Group
                    && let Some(link) = seen.links.get_mut(&knob.index)
                {
                    link.group = Group(value);
                }
            }
            Step::Route { change } => {
                if let Some(from) = &change.from {
                    let at = seen.routes.iter().position(|route| route == from);
                    seen.routes.remove(at.ok_or(Refused("no such route"))?);
                }
                if let Some(to) = &change.to {
                    let taken = seen.routes.iter().any(|route| {
                        (route.table, route.destination, route.metric, route.tos)
                            == (to.table, to.destination, to.metric, to.tos)
                    });
                    if taken {
                        return Err(Refused("a route stands in this place"));
                    }
                    seen.routes.push(to.clone());
                }
            }
            Step::Rule { change } => {
                if let Some(to) = &change.to {
                    if seen.rules.contains(to) {
                        return Err(Refused("the rule exists"));
                    }
                    let at = seen
                        .rules
                        .iter()
                        .position(|rule| rule.family == to.family && rule.priority > to.priority)
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
            Step::Eni { eni, change } => match &change.to {
                Some(row) => drop(seen.datapath.enis.insert(*eni, row.clone())),
                None => drop(seen.datapath.enis.remove(eni)),
            },
            Step::Owner { net, change } => match change.to {
                Some(owner) => drop(seen.datapath.owners.insert(*net, owner)),
                None => drop(seen.datapath.owners.remove(net)),
            },
            Step::NextHop { eni, net, change } => {
                if !seen.datapath.enis.contains_key(eni) {
                    return Err(Refused("the ENI is not known"));
                }
                match change.to {
                    Some(hop) => drop(seen.datapath.next_hops.insert((*eni, *net), hop)),
                    None => drop(seen.datapath.next_hops.remove(&(*eni, *net))),
                }
            }
            Step::Exempt { net, exempt } => {
                if *exempt {
                    seen.datapath.exempt.insert(*net);
                } else {
                    seen.datapath.exempt.remove(net);
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

impl Kernel for ModelKernel {
    type Error = Refused;

    async fn step(&mut self, step: &Step) -> Result<(), Refused> {
        self.do_step(step)
    }
}
