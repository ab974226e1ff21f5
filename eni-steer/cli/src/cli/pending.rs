//! A change that waits for its confirmation (`apply --confirm`): the file in the run directory
//! that `apply`, `confirm` and the guard share, and the start of the guard.
//!
//! Whoever renames or removes the file has decided about the change.

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

/// What the guard has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Process that applies the change.
    pub process: u32,
    /// When that process was started, to tell it from a later one of the same number.
    pub started: Option<u64>,
    /// The change is done: the time runs. It also runs once the process is gone.
    pub applied: bool,
    /// How long the guard waits, in milliseconds.
    pub milliseconds: u64,
    /// What was ours before.
    pub before: Desired,
    /// Policy that was in force before.
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

/// The name the file has while it is being undone, and after.
pub(super) fn undone(file: &Path) -> PathBuf {
    file.with_file_name("undone.json")
}

/// Writes down what was before, and starts the guard.
pub(super) fn prepare(
    global: &Global,
    context: &Context,
    time: Duration,
) -> Result<Unconfirmed, Failure> {
    let file = file(&context.paths)?;
    if file.exists() {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("an earlier apply is not confirmed yet"),
            "run 'eni-steer confirm' to keep it, or wait until it is undone",
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
            // A session of its own: the terminal's hang-up does not reach it.
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

impl Pending {
    fn write(&self, file: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        run_files::replace(file.parent().unwrap_or(file), file, &bytes)
    }

    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Whether the change may still be under way.
    pub(super) fn is_being_applied(&self) -> bool {
        !self.applied && self.started.is_some() && start_time(self.process) == self.started
    }
}

impl Unconfirmed {
    /// The change is done: the time runs from now on, however long it took.
    pub(super) fn applied(&mut self) -> Result<(), Failure> {
        self.pending.applied = true;
        Ok(self.pending.write(&self.file)?)
    }

    /// The change did not happen.
    pub(super) fn cancel(&self) -> Result<(), Failure> {
        Ok(remove_file(&self.file)?)
    }

    /// Waits for the decision.
    pub(super) fn wait(self) -> Result<Exit, Failure> {
        eprintln!(
            "Applied. Run 'eni-steer confirm' within {} to keep it, or eni-steer undoes it.",
            humantime::format_duration(self.time)
        );
        let undone = undone(&self.file);
        loop {
            if undone.exists() {
                eprintln!("not confirmed in time: undone");
                return Ok(Exit::Undone);
            }
            if !self.file.exists() && !undone.exists() {
                eprintln!("confirmed");
                return Ok(Exit::Fine);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Removes what a confirmation left behind.
pub(super) fn forget(paths: &Paths) -> Result<(), Failure> {
    let file = file(paths)?;
    remove_file(&undone(&file))?;
    Ok(remove_file(&file)?)
}
