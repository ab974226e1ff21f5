//! Executes the steps of a plan on this host, through netlink, BPF, sysctls and the state file.

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

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The kernel refused a change of routes, rules or an interface.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A program or a map could not be changed.
    #[error(transparent)]
    Bpf(#[from] bpf::BpfError),
    /// The state file could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sysctl could not be set.
    #[error("cannot set a sysctl")]
    Sysctl(#[source] std::io::Error),
    /// Another program removed the pinned maps after eni-steer had read the host.
    #[error("eni-steer's BPF maps are no longer pinned: another program removed them")]
    NoMaps,
    /// Undoing would have to restore the maps of another layout, which have been deleted.
    #[error("the maps of layout {0} were deleted and cannot be restored")]
    Retired(u32),
    /// The interface was removed after eni-steer had read the host.
    #[error("interface {0} no longer exists")]
    Gone(IfIndex),
}

/// Executes steps in the network namespace of the thread that created it.
pub struct LinuxExecutor {
    netlink: Netlink,
    paths: Paths,
    links: BTreeMap<IfIndex, Link>,
    pins: bpf::PinRoot,
    maps: Option<bpf::Maps>,
    limits: bpf::Limits,
    /// Programs that later steps attach. Loading them together is much faster.
    loaded: Vec<(bpf::Wanted, Result<bpf::LoadedProgram, bpf::BpfError>)>,
}

impl LinuxExecutor {
    /// An executor for the host as it was read. `sizes` are the sizes of maps it may have to
    /// create.
    ///
    /// # Errors
    /// The network namespace of the calling thread cannot be determined.
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

    /// Sends the netlink requests of several steps at once and returns the result of each.
    fn send_requests(&self, steps: Vec<(&Step, Request)>) -> Vec<Result<(), StepError>> {
        let (steps, requests): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        let what = |at: usize| ip_command(steps[at]);
        let answers = self.netlink.change_all(requests, what);
        let answers = steps
            .iter()
            .zip(answers)
            .map(|(step, answer)| match answer {
                // Another program added the same rule since the plan was made: nothing is missing.
                Err(error) if matches!(step, Step::Rule { .. }) && error.exists() => Ok(()),
                // The object was deleted before: by the kernel with its interface, or by another
                // program.
                Err(error) if removes(step) && error.is_gone() => Ok(()),
                other => Ok(other?),
            });
        answers.collect()
    }

    fn send_request(&self, step: &Step) -> Result<(), StepError> {
        let request = netlink_request(step).map(|request| (step, request));
        let answers = self.send_requests(request.into_iter().collect());
        answers.into_iter().collect()
    }

    fn change_rule(&self, change: &Change<Rule>) -> Result<(), StepError> {
        // To replace a rule, add the new one first and then delete the old one.
        let Change { from, to } = change.clone();
        for change in [Change { from: None, to }, Change { from, to: None }] {
            self.send_request(&Step::Rule { change })?;
        }
        Ok(())
    }

    /// Records or forgets previous values in the state file.
    fn save_values<'a>(
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

    /// Attaches, replaces or detaches a program.
    fn change_program(&mut self, hook: Hook, change: &Change<Program>) -> Result<(), StepError> {
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
        let loaded = self.loaded.iter().position(|(this, _)| *this == wanted);
        let program = match loaded {
            Some(at) => self.loaded.swap_remove(at).1,
            None => bpf::load(self.maps()?, eni, direction, log_level),
        };
        let program = program.map_err(|error| self.with_verifier_log(error))?;
        // Recorded before the qdisc is added. If eni-steer crashes in between, the state file names
        // a qdisc that does not exist; the reverse, a qdisc that nobody removes, cannot happen.
        let recorded = State::read(&self.paths)?.clsact.contains(&eni);
        let may_add = !recorded
            && kind != Some(AttachKind::Tcx)
            && bpf::clsact_qdisc(&self.netlink, eni)?.is_none();
        if may_add {
            self.record_clsact(eni, true)?;
        }
        let netlink = self.netlink.clone();
        let attached = bpf::attach_loaded(self.maps()?, &netlink, wanted, kind, &program);
        let added = matches!(&attached, Ok(done) if done.qdisc_added);
        if may_add && !added {
            self.record_clsact(eni, false)?;
        }
        attached?;
        Ok(())
    }

    /// Loads the programs of the coming steps, all at once, unless the first of them is loaded.
    fn load_ahead(&mut self, steps: &[Step]) -> Result<(), StepError> {
        let wanted: Vec<bpf::Wanted> = steps.iter().map_while(program_wanted).collect();
        let is_loaded = |first: &bpf::Wanted| self.loaded.iter().any(|(this, _)| this == first);
        if wanted.first().is_some_and(|first| !is_loaded(first)) {
            let loaded = bpf::load_all(self.maps()?, &wanted)?;
            self.loaded = wanted.into_iter().zip(loaded).collect();
        }
        Ok(())
    }

    /// Writes the verifier's log, if the error contains one, to a file in the run directory.
    fn with_verifier_log(&self, error: bpf::BpfError) -> bpf::BpfError {
        match run_files::directory(&self.paths) {
            Ok(directory) => error.keep_verifier_log(&directory),
            Err(_no_namespace) => error,
        }
    }

    /// Detaches eni-steer's program from a hook, and removes the clsact qdisc if eni-steer added
    /// it.
    fn detach(&mut self, hook: Hook) -> Result<(), StepError> {
        let Hook::Tc { eni, direction } = hook;
        let added = State::read(&self.paths)?.clsact.contains(&eni);
        bpf::detach(&self.pins, &self.netlink, eni, direction, added)?;
        if added && bpf::clsact_qdisc(&self.netlink, eni)?.is_none() {
            self.record_clsact(eni, false)?;
        }
        Ok(())
    }

    /// Deletes the pins of another layout. Clsact filters have the same priority and handle in
    /// every layout, so a program attached before has replaced them. If this layout has no maps, no
    /// program was attached, and the filters of the other layout are removed here.
    fn remove_old_layout(&mut self, layout: u32) -> Result<(), StepError> {
        if bpf::Maps::open(&self.pins)?.is_none() {
            let ethernet = self.links.values().filter(|link| link.mac.is_some());
            let ethernet: Vec<IfIndex> = ethernet.map(|link| link.index).collect();
            for eni in ethernet {
                for hook in Hook::tc_of(eni) {
                    self.detach(hook)?;
                }
            }
        }
        Ok(self.pins.remove_layout(layout)?)
    }

    fn record_clsact(&self, eni: IfIndex, added: bool) -> Result<(), StateError> {
        State::change(&self.paths, |state| {
            if added {
                state.clsact.insert(eni);
            } else {
                state.clsact.remove(&eni);
            }
        })
    }
}

/// Removes eni-steer's pins and programs if the pins cannot be read. A plan cannot name what such
/// pins hold, and `eni-steer remove` must work all the same. Returns whether there were any.
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

/// Asks the kernel to resolve the gateways' MAC addresses if programs may steer packets to them.
/// This only spares the first steered packet the wait, so a refusal is only logged.
pub fn warm_gateways(netlink: &Netlink, desired: &Desired) {
    if desired.datapath.is_none() {
        return;
    }
    let gateways = desired.enis.iter().flat_map(|eni| {
        let gateways = eni.gateways.iter();
        gateways.map(|gateway| (eni.index, gateway.address))
    });
    for refused in netlink.warm_neighbours(&gateways.collect::<Vec<_>>()) {
        tracing::info!("cannot resolve a gateway in advance: {refused}");
    }
}

/// How to attach a program, and the level of its developers' log.
fn kind_and_log_level(program: &Program) -> (Option<AttachKind>, u8) {
    let (kind, log_level) = match program {
        Program::Wanted(wanted) => (wanted.kind, wanted.log_level.unwrap_or_default()),
        // To undo a replacement, eni-steer attaches the program of this build: it does not keep the
        // object of the old one.
        Program::Seen(seen) => (Some(seen.kind), seen.log_level),
    };
    (kind, u8::try_from(log_level).unwrap_or(u8::MAX))
}

/// The program that a step attaches; `None` if the step attaches no program.
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

/// Returns whether a step deletes a route or a rule.
fn removes(step: &Step) -> bool {
    match step {
        Step::Route { change } => change.to.is_none(),
        Step::Rule { change } => change.to.is_none(),
        _ => false,
    }
}

/// Names interfaces by their index, because the name may no longer exist when the kernel refuses a
/// request.
struct IndexNames;

impl Names for IndexNames {
    fn name(&self, index: IfIndex) -> String {
        format!("#{index}")
    }
}

/// The netlink request of a step; `None` if the step is not exactly one netlink request.
fn netlink_request(step: &Step) -> Option<Request> {
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

/// The ip(8) command that does the same as the request of a step: an error names it.
fn ip_command(step: &Step) -> String {
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
            format!("ip {family} route {verb} {}", route.describe(&IndexNames))
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
        // One batch holds steps of one kind, and either additions or deletions. So everything that
        // must be done first has succeeded before the next batch is sent.
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
            return match self.save_values(changes) {
                Ok(()) => (0..count).map(|_| Ok(())).collect(),
                // The file is replaced as a whole: if that fails, no value is recorded.
                Err(error) => vec![Err(error.into())],
            };
        }
        if let Err(error) = self.load_ahead(steps) {
            return vec![Err(error)];
        }
        let requests: Vec<_> = alike
            .map_while(|step| Some((step, netlink_request(step)?)))
            .collect();
        if requests.is_empty() {
            vec![self.step(step)]
        } else {
            self.send_requests(requests)
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), StepError> {
        tracing::debug!(?step);
        match step {
            Step::SavedValue { tunable, change } => self.save_values([(tunable, change)])?,
            Step::Tunable { tunable, .. } if tunable.kind == TunableKind::Group => {
                self.send_request(step)?;
            }
            Step::Tunable {
                tunable, change, ..
            } => {
                let name = self.name(tunable.index)?;
                sysctl::write(name, tunable.kind, change.to.unwrap_or_default())
                    .map_err(StepError::Sysctl)?;
            }
            Step::Route { .. } => self.send_request(step)?,
            Step::Rule { change } => self.change_rule(change)?,
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
                    bpf::remove_stale_links(&self.pins)?;
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
            } => self.remove_old_layout(*layout)?,
            Step::RemoveOldLayout { layout, .. } => return Err(StepError::Retired(*layout)),
            Step::Program { hook, change } => self.change_program(*hook, change)?,
        }
        Ok(())
    }
}
