//! A change that waits for its confirmation (`apply --confirm`): the file in the run directory
//! that `apply`, `confirm` and the guard share, and the start of the guard.
//!
//! `confirm` removes the file, the guard renames it. Whichever comes first decides.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use eni_steer_core::{desired::Desired, policy::Policy};
use eni_steer_linux::{
    paths::Paths,
    process::start_time,
    run_files::{self, remove_file},
};
use serde::{Deserialize, Serialize};

use super::{
    args::Global,
    context::Context,
    failure::{Exit, Failure},
};

/// What the guard needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Process that applies the change.
    pub process: u32,
    /// When that process was started; a later process with the same id has another time.
    pub started: Option<u64>,
    /// The change is complete, so the time runs. It also runs once the process has ended.
    pub applied: bool,
    /// How long the guard waits, in milliseconds.
    pub milliseconds: u64,
    /// What eni-steer had installed before the change.
    pub before: Desired,
    /// The policy that was applied before the change.
    pub policy: Option<Policy>,
}

/// A change that waits for its confirmation.
pub(super) struct Unconfirmed {
    file: PathBuf,
    time: Duration,
    pending: Pending,
}

pub(super) fn file(paths: &Paths) -> Result<PathBuf, Failure> {
    Ok(run_files::directory(paths)?.join("unconfirmed.json"))
}

/// The name of the file once the guard has decided to undo the change.
pub(super) fn undone(file: &Path) -> PathBuf {
    file.with_file_name("undone.json")
}

/// Saves what eni-steer had installed before the change, and starts the guard.
pub(super) fn prepare(
    global: &Global,
    context: &Context,
    time: Duration,
) -> Result<Unconfirmed, Failure> {
    let file = file(&context.paths)?;
    if file.exists() {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("an earlier 'apply --confirm' is not confirmed yet"),
            "run 'eni-steer confirm' to keep its change, or wait until eni-steer has undone it",
        ));
    }
    let pending = Pending {
        process: std::process::id(),
        started: start_time(std::process::id()),
        applied: false,
        milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        before: Desired::from_host(&context.host, &context.policy.ownership),
        policy: context.state.policy.clone(),
    };
    remove_file(&undone(&file))?;
    pending.write(&file)?;
    let mut guard = Command::new(std::env::current_exe()?);
    if let Some(config) = &global.config {
        guard.arg("--config").arg(config);
    }
    guard
        .arg("--bpffs")
        .arg(&global.bpffs)
        .arg("--run-dir")
        .arg(&global.run_dir)
        .arg("undo-unless-confirmed")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: setsid(2) is async-signal-safe and touches no memory.
    unsafe {
        guard.pre_exec(|| {
            // In a session of its own, the guard outlives the terminal.
            nix::unistd::setsid().map(drop).map_err(io::Error::from)
        });
    }
    if let Err(error) = guard.spawn() {
        remove_file(&file)?;
        return Err(error.into());
    }
    Ok(Unconfirmed {
        file,
        time,
        pending,
    })
}

/// How long until the guard undoes a change, in seconds; `None`: nothing waits for a confirmation.
/// The time runs from the last write of the file, which is when the change was done.
pub(super) fn seconds_left(paths: &Paths) -> Option<u64> {
    let path = file(paths).ok()?;
    let pending = Pending::read(&path).ok()?;
    let written = fs::metadata(&path).and_then(|data| data.modified()).ok()?;
    let gone = written.elapsed().unwrap_or_default();
    let time = Duration::from_millis(pending.milliseconds);
    Some(time.saturating_sub(gone).as_secs())
}

impl Pending {
    fn write(&self, file: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        run_files::replace(file.parent().unwrap_or(file), file, &bytes)
    }

    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Whether the process that makes the change is still at work.
    pub(super) fn is_being_applied(&self) -> bool {
        !self.applied && self.started.is_some() && start_time(self.process) == self.started
    }
}

impl Unconfirmed {
    /// Notes that the change is complete. The time for a confirmation begins now.
    pub(super) fn applied(&mut self) -> Result<(), Failure> {
        self.pending.applied = true;
        Ok(self.pending.write(&self.file)?)
    }

    /// Notes that the change failed and was undone: the guard ends.
    pub(super) fn cancel(&self) -> Result<(), Failure> {
        Ok(remove_file(&self.file)?)
    }

    /// Waits until the change is confirmed or undone.
    pub(super) fn wait(self) -> Result<Exit, Failure> {
        eprintln!(
            "Applied. Run 'eni-steer confirm' within {} to keep it, or eni-steer undoes it.",
            humantime::format_duration(self.time)
        );
        let undone = undone(&self.file);
        loop {
            if undone.exists() {
                eprintln!("Not confirmed in time: eni-steer undoes the change.");
                return Ok(Exit::Undone);
            }
            if !self.file.exists() && !undone.exists() {
                eprintln!("Confirmed: the change stays.");
                return Ok(Exit::Fine);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Removes the files of a change that waited, or waits, for its confirmation.
pub(super) fn forget(paths: &Paths) -> Result<(), Failure> {
    let file = file(paths)?;
    remove_file(&undone(&file))?;
    Ok(remove_file(&file)?)
}
