//! `apply`: plan, do, look again.

use std::io::Write;

use super::{
    args::{ApplyArgs, Global},
    confirm,
    context::{Context, require_no_daemon},
    failure::{Exit, Failure},
    plan::print,
};
use crate::{
    apply::{Host, apply, warm_gateways},
    bpf::PinRoot,
    desired::Desired,
    observe::State,
    plan::{Plan, line},
    policy::{Missing, Policy},
};

pub(super) async fn run(global: &Global, args: &ApplyArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &args.policy).await?;
    let desired = context.desired()?;
    let plan = Plan::between(&desired, &context.seen);
    if args.dry_run {
        print(global, &plan, &context.seen)?;
        return Ok(Exit::Fine);
    }
    let kept = Policy {
        missing: Missing::Refuse,
        ..context.policy.clone()
    };
    if context.state.policy.as_ref() != Some(&kept) {
        require_no_daemon(&context.daemon, "another policy")?;
    }
    // The guard stands before the first change: the session that runs this may be what the
    // change cuts off.
    let mut pending = match args.confirm {
        Some(time) => Some(confirm::prepare(global, &context, time)?),
        None => None,
    };
    let done = carry_out(&context, &desired, &plan).await;
    if done.is_err()
        && let Some(pending) = &pending
    {
        // Everything is undone already: there is nothing to confirm.
        pending.cancel()?;
    }
    done?;
    if let Some(pending) = &mut pending {
        pending.applied()?;
    }
    State::change(&context.places, |state| state.policy = Some(kept))?;
    warm_gateways(&context.netlink, &desired).await;
    print(global, &plan, &context.seen)?;
    match pending {
        Some(pending) => pending.wait(),
        None => Ok(Exit::Fine),
    }
}

/// Takes away what no plan can name: pins of an apply that was cut off while it made them,
/// notes of knobs and qdiscs that are put back.
pub(super) fn clear_leftovers(context: &Context) -> Result<(), Failure> {
    PinRoot::here(&context.places.bpffs)?.clear()?;
    Ok(State::default().write(&context.places)?)
}

/// Does the plan and verifies that nothing is left of it.
pub(super) async fn carry_out(
    context: &Context,
    desired: &Desired,
    plan: &Plan,
) -> Result<(), Failure> {
    let Context {
        netlink,
        places,
        seen,
        policy,
        ..
    } = context;
    if plan.is_empty() {
        return Ok(());
    }
    let mut host = Host::new(netlink.clone(), places.clone(), seen, &policy.sizes)?;
    let report = apply(plan, &mut host).await;
    drop(host);
    if let Some((step, error)) = report.failed {
        let mut err = std::io::stderr().lock();
        for (step, error) in &report.left {
            writeln!(
                err,
                "warning: could not be undone: {} ({error})",
                line(step, seen)
            )?;
        }
        let undone = report.undone.len();
        let text = line(&step, seen);
        return Err(Failure::from(error).context(format!(
            "step failed: {text}; the {undone} steps that were done are undone"
        )));
    }
    let now = context.look_again(desired.ownership.protocol).await?;
    let left = Plan::between(desired, &now);
    match left.steps.first() {
        None => Ok(()),
        Some(step) => Err(Failure::new(
            Exit::Drift,
            anyhow::anyhow!(
                "{} of {} steps are still to be done after apply, the first: {}",
                left.steps.len(),
                plan.steps.len(),
                line(step, seen)
            ),
            "somebody else changes the same objects; 'eni-steer status' shows who is here",
        )),
    }
}
