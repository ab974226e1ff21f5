//! One pass: read the host, compute what it should have, plan, and carry out the plan. If a step
//! fails, the others stay: the daemon tries the failed ones again in the next pass.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use eni_steer_core::{
    apply::{Executor, apply_best_effort},
    desired::{Absence, Desired, PolicyError},
    epoch, findings,
    model::{Host, Mode},
    plan::{Change, Plan, Step},
    policy::Policy,
};
use eni_steer_linux::{
    bpf, epoch as epoch_file,
    executor::{LinuxExecutor, StepError, warm_gateways},
    lock::{Lock, LockError, Scope},
    netlink::{Netlink, NetlinkError},
    observe::{ObserveError, observe},
    off,
    paths::Paths,
};

use super::{
    backoff::{Decision, RepairBackoff},
    worker::Job,
};

/// Why a pass changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A command that changes the host does not end.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// eni-steer could not read the host.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The host does not allow the policy.
    #[error("{0} ({hint})", hint = .0.hint())]
    Refused(#[from] PolicyError),
    /// eni-steer could not open its pins.
    #[error(transparent)]
    Bpf(#[from] bpf::BpfError),
}

/// What a pass did.
#[derive(Debug, Default)]
pub struct Done {
    /// Steps that succeeded, as plan lines.
    pub lines: Vec<String>,
    /// Steps that restore a rule or route another program had deleted.
    pub restored: Vec<String>,
    /// Steps that failed, each with the reason.
    pub failed: Vec<String>,
    /// Objects whose repair this pass has paused.
    pub given_up: Vec<String>,
    /// Findings about the host, as sentences.
    pub warnings: Vec<String>,
    /// Every object whose repair is paused.
    pub paused: Vec<String>,
    /// When the next pause ends.
    pub pause_ends: Option<Instant>,
    /// The emergency brake is on.
    pub is_off: bool,
    /// How long the pass took.
    pub took: Duration,
}

/// What a pass needs from the pass before it.
#[derive(Debug, Default)]
pub struct PassState {
    /// Rules and routes that were in place after the last pass, as plan lines.
    in_place: BTreeSet<String>,
    backoff: RepairBackoff,
    /// What routing depended on in the last pass, if it changed nothing.
    fingerprint: Option<u64>,
    /// When the last epoch began.
    epoch_began: Option<Instant>,
    /// When the band moved in front of rules without a priority.
    moves: Vec<Instant>,
}

/// How often other programs' rules may make the band move within [`MOVES_WITHIN`]. One program that
/// adds several rules, as `wg-quick up` does, counts once.
const BURSTS: usize = 3;
const MOVES_WITHIN: Duration = Duration::from_secs(60);
/// How long such a program may take, and how often the band may move meanwhile.
const BURST: Duration = Duration::from_secs(5);
const MOVES_OF_BURST: usize = 4;

/// Whether the band may move once more, after it moved at these times.
fn may_move(moves: &[Instant], now: Instant) -> bool {
    let mut bursts: Vec<(Instant, usize)> = Vec::new();
    for at in moves {
        match bursts.last_mut() {
            Some((first, count)) if at.duration_since(*first) < BURST => *count += 1,
            _ => bursts.push((*at, 1)),
        }
    }
    match bursts.last() {
        Some((first, count)) if now.duration_since(*first) < BURST => *count < MOVES_OF_BURST,
        _ => bursts.len() < BURSTS,
    }
}

/// How long a pass waits for a command that changes the host.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often an epoch begins at most while every pass changes something.
const EPOCH: Duration = Duration::from_secs(1);

/// An executor that refuses further steps once the daemon stops, so that a pass under way ends
/// after its current step.
struct Stoppable<'a> {
    executor: LinuxExecutor,
    stop: &'a AtomicBool,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the daemon stops before this step")]
    ByUs,
    #[error(transparent)]
    Failed(StepError),
}

impl Executor for Stoppable<'_> {
    type Error = Stopped;

    fn step(&mut self, step: &Step) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Stopped::ByUs);
        }
        self.executor.step(step).map_err(Stopped::Failed)
    }

    fn steps(&mut self, steps: &[Step]) -> Vec<Result<(), Stopped>> {
        if self.stop.load(Ordering::Relaxed) {
            return steps.iter().map(|_| Err(Stopped::ByUs)).collect();
        }
        let answers = self.executor.steps(steps).into_iter();
        answers
            .map(|answer| answer.map_err(Stopped::Failed))
            .collect()
    }
}

/// Does one pass. Once `stop` is set, it ends after its current step.
pub fn pass(
    netlink: &Netlink,
    paths: &Paths,
    job: &Job,
    state: &mut PassState,
    stop: &AtomicBool,
) -> Result<Done, PassError> {
    let began = Instant::now();
    let policy = &job.policy;
    let _lock = match Lock::obtain(paths, Scope::Changes, "run", PATIENCE, |_| {}) {
        Ok(lock) => Some(lock),
        Err(error @ LockError::Held(_)) => return Err(error.into()),
        // Where no file can be written, no command changes the host, and repairs go on.
        Err(LockError::File(error)) => {
            tracing::debug!("a pass without a lock: {error}");
            None
        }
    };
    let host = observe(netlink, paths)?;
    // A daemon waits for an ENI that is missing or down.
    let is_off = off::is_off(paths);
    let (desired, holds) = match is_off {
        true => {
            let hands_off = Desired::hands_off(&host, &policy.ownership);
            (hands_off, Hold::default())
        }
        false => {
            let desired = Desired::for_host(&host, policy, Absence::Wait, bpf::BUILD)?;
            hold_band(desired, &host, policy, state, began)?
        }
    };
    let mut plan = Plan::between(&desired, &host);
    let mut findings = findings::of_host(&host);
    findings.extend(findings::left_out(&host, policy, Absence::Wait, &desired));
    let mut done = Done {
        warnings: findings.iter().map(ToString::to_string).collect(),
        is_off,
        ..Done::default()
    };
    done.warnings.extend(holds.warning);
    done.pause_ends = holds.until;
    let missing: BTreeSet<String> = plan.steps.iter().map(|step| step.describe(&host)).collect();
    state.backoff.forget_present(&missing);
    let steers = host
        .datapath
        .enis
        .values()
        .any(|eni| eni.mode == Mode::Steer);
    let repair = Repair {
        by_process: job.removed_by_process,
        steers,
        now: began,
    };
    plan.steps
        .retain(|step| is_due(step, &host, state, &mut done, repair));
    let fingerprint = plan.is_empty().then(|| epoch::fingerprint(&host, &desired));
    if !plan.is_empty() {
        let executor = LinuxExecutor::new(netlink.clone(), paths.clone(), &host, &policy.sizes)?;
        let report = apply_best_effort(&plan, &mut Stoppable { executor, stop });
        let describe = |step: &Step| step.describe(&host);
        done.lines = report.done.iter().map(describe).collect();
        done.failed = report
            .failed
            .iter()
            .map(|(step, error)| format!("{}: {}", describe(step), chain(error)))
            .collect();
        warm_gateways(netlink, &desired);
    }
    // After the steps: what is counted from now on is judged by how the host is now.
    // While another program keeps deleting what a pass restores, once a second is enough.
    let lately = state.epoch_began.is_some_and(|at| at.elapsed() < EPOCH);
    if (fingerprint.is_none() && !lately)
        || (fingerprint.is_some() && fingerprint != state.fingerprint)
    {
        if let Err(error) = epoch_file::renew(paths, fingerprint, false) {
            tracing::debug!("cannot begin a new epoch: {error}");
        }
        state.epoch_began = Some(Instant::now());
    }
    state.fingerprint = fingerprint;
    let add_rule = |rule| Step::Rule {
        change: Change {
            from: None,
            to: Some(rule),
        },
    };
    let add_route = |route| Step::Route {
        change: Change {
            from: None,
            to: Some(route),
        },
    };
    let rules = desired.rules.iter().cloned().map(add_rule);
    let routes = desired.routes.iter().cloned().map(add_route);
    let in_place = rules.chain(routes).map(|step| step.describe(&host));
    state.in_place = in_place.collect();
    state.backoff.forget_old(began);
    let now = Instant::now();
    let paused = state.backoff.paused(now).into_iter();
    done.paused = paused.map(str::to_owned).collect();
    let next_end = state.backoff.next_end(now);
    done.pause_ends = done.pause_ends.into_iter().chain(next_end).min();
    done.took = began.elapsed();
    Ok(done)
}

/// What keeps the band from moving once more.
#[derive(Default)]
struct Hold {
    warning: Option<String>,
    /// When it may move again.
    until: Option<Instant>,
}

/// Lets the band move in front of other programs' rules, but not again and again: two programs that
/// each want to be first would never end.
fn hold_band(
    desired: Desired,
    host: &Host,
    policy: &Policy,
    state: &mut PassState,
    now: Instant,
) -> Result<(Desired, Hold), PolicyError> {
    let at = Desired::band_now(host, &policy.ownership);
    let Some(at) = at.filter(|at| desired.ownership.first < *at) else {
        return Ok((desired, Hold::default()));
    };
    state
        .moves
        .retain(|moved| now.duration_since(*moved) < MOVES_WITHIN);
    if may_move(&state.moves, now) {
        state.moves.push(now);
        return Ok((desired, Hold::default()));
    }
    let policy = Policy {
        ownership: policy.ownership.staying_at(at),
        ..policy.clone()
    };
    let desired = Desired::for_host(host, &policy, Absence::Wait, bpf::BUILD)?;
    let rules = findings::placed_rules(host, &policy, &desired);
    let rules: Vec<String> = rules.into_iter().map(|finding| finding.object).collect();
    let hold = Hold {
        warning: Some(format!(
            "other programs add rules without a priority again and again, and eni-steer has moved its \
             own in front of them {} times within a minute: it waits before it does so once more; in \
             front of eni-steer's now: {}",
            state.moves.len(),
            rules.join("; ")
        )),
        until: state.moves.first().map(|first| *first + MOVES_WITHIN),
    };
    Ok((desired, hold))
}

/// What is known about the repairs of a pass.
#[derive(Clone, Copy, Debug)]
struct Repair {
    /// A process may have removed what is missing.
    by_process: bool,
    /// Programs keep traffic symmetric while a repair is paused.
    steers: bool,
    now: Instant,
}

/// Whether the pass carries out a step now. It does not if the step repairs an object whose repair
/// is paused.
fn is_due(
    step: &Step,
    host: &Host,
    state: &mut PassState,
    done: &mut Done,
    repair: Repair,
) -> bool {
    let text = step.describe(host);
    if !state.in_place.contains(&text) {
        return true;
    }
    let Repair {
        by_process,
        steers,
        now,
    } = repair;
    if !by_process && !state.backoff.is_paused(&text, now) {
        done.restored.push(text);
        return true;
    }
    match state.backoff.missing(&text, steers, now) {
        Decision::Restore => {
            done.restored.push(text);
            true
        }
        Decision::GiveUp => {
            done.given_up.push(text);
            false
        }
        Decision::Wait => false,
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(error.to_string().lines().next().unwrap_or_default());
        cause = error.source();
    }
    text
}

impl PassError {
    /// Whether an interface vanished while the pass read the host. Another pass at once succeeds.
    pub fn is_race(&self) -> bool {
        match self {
            Self::Observe(ObserveError::Netlink(error)) => NetlinkError::is_gone(error),
            Self::Observe(ObserveError::Bpf(error)) | Self::Bpf(error) => error.is_gone(),
            Self::Locked(_) | Self::Observe(_) | Self::Refused(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_follows_programs_that_add_several_rules_but_not_for_ever() {
        let start = Instant::now();
        let at = |ms: &[u64]| -> Vec<Instant> {
            ms.iter()
                .map(|ms| start + Duration::from_millis(*ms))
                .collect()
        };
        let may = |moves: &[u64], now| may_move(&at(moves), start + Duration::from_millis(now));
        assert!(may(&[], 0));
        // One program, of several rules.
        assert!(may(&[0, 200, 400], 600));
        assert!(!may(&[0, 200, 400, 600], 800));
        // Up, down and up again.
        assert!(may(&[0, 200, 10_000], 10_200));
        assert!(may(&[0, 200, 10_000, 10_200], 20_000));
        assert!(!may(&[0, 10_000, 20_000], 30_000));
    }
}
