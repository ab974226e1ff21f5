//! `apply --confirm`, `confirm` and `undo`: a change that eni-steer undoes unless the user keeps it.

mod guard;
mod pending;
mod probe;
mod wait;

use std::time::Duration;

use eni_steer_core::{
    desired::Desired,
    findings::{self, Finding},
};
use eni_steer_linux::paths::Paths;

use super::{
    args::Global,
    context::{Context, require_privilege},
    failure::{Exit, Failure},
};
use pending::{Files, Outcome, Pending, Process, boot, now};

pub(super) use guard::guard;
pub(super) use probe::Target;
pub(super) use wait::Unconfirmed;

/// How long a change waits for the answers of `--probe` if no time is given.
pub(super) const PROBING: Duration = Duration::from_secs(60);
/// The longest time that a change may wait.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Reads the time of `--confirm`: `60` and `60s` are seconds, `2m` minutes.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_not_a_number) => humantime::parse_duration(text).map_err(|e| e.to_string())?,
    };
    if time.is_zero() {
        return Err("eni-steer would undo the change at once".to_owned());
    }
    if time > LONGEST {
        return Err("at most 24 hours: a reboot undoes the change as well".to_owned());
    }
    Ok(time)
}

/// Checks that the targets of `--probe` name managed ENIs.
pub(super) fn check_targets(desired: &Desired, targets: &[Target]) -> Result<(), Failure> {
    match probe::unknown_eni(desired, targets) {
        None => Ok(()),
        Some(name) => Err(Failure::usage(
            format!("--probe names {name}, which is not a managed ENI"),
            "'eni-steer status' lists the ENIs",
        )),
    }
}

/// `confirm`: keeps the change.
pub(super) fn confirm(global: &Global) -> Result<Exit, Failure> {
    require_privilege()?;
    let files = Files::of(&global.paths())?;
    if let Some(pending) = files.pending()
        && pending.until.is_none()
        && pending.applier.is_alive()
    {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!(
                "'eni-steer apply' (pid {}) is not done yet",
                pending.applier.pid
            ),
            "run 'eni-steer confirm' when it reports that the change is applied",
        ));
    }
    if files.confirm()? {
        println!("Confirmed: the change stays.");
        return Ok(Exit::Fine);
    }
    let late = |what: String| Failure::new(Exit::Undone, anyhow::anyhow!(what), LOOK);
    match files.outcome() {
        _ if files.undoing.exists() => {
            Err(late("too late: eni-steer is undoing the change".to_owned()))
        }
        Some(Outcome::Undone { reason }) => Err(late(format!(
            "too late: eni-steer has undone the change, because {reason}"
        ))),
        Some(Outcome::Failed { error, .. }) => Err(late(format!(
            "too late: eni-steer has begun to undo the change and could not end it: {error}"
        ))),
        Some(Outcome::Confirmed) | None => Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("there is nothing to confirm"),
            LOOK,
        )),
    }
}

const LOOK: &str = "'eni-steer status' shows what is installed now";

/// `undo`: undoes the change that waits for its confirmation now, or continues an undo that was
/// interrupted.
pub(super) fn undo(global: &Global) -> Result<Exit, Failure> {
    require_privilege()?;
    match guard::undo(global, "'eni-steer undo' was run", None)? {
        Some(outcome) => wait::end(&outcome),
        None => Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("no change waits for a confirmation, so there is nothing to undo"),
            "'eni-steer remove' deletes everything that eni-steer installed",
        )),
    }
}

/// Refuses a command while a change waits for its confirmation or is being undone, because the undo
/// would undo both.
pub(super) fn require_none(paths: &Paths) -> Result<(), Failure> {
    let files = Files::of(paths)?;
    let waits = files.pending().filter(Pending::is_of_this_boot);
    let what = match &waits {
        Some(_) => "an earlier 'apply --confirm' is not confirmed yet",
        None if files.undoing.exists() => "eni-steer is undoing an earlier 'apply --confirm'",
        None => return Ok(()),
    };
    Err(Failure::new(
        Exit::Failed,
        anyhow::anyhow!(what),
        "run 'eni-steer confirm' to keep its change, or 'eni-steer undo' to undo it now",
    ))
}

/// Records what eni-steer had installed before the change, and starts the guard.
pub(super) fn prepare(
    global: &Global,
    context: &Context,
    time: Duration,
) -> Result<Unconfirmed, Failure> {
    let files = Files::of(&context.paths)?;
    let pending = Pending {
        applier: Process::this(),
        boot: boot(),
        began: now(),
        until: None,
        milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        before: Desired::from_host(&context.host, &context.policy.ownership),
        policy: context.state.policy.clone(),
    };
    files.forget()?;
    files.write_pending(&pending)?;
    if let Err(failure) = guard::start(global) {
        files.forget()?;
        return Err(failure.context("nothing was changed"));
    }
    Ok(Unconfirmed::new(files, time, pending))
}

/// How long until a change is undone, in seconds; `None`: nothing waits for a confirmation.
pub(super) fn seconds_left(paths: &Paths) -> Option<u64> {
    let pending = Files::of(paths).ok()?.pending()?;
    let left = pending.is_of_this_boot().then(|| pending.left())?;
    Some(left.as_secs())
}

/// What an administrator should know about changes that wait, or waited, for a confirmation.
pub(super) fn findings(paths: &Paths) -> Vec<Finding> {
    let Ok(files) = Files::of(paths) else {
        return Vec::new();
    };
    let is_guarded = guard::is_alive(paths);
    let applier_waits = |pending: &Pending| pending.applier.is_alive();
    if let Some(pending) = files.pending().filter(Pending::is_of_this_boot) {
        if is_guarded || applier_waits(&pending) {
            return Vec::new();
        }
        return vec![findings::confirmation_without_guard()];
    }
    if files.undoing.exists() {
        return match is_guarded {
            true => Vec::new(),
            false => vec![findings::undo_interrupted()],
        };
    }
    match files.outcome() {
        Some(Outcome::Undone { reason }) => vec![findings::change_undone(&reason)],
        Some(Outcome::Failed { reason, error }) => vec![findings::undo_failed(&reason, &error)],
        Some(Outcome::Confirmed) | None => Vec::new(),
    }
}

/// Whether a change waits for its confirmation or is being undone.
pub(super) fn is_open(paths: &Paths) -> bool {
    require_none(paths).is_err()
}

/// Removes the files of a change that waited, or waits, for its confirmation.
pub(super) fn forget(paths: &Paths) -> Result<(), Failure> {
    Ok(Files::of(paths)?.forget()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_seconds_and_a_time_that_makes_no_sense_is_refused() {
        assert_eq!(parse_time("60"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_time("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_time("24h"), Ok(LONGEST));
        for wrong in ["0", "0s", "25h", "soon", "", "-1", "99999999999999999999"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
