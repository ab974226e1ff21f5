//! `apply`: compute the plan, carry it out, and check that nothing is left of it.

use eni_steer_core::plan::Plan;
use eni_steer_linux::{executor::warm_gateways, state::State};

use super::{
    args::{ApplyArgs, Global},
    carry_out::carry_out,
    confirm,
    context::{Context, lock_changes, require_no_daemon},
    failure::{Exit, Failure},
    plan::print,
};

pub(super) fn run(global: &Global, args: &ApplyArgs) -> Result<Exit, Failure> {
    let lock = match args.dry_run {
        true => None,
        false => Some(lock_changes(global, "apply")?),
    };
    if lock.is_some() {
        confirm::require_none(&global.paths())?;
    }
    let context = Context::new(global, &args.policy)?;
    let desired = context.desired()?;
    let plan = Plan::between(&desired, &context.host);
    context.warn(&desired);
    if args.dry_run {
        print(global, &plan, &context.host)?;
        return Ok(Exit::Fine);
    }
    if context.state.policy.as_ref() != Some(&context.policy) {
        require_no_daemon(&context.paths, "'apply' with other settings")?;
    }
    // The guard starts before the first change: the change may cut off the session that runs
    // this command.
    let mut pending = match args.confirm {
        Some(time) => Some(confirm::prepare(global, &context, time)?),
        None => None,
    };
    let done = carry_out(&context, &desired, &plan);
    if done.is_err()
        && let Some(pending) = &pending
    {
        // carry_out has undone everything, so there is nothing to confirm.
        pending.cancel()?;
    }
    done?;
    let policy = context.policy.clone();
    State::change(&context.paths, |state| state.policy = Some(policy))?;
    if let Some(pending) = &mut pending {
        pending.applied()?;
    } else {
        // Nothing that was undone before needs to be remembered.
        confirm::forget(&context.paths)?;
    }
    warm_gateways(&context.netlink, &desired);
    print(global, &plan, &context.host)?;
    // The guard needs it if nobody confirms.
    drop(lock);
    match pending {
        Some(pending) => pending.wait(global),
        None => Ok(Exit::Fine),
    }
}
