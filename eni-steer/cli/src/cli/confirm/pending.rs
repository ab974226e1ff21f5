//! The files of a change that waits for its confirmation. They are in the run directory, and
//! `apply`, `confirm` and the guard share them:
//!
//! | file | means |
//! |---|---|
//! | `unconfirmed.json` | the change is being made, or waits |
//! | `undoing.json` | a process undoes it; the same content |
//! | `outcome.json` | how it ended; stays until the next `apply` or `remove` |
//!
//! Whoever renames `unconfirmed.json` decides: `confirm` to keep the change, the guard or `apply` to
//! undo it. So a change is never both.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use eni_steer_core::{desired::Desired, policy::Policy};
use eni_steer_linux::{
    paths::Paths,
    process::{is_stopped, start_time},
    run_files::{self, remove_file},
};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;

/// A process, which is not taken for another one that got its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub pid: u32,
    /// When it was started, in clock ticks after boot.
    pub started: Option<u64>,
}

impl Process {
    pub(super) fn this() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            started: start_time(pid),
        }
    }

    pub(super) fn is_alive(self) -> bool {
        self.started.is_some() && start_time(self.pid) == self.started
    }

    /// Whether it is alive and no signal has stopped it.
    pub(super) fn is_at_work(self) -> bool {
        self.is_alive() && !is_stopped(self.pid)
    }
}

/// What the guard needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The process that makes the change.
    pub applier: Process,
    /// The boot in which all times count.
    pub boot: String,
    /// When that process began, in milliseconds after boot.
    pub began: u64,
    /// When the change is undone, in milliseconds after boot; `None`: it is being made.
    pub until: Option<u64>,
    /// How long the change waits, in milliseconds.
    pub milliseconds: u64,
    /// What eni-steer had installed before the change.
    pub before: Desired,
    /// The policy that was applied before the change.
    pub policy: Option<Policy>,
}

/// How a change that waited for its confirmation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It stays.
    Confirmed,
    /// eni-steer has undone it.
    Undone {
        /// Why.
        reason: String,
    },
    /// eni-steer could not undo all of it.
    Failed {
        /// Why it was undone.
        reason: String,
        /// What went wrong, and what is left.
        error: String,
    },
}

/// The paths of the files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub unconfirmed: PathBuf,
    pub undoing: PathBuf,
    confirmed: PathBuf,
    outcome: PathBuf,
}

impl Files {
    pub(super) fn of(paths: &Paths) -> Result<Self, Failure> {
        let directory = run_files::directory(paths)?;
        Ok(Self {
            unconfirmed: directory.join("unconfirmed.json"),
            undoing: directory.join("undoing.json"),
            confirmed: directory.join("confirmed.json"),
            outcome: directory.join("outcome.json"),
        })
    }

    /// The change that waits; `None`: none does.
    pub(super) fn pending(&self) -> Option<Pending> {
        Pending::read(&self.unconfirmed).ok()
    }

    /// Keeps the change. Returns whether there was one.
    pub(super) fn confirm(&self) -> io::Result<bool> {
        if !claim(&self.unconfirmed, &self.confirmed)? {
            return Ok(false);
        }
        self.write_outcome(&Outcome::Confirmed)?;
        remove_file(&self.confirmed)?;
        Ok(true)
    }

    /// Decides that the caller undoes the change. Returns whether there was one.
    pub(super) fn claim_undo(&self) -> io::Result<bool> {
        claim(&self.unconfirmed, &self.undoing)
    }

    /// How the change ended; `None`: it has not.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if self.confirmed.exists() {
            return Some(Outcome::Confirmed);
        }
        serde_json::from_slice(&run_files::read(&self.outcome).ok()?).ok()
    }

    /// Records the outcome of an undo, which is over.
    pub(super) fn end_undo(&self, outcome: &Outcome) -> io::Result<()> {
        self.write_outcome(outcome)?;
        remove_file(&self.undoing)
    }

    fn write_outcome(&self, outcome: &Outcome) -> io::Result<()> {
        write(&self.outcome, outcome)
    }

    pub(super) fn write_pending(&self, pending: &Pending) -> io::Result<()> {
        write(&self.unconfirmed, pending)
    }

    /// Removes everything about a change that waited, or waits, for its confirmation.
    pub(super) fn forget(&self) -> io::Result<()> {
        for file in [
            &self.unconfirmed,
            &self.undoing,
            &self.confirmed,
            &self.outcome,
        ] {
            remove_file(file)?;
        }
        Ok(())
    }
}

fn write(file: &Path, content: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(content)?;
    run_files::replace(file.parent().unwrap_or(file), file, &bytes)
}

/// Renames a file; whether it was there.
fn claim(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Pending {
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&run_files::read(file)?)?)
    }

    /// Whether it belongs to this boot. If not, the reboot has undone the change.
    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot == boot()
    }

    /// How much time is left before the change is undone; all of it while it is being made.
    pub(super) fn left(&self) -> Duration {
        let all = self.milliseconds;
        let left = self.until.map(|until| until.saturating_sub(now()).min(all));
        Duration::from_millis(left.unwrap_or(all))
    }
}

/// The time since boot in milliseconds, which no change of the clock touches and which counts the
/// time that the host is suspended (`CLOCK_BOOTTIME`).
pub(super) fn now() -> u64 {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    let since = since.unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What identifies this boot.
pub(super) fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}
