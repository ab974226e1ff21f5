//! Does a plan on this host and checks that nothing is left of it.

use std::io::Write;

use eni_steer_core::{apply::apply, desired::Desired, plan::Plan};
use eni_steer_linux::{bpf::PinRoot, executor::LinuxExecutor, run_files, state::State};

use super::{
    context::Context,
    failure::{Exit, Failure},
};

/// Does the plan, and verifies that nothing is left of it.
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
                "warning: could not undo: {} ({error})",
                step.describe(host)
            )?;
        }
        let undone = match report.undone.len() {
            0 => "nothing was changed".to_owned(),
            1 => "undid the one step before it".to_owned(),
            undone => format!("undid the {undone} steps before it"),
        };
        let text = step.describe(host);
        return Err(Failure::from(error).context(format!("step failed: {text}; {undone}")));
    }
    let now = context.look_again(desired.ownership.protocol)?;
    let left = Plan::between(desired, &now);
    match left.steps.first() {
        None => Ok(()),
        Some(step) => Err(Failure::new(
            Exit::Drift,
            anyhow::anyhow!(
                "after apply, {} differences from the policy are left, the first: {}",
                left.steps.len(),
                step.describe(host)
            ),
            "another program changes the same rules, routes or interfaces; 'eni-steer status' \
             shows them",
        )),
    }
}

/// Removes what no plan can name: pins of an apply that was cut off while it made them, and the
/// saved values of tunables and qdiscs that are restored by now.
pub(super) fn clear_leftovers(context: &Context) -> Result<(), Failure> {
    PinRoot::here(&context.paths.bpffs)?.clear()?;
    run_files::remove_verifier_logs(&run_files::directory(&context.paths)?)?;
    Ok(State::default().write(&context.paths)?)
}
