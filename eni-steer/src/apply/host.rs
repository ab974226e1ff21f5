//! The host: where a step meets netlink, bpf, sysctls and the state file.

use std::collections::BTreeMap;

use super::Kernel;
use crate::{
    bpf,
    desired::Desired,
    model::{AttachKind, Direction, Group, IfIndex, KnobKind, Link, Route, Rule},
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
    Bpf(#[from] bpf::BpfError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sysctl.
    #[error("cannot set a sysctl")]
    Sysctl(#[source] std::io::Error),
    /// The maps went away between the observation and the step.
    #[error("the maps' pins are gone")]
    NoMaps,
    /// The pins of another layout are gone for good.
    #[error("layout {0} is retired and nothing brings it back")]
    Retired(u32),
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
    ) -> Result<Self, bpf::BpfError> {
        let pins = bpf::PinRoot::here(&places.bpffs)?;
        Ok(Self {
            netlink,
            places,
            links: seen.links.clone(),
            pins,
            maps: None,
            limits: bpf::Limits {
                addresses: sizes.addresses,
                source_bytes: sizes.sources_bytes,
                ..bpf::Limits::default()
            },
        })
    }

    fn name(&self, index: IfIndex) -> Result<&str, StepError> {
        self.links
            .get(&index)
            .map(|link| link.name.as_str())
            .ok_or(StepError::Gone(index))
    }

    fn maps(&mut self) -> Result<&mut bpf::Maps, StepError> {
        if self.maps.is_none() {
            self.maps = bpf::Maps::open(&self.pins)?;
        }
        self.maps.as_mut().ok_or(StepError::NoMaps)
    }

    async fn route(&self, change: &Change<Route>) -> Result<(), StepError> {
        match change {
            Change {
                from: None,
                to: Some(route),
            } => Ok(self.netlink.add_route(route).await?),
            Change {
                from: Some(_),
                to: Some(route),
            } => Ok(self.netlink.replace_route(route).await?),
            Change {
                from: Some(route),
                to: None,
            } => {
                match self.netlink.delete_route(route).await {
                    // It went by itself, with its interface or its link: it is gone.
                    Err(error) if error.is_gone() => Ok(()),
                    other => Ok(other?),
                }
            }
            Change {
                from: None,
                to: None,
            } => Ok(()),
        }
    }

    async fn rule(&self, change: &Change<Rule>) -> Result<(), StepError> {
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
        let (kind, log_level) = match &change.to {
            None => return self.detach(eni, direction).await,
            Some(Program::Wanted(wanted)) => (wanted.kind, wanted.log_level),
            // Undoing a replacement: the program of this build takes the old one's place;
            // the old object is not kept anywhere.
            Some(Program::Seen(seen)) => (Some(seen.kind), seen.log_level),
        };
        // Written down before the qdisc can come into being: a crash in between leaves a
        // note of a qdisc that is not there, never a qdisc that nobody remembers.
        let noted = State::read(&self.places)?.clsact.contains(&eni);
        let may_add = !noted
            && kind != Some(AttachKind::Tcx)
            && bpf::clsact_qdisc(&self.netlink, eni).await?.is_none();
        if may_add {
            self.note_clsact(eni, true)?;
        }
        let log_level = u8::try_from(log_level).unwrap_or(u8::MAX);
        let netlink = self.netlink.clone();
        let attached = bpf::attach(self.maps()?, &netlink, eni, direction, kind, log_level).await;
        let added = matches!(&attached, Ok(done) if done.qdisc_added);
        if may_add && !added {
            self.note_clsact(eni, false)?;
        }
        attached?;
        Ok(())
    }

    async fn detach(&mut self, eni: IfIndex, direction: Direction) -> Result<(), StepError> {
        let ours = State::read(&self.places)?.clsact.contains(&eni);
        bpf::detach(&self.pins, &self.netlink, eni, direction, ours).await?;
        if ours && bpf::clsact_qdisc(&self.netlink, eni).await?.is_none() {
            self.note_clsact(eni, false)?;
        }
        Ok(())
    }

    /// Takes another layout away. Attaching replaces the filters of clsact, which stand in the
    /// same place in every layout; where nothing was attached they go as well.
    async fn retire(&mut self, layout: u32) -> Result<(), StepError> {
        if bpf::Maps::open(&self.pins)?.is_none() {
            let ethernet = self.links.values().filter(|link| link.mac.is_some());
            let ethernet: Vec<IfIndex> = ethernet.map(|link| link.index).collect();
            for eni in ethernet {
                for direction in [Direction::Ingress, Direction::Egress] {
                    self.detach(eni, direction).await?;
                }
            }
        }
        Ok(self.pins.retire(layout)?)
    }

    fn note_clsact(&self, eni: IfIndex, added: bool) -> Result<(), StateError> {
        State::change(&self.places, |state| {
            if added {
                state.clsact.insert(eni);
            } else {
                state.clsact.remove(&eni);
            }
        })
    }
}

/// Asks for the gateways' MAC addresses. It only saves the first packet's wait: a refusal costs
/// nothing but that.
pub async fn warm_gateways(netlink: &Netlink, desired: &Desired) {
    for eni in &desired.enis {
        for gateway in &eni.gateways {
            if let Err(error) = netlink.warm_neighbour(eni.index, gateway.address).await {
                tracing::info!("cannot warm the neighbour {}: {error}", gateway.address);
            }
        }
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
                        let group = Group(value);
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
            Step::Eni { eni, change } => {
                self.maps()?.set_eni(*eni, change.to.as_ref())?;
                if change.to.is_none() {
                    bpf::sweep(&self.pins)?;
                }
            }
            Step::Owner { net, change } => self.maps()?.set_owner(*net, change.to)?,
            Step::NextHop { eni, net, change } => {
                self.maps()?.set_next_hop(*eni, *net, change.to)?;
            }
            Step::Exempt { net, exempt } => self.maps()?.set_exempt(*net, *exempt)?,
            Step::Retire {
                layout,
                retired: true,
            } => self.retire(*layout).await?,
            Step::Retire { layout, .. } => return Err(StepError::Retired(*layout)),
            Step::Program {
                eni,
                direction,
                change,
            } => {
                self.program(*eni, *direction, change).await?;
            }
        }
        Ok(())
    }
}
