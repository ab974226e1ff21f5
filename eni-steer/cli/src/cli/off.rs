//! `off` and `on`: the emergency brake.
//!
//! The file in the run directory is the brake; the daemon obeys it too. `off` does not rely on the
//! daemon: it does everything itself, and it does not wait for a process that hangs.

use std::{
    thread,
    time::{Duration, Instant},
};

use eni_steer_core::{apply::apply_best_effort, desired::Desired, plan::Plan, policy::Policy};
use eni_steer_linux::{
    executor::LinuxExecutor,
    lock::{self, Lock, Scope},
    netlink::Netlink,
    observe::observe_despite_programs,
    off,
    paths::Paths,
    state::State,
};

use super::{
    apply,
    args::{ApplyArgs, Global, PolicyArgs},
    context::{Context, require_privilege},
    failure::{Exit, Failure},
    plan::{print_removal, print_removed},
};

/// How long `off` waits for a process that changes the host.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long `on` waits for the daemon.
const SOON: Duration = Duration::from_secs(5);

/// `off`: takes everything away that decides about packets.
pub(super) fn off(global: &Global) -> Result<Exit, Failure> {
    require_privilege()?;
    let paths = global.paths();
    // First of all, so that a daemon stops restoring what goes now.
    off::set(&paths)?;
    let lock = Lock::obtain(&paths, Scope::Changes, "off", PATIENCE, |_| {});
    if let Err(error) = &lock {
        eprintln!("{error}: going on without waiting for it");
    }
    // A process that was at work, or a daemon that acts at the same moment, may change something
    // after it was read.
    let mut left = take_away(global, &paths)?;
    for _ in 0..3 {
        if left.is_empty() {
            break;
        }
        left = take_away(global, &paths)?;
    }
    drop(lock);
    match left.first() {
        None => {
            println!("OFF  'eni-steer on' brings everything back");
            Ok(Exit::Fine)
        }
        Some(first) => Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("{} changes are not undone, the first: {first}", left.len()),
            "run 'eni-steer off' again, or 'eni-steer remove'; 'eni-steer status' shows what is left",
        )),
    }
}

/// Carries out as much as possible. Returns what is still to be done.
fn take_away(global: &Global, paths: &Paths) -> Result<Vec<String>, Failure> {
    let netlink = Netlink::open()?;
    // Rules and routes go also where the programs' maps cannot be read.
    let (host, unread) = observe_despite_programs(&netlink, paths)?;
    let (state, _damaged) = State::read_to_report(paths)?;
    // Without a state, what carries the default protocol number is ours.
    let policy = state.policy.unwrap_or_else(Policy::default);
    let desired = Desired::hands_off(&host, &policy.ownership);
    let plan = Plan::between(&desired, &host);
    let programs = || {
        let unread = unread.as_ref();
        unread.map(|error| format!("the mode of the programs, because {error}"))
    };
    if plan.is_empty() {
        return Ok(programs().into_iter().collect());
    }
    let mut executor = LinuxExecutor::new(netlink.clone(), paths.clone(), &host, &policy.sizes)?;
    let report = apply_best_effort(&plan, &mut executor);
    for (step, error) in &report.failed {
        eprintln!("warning: {}: {error}", step.describe(&host));
    }
    print_removed(global, &plan, &host);
    let (now, _unread) = observe_despite_programs(&netlink, paths)?;
    let rest = Plan::between(&Desired::hands_off(&now, &policy.ownership), &now);
    let rest = rest.steps.iter().map(|step| step.describe(&now));
    Ok(rest.chain(programs()).collect())
}

/// `on`: puts everything back that the policy says.
pub(super) fn on(global: &Global) -> Result<Exit, Failure> {
    require_privilege()?;
    let paths = global.paths();
    let was_off = off::is_off(&paths);
    off::clear(&paths)?;
    if !was_off {
        println!("eni-steer was not off");
        return Ok(Exit::Fine);
    }
    if let Some(daemon) = lock::holder(&paths, Scope::Daemon) {
        return wait_for_daemon(global, daemon.pid);
    }
    let (state, _damaged) = State::read_to_report(&paths)?;
    if state.policy.is_none() {
        println!("nothing was applied before, so nothing comes back");
        return Ok(Exit::Fine);
    }
    apply::run(global, &ApplyArgs::default())
}

/// Waits until the daemon has done what the policy says.
fn wait_for_daemon(global: &Global, pid: u32) -> Result<Exit, Failure> {
    let began = Instant::now();
    loop {
        let context = Context::new(global, &PolicyArgs::default())?;
        let plan = Plan::between(&context.desired()?, &context.host);
        if plan.is_empty() {
            println!("ON  the daemon (pid {pid}) has put everything back");
            return Ok(Exit::Fine);
        }
        if began.elapsed() > SOON {
            print_removal(global, &plan, &context.host)?;
            return Err(Failure::new(
                Exit::Drift,
                anyhow::anyhow!("the daemon (pid {pid}) has not put everything back"),
                "if it hangs, restart it: 'systemctl restart eni-steer'",
            ));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Refuses a command that would bring back what `off` has removed.
pub(super) fn require_on(paths: &Paths) -> Result<(), Failure> {
    match off::is_off(paths) {
        false => Ok(()),
        true => Err(Failure::refused(
            "eni-steer is off (the emergency brake), so nothing is applied".to_owned(),
            "release it with 'eni-steer on'",
        )),
    }
}
