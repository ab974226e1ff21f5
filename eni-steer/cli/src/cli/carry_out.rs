//! Carries out a plan on this host and checks that nothing is left of it.

use std::io::Write;

use eni_steer_core::{apply::apply, desired::Desired, epoch::fingerprint, plan::Plan};
use eni_steer_linux::{
    bpf::PinRoot, epoch, executor::LinuxExecutor, paths::Paths, run_files, state::State,
};

use super::{
    context::Context,
    failure::{Exit, Failure},
};

/// Carries out the plan, reads the host again and plans again. If a step fails, undoes the steps
/// before it. If a second plan is not empty, another program works against it: an error.
pub(super) fn carry_out(context: &Context, desired: &Desired, plan: &Plan) -> Result<(), Failure> {
    let Context {
        netlink,
        paths,
        host,
        policy,
        ..
    } = context;
    if plan.is_empty() {
        return Ok(());
    }
    let mut executor = LinuxExecutor::new(netlink.clone(), paths.clone(), host, &policy.sizes)?;
    let report = apply(plan, &mut executor);
    drop(executor);
    if let Some((step, error)) = report.failed {
        let mut err = std::io::stderr().lock();
        for (step, error) in &report.left {
            writeln!(
                err,
                "warning: eni-steer could not undo this step, so the change stays: {} ({error})",
                step.describe(host)
            )?;
        }
        let undone = match report.undone.len() {
            0 => "nothing was changed".to_owned(),
            1 => "eni-steer undid the one step before it".to_owned(),
            undone => format!("eni-steer undid the {undone} steps before it"),
        };
        let text = step.describe(host);
        return Err(Failure::from(error).context(format!("this step failed: {text}; {undone}")));
    }
    // What is counted from now on is judged by how the host is now.
    begin_epoch(paths, None);
    let now = context.look_again(desired.ownership.protocol)?;
    let routes_of_others = || {
        let routes = host.routes.iter();
        routes.filter(|route| !desired.ownership.route(route))
    };
    let mut after = now.clone();
    after.routes.extend(routes_of_others().cloned());
    begin_epoch(paths, Some(fingerprint(&after, desired)));
    let left = Plan::between(desired, &now);
    match left.steps.first() {
        None => Ok(()),
        Some(step) => Err(Failure::new(
            Exit::Drift,
            anyhow::anyhow!(
                "every step succeeded, but {} differences from the policy are left, the first: {}",
                left.steps.len(),
                step.describe(host)
            ),
            "another program changes the same rules, routes or interfaces: find it, or let it \
             leave them alone; 'eni-steer status' lists the differences",
        )),
    }
}

/// Begins an epoch, or enters into one that has just begun what routing depends on.
fn begin_epoch(paths: &Paths, fingerprint: Option<u64>) {
    if let Err(error) = epoch::renew(paths, fingerprint, false) {
        tracing::debug!("cannot begin a new epoch: {error}");
    }
}

/// Removes what no plan lists: pins of an apply that was killed while it made them, saved values
/// of tunables and qdiscs (they are restored by now), and logs of the verifier.
pub(super) fn clear_leftovers(context: &Context) -> Result<(), Failure> {
    PinRoot::here(&context.paths.bpffs)?.clear()?;
    epoch::remove(&context.paths)?;
    run_files::remove_verifier_logs(&run_files::directory(&context.paths)?)?;
    Ok(State::default().write(&context.paths)?)
}
