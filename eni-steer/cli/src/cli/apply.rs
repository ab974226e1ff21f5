//! `apply`: compute the plan, carry it out, and check that nothing is left of it.

use eni_steer_core::plan::Plan;
use eni_steer_linux::{executor::warm_gateways, state::State};

use super::{
    args::{ApplyArgs, Global},
    carry_out::carry_out,
    config::note_unsaved,
    confirm,
    context::{Context, lock_changes, require_no_daemon, set_damaged_state_aside, sweep},
    failure::{Exit, Failure},
    off::require_on,
    plan::{print, print_done},
    privileges,
};

pub(super) fn run(global: &Global, args: &ApplyArgs) -> Result<Exit, Failure> {
    let lock = match args.dry_run {
        true => None,
        false => Some(lock_changes(global, "apply")?),
    };
    if lock.is_some() {
        privileges::raise_descriptors();
        require_on(&global.paths())?;
        set_damaged_state_aside(&global.paths())?;
        sweep(&global.paths());
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
    confirm::check_targets(&desired, &args.probe)?;
    // The guard starts before the first change: the change may cut off the session that runs
    // this command.
    let time = args
        .confirm
        .or((!args.probe.is_empty()).then_some(confirm::PROBING));
    let mut pending = match time {
        Some(time) => Some(confirm::prepare(global, &context, time)?),
        None => None,
    };
    if let Err(failure) = carry_out(&context, &desired, &plan) {
        // The guard needs the lock.
        drop(lock);
        return Err(match pending {
            // carry_out has undone everything, so there is nothing to confirm.
            Some(pending) if failure.exit() != Exit::Drift => {
                pending.cancel()?;
                failure
            }
            // Every step succeeded, but the result is not what was planned.
            Some(pending) => pending.give_up(global, failure)?,
            None => failure,
        });
    }
    // The change is in force. What fails from here on does not make it a failure.
    let policy = context.policy.clone();
    if let Err(error) = State::change(&context.paths, |state| state.policy = Some(policy)) {
        tracing::warn!(
            "the change is made, but eni-steer could not save the policy, so 'status' and 'plan' may \
             compare the host with another one: {:#}",
            anyhow::Error::from(error)
        );
    }
    match &mut pending {
        Some(pending) => pending.applied(),
        // Nothing that was undone before needs to be remembered.
        None => {
            if let Err(failure) = confirm::forget(&context.paths) {
                tracing::warn!("{}", failure.text());
            }
        }
    }
    warm_gateways(&context.netlink, &desired);
    print_done(global, &plan, &context.host);
    if let Err(failure) = note_unsaved(global, &args.policy) {
        tracing::warn!("{}", failure.text());
    }
    // The guard needs it if nobody confirms.
    drop(lock);
    match pending {
        Some(pending) if args.probe.is_empty() => pending.wait(global),
        Some(pending) => pending.probe(global, &context, &desired, &args.probe),
        None => Ok(Exit::Fine),
    }
}
