//! The host: where a step meets netlink, bpf, sysctls and the state file.

use std::{collections::BTreeMap, mem::discriminant};

use eni_steer_core::{
    apply::Executor,
    desired::Desired,
    model::{
        AttachKind, Group, Hook, Host, IfIndex, Link, Names, Rule, SavedValue, Tunable, TunableKind,
    },
    plan::{Change, Program, Step},
    policy::Sizes,
};

use crate::{
    bpf,
    netlink::{self, Netlink, NetlinkError, Request},
    paths::Paths,
    run_files,
    state::{State, StateError},
    sysctl,
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
pub struct LinuxExecutor {
    netlink: Netlink,
    paths: Paths,
    links: BTreeMap<IfIndex, Link>,
    pins: bpf::PinRoot,
    maps: Option<bpf::Maps>,
    limits: bpf::Limits,
    /// Programs of steps to come, loaded together: that is faster by far.
    loaded: Vec<(bpf::Wanted, Result<bpf::LoadedProgram, bpf::BpfError>)>,
}

impl LinuxExecutor {
    /// The host as it was observed.
    pub fn new(
        netlink: Netlink,
        paths: Paths,
        host: &Host,
        sizes: &Sizes,
    ) -> Result<Self, bpf::BpfError> {
        let pins = bpf::PinRoot::here(&paths.bpffs)?;
        Ok(Self {
            netlink,
            paths,
            links: host.links.clone(),
            pins,
            maps: None,
            limits: bpf::Limits {
                addresses: sizes.addresses,
                source_bytes: sizes.sources_bytes,
                ..bpf::Limits::default()
            },
            loaded: Vec::new(),
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

    /// Asks routing for steps, all at once.
    fn routing(&self, steps: Vec<(&Step, Request)>) -> Vec<Result<(), StepError>> {
        let (steps, requests): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        let what = |at: usize| words(steps[at]);
        let answers = self.netlink.change_all(requests, what);
        let answers = steps
            .iter()
            .zip(answers)
            .map(|(step, answer)| match answer {
                // The same rule is there, made since the plan was: that is what was wanted.
                Err(error) if matches!(step, Step::Rule { .. }) && error.exists() => Ok(()),
                // It went by itself, with its interface or its link, or somebody flushed it.
                Err(error) if removes(step) && error.is_gone() => Ok(()),
                other => Ok(other?),
            });
        answers.collect()
    }

    fn routing_step(&self, step: &Step) -> Result<(), StepError> {
        let asked = request(step).map(|request| (step, request));
        let answers = self.routing(asked.into_iter().collect());
        answers.into_iter().collect()
    }

    fn rule(&self, change: &Change<Rule>) -> Result<(), StepError> {
        // Of a replacement, first the new one comes, then the old one goes.
        let Change { from, to } = change.clone();
        for change in [Change { from: None, to }, Change { from, to: None }] {
            self.routing_step(&Step::Rule { change })?;
        }
        Ok(())
    }

    fn remember<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a Tunable, &'a Change<SavedValue>)>,
    ) -> Result<(), StateError> {
        State::change(&self.paths, |state| {
            for (tunable, change) in changes {
                match change.to {
                    Some(saved) => state.saved.insert(*tunable, saved),
                    None => state.saved.remove(tunable),
                };
            }
        })
    }

    fn program(&mut self, hook: Hook, change: &Change<Program>) -> Result<(), StepError> {
        let (kind, log_level) = match &change.to {
            None => return self.detach(hook),
            Some(program) => kind_and_log_level(program),
        };
        let Hook::Tc { eni, direction } = hook;
        let wanted = bpf::Wanted {
            ifindex: eni,
            direction,
            log_level,
        };
        let ahead = self.loaded.iter().position(|(this, _)| *this == wanted);
        let program = match ahead {
            Some(at) => self.loaded.swap_remove(at).1,
            None => bpf::load(self.maps()?, eni, direction, log_level),
        };
        let program = program.map_err(|error| self.with_verifier_log(error))?;
        // Written down before the qdisc can come into being: a crash in between leaves a
        // note of a qdisc that is not there, never a qdisc that nobody remembers.
        let noted = State::read(&self.paths)?.clsact.contains(&eni);
        let may_add = !noted
            && kind != Some(AttachKind::Tcx)
            && bpf::clsact_qdisc(&self.netlink, eni)?.is_none();
        if may_add {
            self.note_clsact(eni, true)?;
        }
        let netlink = self.netlink.clone();
        let attached = bpf::attach_loaded(self.maps()?, &netlink, wanted, kind, &program);
        let added = matches!(&attached, Ok(done) if done.qdisc_added);
        if may_add && !added {
            self.note_clsact(eni, false)?;
        }
        attached?;
        Ok(())
    }

    /// Loads the programs of the steps to come, all at once, if the first of them is not loaded.
    fn load_ahead(&mut self, steps: &[Step]) -> Result<(), StepError> {
        let wanted: Vec<bpf::Wanted> = steps.iter().map_while(program_wanted).collect();
        let known = |first: &bpf::Wanted| self.loaded.iter().any(|(this, _)| this == first);
        if wanted.first().is_some_and(|first| !known(first)) {
            let loaded = bpf::load_all(self.maps()?, &wanted)?;
            self.loaded = wanted.into_iter().zip(loaded).collect();
        }
        Ok(())
    }

    /// Keeps the verifier's log in the run directory, if the error has one.
    fn with_verifier_log(&self, error: bpf::BpfError) -> bpf::BpfError {
        match run_files::directory(&self.paths) {
            Ok(directory) => error.keep_verifier_log(&directory),
            Err(_no_namespace) => error,
        }
    }

    fn detach(&mut self, hook: Hook) -> Result<(), StepError> {
        let Hook::Tc { eni, direction } = hook;
        let ours = State::read(&self.paths)?.clsact.contains(&eni);
        bpf::detach(&self.pins, &self.netlink, eni, direction, ours)?;
        if ours && bpf::clsact_qdisc(&self.netlink, eni)?.is_none() {
            self.note_clsact(eni, false)?;
        }
        Ok(())
    }

    /// Takes another layout away. Attaching replaces the filters of clsact, which stand in the
    /// same place in every layout; where nothing was attached they go as well.
    fn retire(&mut self, layout: u32) -> Result<(), StepError> {
        if bpf::Maps::open(&self.pins)?.is_none() {
            let ethernet = self.links.values().filter(|link| link.mac.is_some());
            let ethernet: Vec<IfIndex> = ethernet.map(|link| link.index).collect();
            for eni in ethernet {
                for hook in Hook::tc_of(eni) {
                    self.detach(hook)?;
                }
            }
        }
        Ok(self.pins.retire(layout)?)
    }

    fn note_clsact(&self, eni: IfIndex, added: bool) -> Result<(), StateError> {
        State::change(&self.paths, |state| {
            if added {
                state.clsact.insert(eni);
            } else {
                state.clsact.remove(&eni);
            }
        })
    }
}

/// Removes pins that cannot be read, and the programs that hang on them: no plan can name what
/// they hold, and `remove` must work all the same. Returns whether there were any.
///
/// # Errors
/// The host could not be read or changed.
pub fn clear_unreadable(netlink: &Netlink, paths: &Paths) -> Result<bool, StepError> {
    let pins = bpf::PinRoot::here(&paths.bpffs)?;
    let qdiscs = State::read(paths)?.clsact;
    let interfaces = netlink.interfaces()?;
    let links = interfaces.iter().map(|(link, _)| link);
    let ethernet = links.filter(|link| link.is_ethernet());
    let ethernet = ethernet.map(|link| link.index).collect();
    Ok(bpf::clear_unreadable(&pins, netlink, &ethernet, &qdiscs)?)
}

/// Asks for the gateways' MAC addresses, where programs may steer to them. It only saves the first
/// packet's wait: a refusal costs nothing but that.
pub fn warm_gateways(netlink: &Netlink, desired: &Desired) {
    if desired.datapath.is_none() {
        return;
    }
    let gateways = desired.enis.iter().flat_map(|eni| {
        let gateways = eni.gateways.iter();
        gateways.map(|gateway| (eni.index, gateway.address))
    });
    for refused in netlink.warm_neighbours(&gateways.collect::<Vec<_>>()) {
        tracing::info!("cannot warm a neighbour: {refused}");
    }
}

fn kind_and_log_level(program: &Program) -> (Option<AttachKind>, u8) {
    let (kind, log_level) = match program {
        Program::Wanted(wanted) => (wanted.kind, wanted.log_level.unwrap_or_default()),
        // Undoing a replacement: the program of this build takes the old one's place; the old
        // object is not kept anywhere.
        Program::Seen(seen) => (Some(seen.kind), seen.log_level),
    };
    (kind, u8::try_from(log_level).unwrap_or(u8::MAX))
}

/// The program that a step attaches.
fn program_wanted(step: &Step) -> Option<bpf::Wanted> {
    match step {
        Step::Program {
            hook: Hook::Tc { eni, direction },
            change,
        } => Some(bpf::Wanted {
            ifindex: *eni,
            direction: *direction,
            log_level: kind_and_log_level(change.to.as_ref()?).1,
        }),
        _ => None,
    }
}

/// Whether a step only takes a route or a rule away.
fn removes(step: &Step) -> bool {
    match step {
        Step::Route { change } => change.to.is_none(),
        Step::Rule { change } => change.to.is_none(),
        _ => false,
    }
}

/// Interfaces by their index: the name may be gone when the kernel refuses a request.
struct Indexes;

impl Names for Indexes {
    fn name(&self, index: IfIndex) -> String {
        format!("#{index}")
    }
}

/// What to ask the kernel for, where a step is one request to routing.
fn request(step: &Step) -> Option<Request> {
    match step {
        Step::Tunable {
            tunable, change, ..
        } if tunable.kind == TunableKind::Group => {
            let group = Group(change.to.unwrap_or_default());
            Some(netlink::link::set_group(tunable.index, group))
        }
        Step::Route { change } => match (&change.from, &change.to) {
            (None, Some(route)) => Some(netlink::route::add(route)),
            (Some(_), Some(route)) => Some(netlink::route::replace(route)),
            (Some(route), None) => Some(netlink::route::delete(route)),
            (None, None) => None,
        },
        Step::Rule { change } => match (&change.from, &change.to) {
            (None, Some(rule)) => Some(netlink::rule::add(rule)),
            (Some(rule), None) => Some(netlink::rule::delete(rule)),
            _ => None,
        },
        _ => None,
    }
}

/// The same in the words of ip(8), for what was refused.
fn words(step: &Step) -> String {
    match step {
        Step::Tunable {
            tunable, change, ..
        } => {
            let group = change.to.unwrap_or_default();
            format!("ip link set dev #{} group {group}", tunable.index)
        }
        Step::Route { change } => {
            let (verb, route) = match (&change.from, &change.to) {
                (None, Some(route)) => ("add", route),
                (Some(_), Some(route)) => ("replace", route),
                (Some(route), None) => ("del", route),
                (None, None) => return String::new(),
            };
            let family = route.family();
            format!("ip {family} route {verb} {}", route.describe(&Indexes))
        }
        Step::Rule { change } => match (&change.from, &change.to) {
            (_, Some(rule)) => format!("ip {} rule add {rule}", rule.family),
            (Some(rule), None) => format!("ip {} rule del {rule}", rule.family),
            (None, None) => String::new(),
        },
        _ => String::new(),
    }
}

impl Executor for LinuxExecutor {
    type Error = StepError;

    fn steps(&mut self, steps: &[Step]) -> Vec<Result<(), StepError>> {
        let Some(step) = steps.first() else {
            return Vec::new();
        };
        // Of one kind, and no removal behind an addition: what has to come before the others
        // is known to be there when they are asked for.
        let alike = steps.iter().take_while(|other| {
            discriminant(*other) == discriminant(step) && removes(other) == removes(step)
        });
        if let Step::SavedValue { .. } = step {
            let changes: Vec<_> = alike
                .filter_map(|step| match step {
                    Step::SavedValue { tunable, change } => Some((tunable, change)),
                    _ => None,
                })
                .collect();
            let count = changes.len();
            return match self.remember(changes) {
                Ok(()) => (0..count).map(|_| Ok(())).collect(),
                // The file is replaced as a whole, or not at all.
                Err(error) => vec![Err(error.into())],
            };
        }
        if let Err(error) = self.load_ahead(steps) {
            return vec![Err(error)];
        }
        let asked: Vec<_> = alike
            .map_while(|step| Some((step, request(step)?)))
            .collect();
        if asked.is_empty() {
            vec![self.step(step)]
        } else {
            self.routing(asked)
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), StepError> {
        tracing::debug!(?step);
        match step {
            Step::SavedValue { tunable, change } => self.remember([(tunable, change)])?,
            Step::Tunable { tunable, .. } if tunable.kind == TunableKind::Group => {
                self.routing_step(step)?;
            }
            Step::Tunable {
                tunable, change, ..
            } => {
                let name = self.name(tunable.index)?;
                sysctl::write(name, tunable.kind, change.to.unwrap_or_default())
                    .map_err(StepError::Sysctl)?;
            }
            Step::Route { .. } => self.routing_step(step)?,
            Step::Rule { change } => self.rule(change)?,
            Step::Settings { change } => match (&change.from, &change.to) {
                (None, Some(settings)) => {
                    bpf::ensure_bpffs(&self.paths.bpffs)?;
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
            Step::RemoveOldLayout {
                layout,
                removed: true,
            } => self.retire(*layout)?,
            Step::RemoveOldLayout { layout, .. } => return Err(StepError::Retired(*layout)),
            Step::Program { hook, change } => self.program(*hook, change)?,
        }
        Ok(())
    }
}
