//! `confirm`, and the guard of `apply --confirm`: a process in a session of its own. It undoes the
//! change unless the user confirms it in time, also after the session that ran apply has died.
//!
//! The guard does not undo steps one by one. When time is up it reads the host, plans towards what
//! eni-steer had before the change, and applies that plan. So it also cleans up after an apply that
//! was killed half-way. The time begins when the change is complete, or when the process that made
//! it has ended.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use eni_steer_core::plan::Plan;
use eni_steer_linux::{
    lock::{Lock, Scope},
    state::State,
};

use super::{
    args::Global,
    carry_out::{carry_out, clear_leftovers},
    context::Context,
    failure::{Exit, Failure},
    pending::{Pending, file, undone},
};

/// How long the guard waits for another process that changes the host.
const PATIENCE: Duration = Duration::from_secs(60);

/// `confirm`: keeps the change.
pub(super) fn confirm(global: &Global) -> Result<Exit, Failure> {
    let file = file(&global.paths())?;
    match fs::remove_file(&file) {
        Ok(()) => {
            println!("Confirmed: the change stays.");
            Ok(Exit::Fine)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (exit, what) = if undone(&file).exists() {
                (Exit::Undone, "too late: eni-steer has undone the change")
            } else {
                (Exit::Failed, "there is nothing to confirm")
            };
            Err(Failure::new(
                exit,
                anyhow::anyhow!(what),
                "'eni-steer status' shows what is installed now",
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// The guard: waits, then undoes the change unless it was confirmed.
pub(super) fn guard(global: &Global) -> Result<Exit, Failure> {
    let paths = global.paths();
    let file = file(&paths)?;
    let mut pending = Pending::read(&file)?;
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if !file.exists() {
            return Ok(Exit::Fine);
        }
        if end.is_none() {
            pending = Pending::read(&file)?;
            if !pending.is_being_applied() {
                end = Some(Instant::now() + Duration::from_millis(pending.milliseconds));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Another process that changes the host ends first. One that hangs does not keep the change
    // from being undone.
    let lock = Lock::obtain(&paths, Scope::Changes, "confirm", PATIENCE, |_| {});
    if let Err(error) = &lock {
        tracing::warn!("{error}; the change is undone all the same");
    }
    // The rename decides: a later `confirm` finds no file and reports that it is too late.
    match fs::rename(&file, undone(&file)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Exit::Fine),
        Err(error) => return Err(error.into()),
    }
    let context = Context::to_undo(global)?;
    let plan = Plan::between(&pending.before, &context.host);
    let carried = carry_out(&context, &pending.before, &plan);
    let nothing_before = pending.before.datapath.is_none() && pending.policy.is_none();
    State::change(&paths, |state| state.policy = pending.policy)?;
    carried?;
    if nothing_before {
        clear_leftovers(&context)?;
    }
    drop(lock);
    Ok(Exit::Undone)
}
