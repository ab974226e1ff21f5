//! The host: where a step meets netlink, bpf, sysctls and the state file.

use std::collections::BTreeMap;

use super::Kernel;
use crate::{
    bpf,
    model::{Direction, IfIndex, KnobKind, Link},
    netlink::{Netlink, NetlinkError},
    observe::{Observed, Places, State, StateError, write_sysctl},
    plan::{Change, Program, Step},
    policy::Sizes,
};

/// Why the host did not do a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Routing.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Programs and maps.
    #[error(transparent)]
    Bpf(#[from] bpf::Error),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sysctl.
    #[error("cannot set a sysctl")]
    Sysctl(#[source] std::io::Error),
    /// The interface is gone.
    #[error("interface {0} is gone")]
    Gone(IfIndex),
}

/// The host of the calling thread's network namespace.
pub struct Host {
    netlink: Netlink,
    places: Places,
    links: BTreeMap<IfIndex, Link>,
    pins: bpf::PinRoot,
    maps: Option<bpf::Maps>,
    limits: bpf::Limits,
}

impl Host {
    /// The host as it was observed.
    pub fn new(
        netlink: Netlink,
        places: Places,
        seen: &Observed,
        sizes: &Sizes,
    ) -> Result<Self, bpf::Error> {
        let pins = bpf::PinRoot::here(&places.bpffs)?;
        Ok(Self {
            netlink,
            places,
            links: seen.links.clone(),
            pins,
            maps: None,
            limits: bpf::Limits::new(sizes.addresses, sizes.sources_bytes),
        })
    }

    fn name(&self, index: IfIndex) -> Result<&str, StepError> {
        self.links.get(&index).map(|link| link.name.as_str()).ok_or(StepError::Gone(index))
    }

    fn maps(&mut self) -> Result<&mut bpf::Maps, StepError> {
        if self.maps.is_none() {
            self.maps = bpf::Maps::open(&self.pins)?;
        }
        self.maps.as_mut().ok_or_else(|| bpf::Error::not_there(&self.pins).into())
    }

    async fn route(&self, change: &Change<crate::model::Route>) -> Result<(), StepError> {
        match change {
            Change { from: None, to: Some(route) } => match self.netlink.add_route(route).await {
                // The very place is taken although the plan saw it free: somebody was
                // faster. Not ours to replace.
                Err(error) => Err(error.into()),
                Ok(()) => Ok(()),
            },
            Change { from: Some(_), to: Some(route) } => {
                Ok(self.netlink.replace_route(route).await?)
            }
            Change { from: Some(route), to: None } => {
                match self.netlink.delete_route(route).await {
                    // It went by itself, with its interface or its link: it is gone.
                    Err(error) if error.is_gone() => Ok(()),
                    other => Ok(other?),
                }
            }
            Change { from: None, to: None } => Ok(()),
        }
    }

    async fn rule(&self, change: &Change<crate::model::Rule>) -> Result<(), StepError> {
        if let Some(rule) = &change.to {
            match self.netlink.add_rule(rule).await {
                // The same rule is there, made since the plan was: that is what was wanted.
                Err(error) if error.exists() => {}
                other => other?,
            }
        }
        if let Some(rule) = &change.from {
            match self.netlink.delete_rule(rule).await {
                // Somebody flushed it: it is gone.
                Err(error) if error.is_gone() => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn program(
        &mut self,
        eni: IfIndex,
        direction: Direction,
        change: &Change<Program>,
    ) -> Result<(), StepError> {
        let Some(to) = &change.to else {
            let state = State::read(&self.places)?;
            let remove_qdisc = state.clsact.contains(&eni);
            let link = self.links.get(&eni).cloned();
            let maps = self.maps()?;
            let removed = bpf::detach(maps, eni, link.as_ref(), direction, remove_qdisc).await?;
            if removed.qdisc {
                State::change(&self.places, |state| {
                    state.clsact.remove(&eni);
                })?;
            }
            return Ok(());
        };
        let request = match to {
            Program::Wanted(wanted) => {
                bpf::Request { kind: wanted.kind, log_level: wanted.log_level }
            }
            // Undoing a replacement: the program of this build takes the old one's place;
            // the old object is not kept anywhere.
            Program::Seen(seen) => {
                bpf::Request { kind: Some(seen.kind), log_level: seen.log_level }
            }
        };
        let link = self.links.get(&eni).cloned().ok_or(StepError::Gone(eni))?;
        // Written down before the qdisc can come into being: a crash in between leaves a
        // note of a qdisc that is not there, never a qdisc that nobody remembers.
        let state = State::read(&self.places)?;
        let noted = state.clsact.contains(&eni);
        let may_add = !bpf::has_clsact(eni).await?;
        if may_add && !noted {
            State::change(&self.places, |state| {
                state.clsact.insert(eni);
            })?;
        }
        let maps = self.maps()?;
        let attached = bpf::attach(maps, &link, direction, &request).await;
        let keeps = matches!(&attached, Ok(done) if done.qdisc_added);
        if may_add && !noted && !keeps {
            State::change(&self.places, |state| {
                state.clsact.remove(&eni);
            })?;
        }
        attached?;
        Ok(())
    }
}

impl Kernel for Host {
    type Error = StepError;

    async fn step(&mut self, step: &Step) -> Result<(), StepError> {
        tracing::debug!(?step);
        match step {
            Step::Memory { knob, change } => {
                State::change(&self.places, |state| {
                    match change.to {
                        Some(memory) => state.memory.insert(*knob, memory),
                        None => state.memory.remove(knob),
                    };
                })?;
            }
            Step::Knob { knob, change, .. } => {
                let value = change.to.unwrap_or_default();
                match knob.kind {
                    KnobKind::Group => {
                        let group = crate::model::Group(value);
                        self.netlink.set_group(knob.index, group).await?;
                    }
                    kind => {
                        let name = self.name(knob.index)?;
                        write_sysctl(name, kind, value).map_err(StepError::Sysctl)?;
                    }
                }
            }
            Step::Route { change } => self.route(change).await?,
            Step::Rule { change } => self.rule(change).await?,
            Step::Settings { change } => match (&change.from, &change.to) {
                (None, Some(settings)) => {
                    bpf::ensure_bpffs(&self.places.bpffs)?;
                    let mut maps = bpf::Maps::create(&self.pins, &self.limits)?;
                    maps.set_settings(settings)?;
                    self.maps = Some(maps);
                }
                (Some(_), Some(settings)) => self.maps()?.set_settings(settings)?,
                (Some(_), None) => {
                    self.maps()?;
                    if let Some(maps) = self.maps.take() {
                        maps.remove()?;
                    }
                }
                (None, None) => {}
            },
            Step::Eni { eni, change } => self.maps()?.set_eni(*eni, change.to.as_ref())?,
            Step::Owner { net, change } => self.maps()?.set_owner(*net, change.to)?,
            Step::NextHop { eni, net, change } => {
                self.maps()?.set_next_hop(*eni, *net, change.to)?;
            }
            Step::Exempt { net, exempt } => self.maps()?.set_exempt(*net, *exempt)?,
            Step::Program { eni, direction, change } => {
                self.program(*eni, *direction, change).await?;
            }
        }
        Ok(())
    }
}
