//! What `apply --confirm` does after its change: it waits for the outcome, and does the guard's work
//! if the guard dies or hangs.

use std::time::{Duration, Instant};

use eni_steer_core::desired::Desired;
use eni_steer_linux::paths::Paths;

use super::{
    guard::{self, REASON},
    pending::{Files, Outcome, Pending, now},
    probe::{self, Target},
};
use crate::cli::{
    args::Global,
    context::Context,
    failure::{Exit, Failure},
};

/// How much later than its time a guard may act before `apply` takes it for hanging.
const LATE: u64 = 2_000;
/// How long an undo may take before `apply` takes the guard for hanging.
const LONG: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_millis(50);

/// A change that waits for its confirmation.
pub(in crate::cli) struct Unconfirmed {
    files: Files,
    time: Duration,
    pending: Pending,
}

impl Unconfirmed {
    pub(super) fn new(files: Files, time: Duration, pending: Pending) -> Self {
        Self {
            files,
            time,
            pending,
        }
    }

    /// Notes that the change is complete. The time for a confirmation begins now. If this cannot be
    /// noted, this process still knows it, and undoes the change in time.
    pub(in crate::cli) fn applied(&mut self) {
        self.pending.until = Some(now() + self.pending.milliseconds);
        if let Err(error) = self.files.write_pending(&self.pending) {
            tracing::warn!("cannot record that the change is complete: {error}");
        }
    }

    /// Notes that the change failed and was undone: the guard ends.
    pub(in crate::cli) fn cancel(&self) -> Result<(), Failure> {
        Ok(self.files.forget()?)
    }

    /// Undoes a change whose result is not what was planned. Returns the failure, with what became of
    /// the change.
    pub(in crate::cli) fn give_up(
        self,
        global: &Global,
        failure: Failure,
    ) -> Result<Failure, Failure> {
        let reason = "the result was not as planned";
        let outcome = guard::undo(global, reason, Some(&self.pending))?;
        Ok(match outcome {
            Some(Outcome::Failed { error, .. }) => {
                failure.context(format!("eni-steer could not undo the change: {error}"))
            }
            _ => failure.context("eni-steer undid the change"),
        })
    }

    /// Asks other hosts whether the change stays: confirms it if all answer, else undoes it.
    pub(in crate::cli) fn probe(
        self,
        global: &Global,
        context: &Context,
        desired: &Desired,
        targets: &[Target],
    ) -> Result<Exit, Failure> {
        eprintln!("Applied. Probing; eni-steer undoes the change if a host does not answer.");
        match probe::failing(&context.netlink, &context.host, desired, targets) {
            None if self.files.confirm()? => {
                eprintln!("Every probe was answered: the change stays.");
                Ok(Exit::Fine)
            }
            None => self.wait(global),
            Some(reason) => match guard::undo(global, &reason, Some(&self.pending))? {
                Some(outcome) => end(&outcome),
                None => self.wait(global),
            },
        }
    }

    /// Waits until the change is confirmed or undone.
    pub(in crate::cli) fn wait(self, global: &Global) -> Result<Exit, Failure> {
        eprintln!(
            "Applied. Run 'eni-steer confirm' within {} to keep it, or eni-steer undoes it.",
            humantime::format_duration(self.time)
        );
        let paths = global.paths();
        let mut undoing_since = None;
        loop {
            if let Some(outcome) = self.files.outcome() {
                return end(&outcome);
            }
            if self.files.undoing.exists() {
                let since = *undoing_since.get_or_insert_with(|| {
                    eprintln!("Not confirmed in time: eni-steer undoes the change.");
                    Instant::now()
                });
                if since.elapsed() >= LONG {
                    guard::end_hanging(&paths);
                }
                if !guard::is_alive(&paths)
                    && self.files.outcome().is_none()
                    && let Some(outcome) = guard::undo(global, REASON, Some(&self.pending))?
                {
                    return end(&outcome);
                }
            } else if self.files.unconfirmed.exists() {
                if let Some(outcome) = self.replace_guard(global, &paths)? {
                    return end(&outcome);
                }
            } else if !self.files.undoing.exists() && self.files.outcome().is_none() {
                eprintln!("Another command has removed or replaced the change.");
                return Ok(Exit::Failed);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Starts another guard if there is none, and undoes the change here if the guard hangs.
    fn replace_guard(&self, global: &Global, paths: &Paths) -> Result<Option<Outcome>, Failure> {
        let is_late = self.pending.until.is_some_and(|until| now() > until + LATE);
        if is_late {
            guard::end_hanging(paths);
            return guard::undo(global, REASON, Some(&self.pending));
        }
        if !guard::is_alive(paths)
            && let Err(failure) = guard::start(global)
        {
            // This process is still here: it undoes the change when the time is up.
            tracing::warn!("{}", failure.text());
        }
        Ok(None)
    }
}

/// Reports how a change ended, when it has.
pub(super) fn end(outcome: &Outcome) -> Result<Exit, Failure> {
    match outcome {
        Outcome::Confirmed => {
            eprintln!("Confirmed: the change stays.");
            Ok(Exit::Fine)
        }
        Outcome::Undone { reason } => {
            eprintln!("Undone, because {reason}: the host is as it was before the change.");
            Ok(Exit::Undone)
        }
        Outcome::Failed { reason, error } => Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("{reason}, and eni-steer could not undo all of the change: {error}"),
            "'eni-steer status' lists what is left; 'eni-steer remove' deletes everything that \
             eni-steer installed",
        )),
    }
}
