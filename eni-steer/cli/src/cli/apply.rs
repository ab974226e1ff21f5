//! `apply`: compute the plan, carry it out, and check that nothing is left of it.

use std::time::{Duration, Instant};

use eni_steer_core::{
    desired::Desired,
    model::Reachability,
    plan::Plan,
    report::{Carried, host_after},
    verify::{Inspection, gateways_to_ask},
};
use eni_steer_linux::{doctor, executor::warm_gateways, state::State};

use super::{
    args::{ApplyArgs, Global},
    carry_out::carry_out,
    config::note_unsaved,
    confirm,
    context::{Context, lock_changes, require_no_daemon, set_damaged_state_aside, sweep},
    failure::{Exit, Failure},
    off::require_on,
    origin,
    plan::{print_applied, show, summary},
    privileges,
    seen::ask,
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
    context.basis().warn(&desired);
    let summary = summary(&plan, &desired, &context.host);
    if args.dry_run {
        return show(global, &plan, &context.host, origin::here(), summary);
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
    let began = Instant::now();
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
    let took = began.elapsed();
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
    let carried = (!plan.is_empty())
        .then(|| check(&context, &desired, took))
        .flatten();
    let next = match (args.confirm, args.probe.is_empty()) {
        // The guard says what to do.
        (Some(_), true) => "Keep it? 'eni-steer confirm' in any shell.",
        // The probes decide.
        (_, false) => "",
        (None, true) => next(&context),
    };
    print_applied(global, &plan, &context.host, summary, carried, next);
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

/// At most this many lookups are asked after a change; `verify` asks all.
const LOOKUPS: usize = 200;

/// Asks the kernel whether it routes by what was just installed. `None`: it could not be asked.
fn check(context: &Context, desired: &Desired, took: Duration) -> Option<Carried> {
    let after = host_after(desired, &context.host);
    let inspection = Inspection::new(desired, &after);
    let verdict = ask(&context.netlink, inspection, LOOKUPS).ok()?;
    // What is known by now: whoever wants to wait for the others runs verify.
    let asked = gateways_to_ask(desired);
    let states = context
        .netlink
        .probe_neighbours(&asked, Duration::ZERO)
        .ok()?;
    let answer = states
        .iter()
        .filter(|state| **state == Reachability::Reachable);
    Some(Carried {
        milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        lookups: verdict.probes,
        wrong: verdict.misrouted.len() + verdict.overruled.len() + verdict.unbound.len(),
        gateways: states.len(),
        gateways_answer: answer.count(),
    })
}

/// What to do after a change.
fn next(context: &Context) -> &'static str {
    let survives = doctor::service_enabled(&context.paths.root);
    match (context.daemon.is_some(), survives) {
        (true, _) | (_, true) => "Next: 'eni-steer verify --window 10s' judges traffic.",
        (false, false) => {
            "Next: 'eni-steer verify --window 10s' judges traffic; 'eni-steer persist' keeps the \
             policy after a reboot and repairs it."
        }
    }
}
