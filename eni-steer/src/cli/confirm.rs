//! `apply --confirm`: a guard process of its own session undoes the change unless it is
//! confirmed in time, whatever has become of the session that ran apply.
//!
//! The guard goes by what was ours before the change, not by the steps that were planned:
//! at its time it observes, plans towards that and applies, so that it also mends an apply
//! that was cut off half-way. Its time runs from the moment the change is done, or its process
//! is gone. A file in the run directory is the only thing the three
//! processes share; whoever renames it has decided.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    args::Global,
    context::Context,
    failure::{Exit, Failure},
};
use crate::{
    desired::Desired,
    observe::{Places, State, remove_file, replace_file, state_directory},
    plan::Plan,
    policy::Policy,
    process::start_time,
};

/// What the guard has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// Process that applies the change.
    process: u32,
    /// When that process was started, to tell it from a later one of the same number.
    started: Option<u64>,
    /// The change is done: the time runs. It also runs once the process is gone.
    applied: bool,
    /// How long the guard waits, in milliseconds.
    milliseconds: u64,
    /// What was ours before.
    before: Desired,
    /// Policy that was in force before.
    policy: Option<Policy>,
}

/// A change that waits for its confirmation.
pub(super) struct Unconfirmed {
    file: PathBuf,
    time: Duration,
    pending: Pending,
}

fn file(places: &Places) -> Result<PathBuf, Failure> {
    Ok(state_directory(places)?.join("unconfirmed.json"))
}

/// The name the file has while it is being undone, and after.
fn undone(file: &Path) -> PathBuf {
    file.with_file_name("undone.json")
}

/// Writes down what was before, and starts the guard.
pub(super) fn prepare(
    global: &Global,
    context: &Context,
    time: Duration,
) -> Result<Unconfirmed, Failure> {
    let file = file(&context.places)?;
    if file.exists() {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("an earlier apply is not confirmed yet"),
            "'eni-steer confirm' keeps it; or wait until it is undone",
        ));
    }
    let pending = Pending {
        process: std::process::id(),
        started: start_time(std::process::id()),
        applied: false,
        milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        before: Desired::as_it_is(&context.seen, &context.policy.ownership),
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
        replace_file(file.parent().unwrap_or(file), file, &bytes)
    }

    fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Whether the change may still be under way.
    fn is_being_applied(&self) -> bool {
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
            "not confirmed yet: 'eni-steer confirm' within {} keeps this, else it is undone",
            humantime::format_duration(self.time)
        );
        let undone = undone(&self.file);
        loop {
            if undone.exists() {
                eprintln!("not confirmed: undone");
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

/// `confirm`: keeps the change.
pub(super) fn confirm(global: &Global) -> Result<Exit, Failure> {
    let file = file(&global.places())?;
    match fs::remove_file(&file) {
        Ok(()) => {
            println!("confirmed");
            Ok(Exit::Fine)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (exit, what) = if undone(&file).exists() {
                (Exit::Undone, "too late: the change is undone")
            } else {
                (Exit::Failed, "there is nothing to confirm")
            };
            Err(Failure::new(
                exit,
                anyhow::anyhow!(what),
                "'eni-steer status' shows what is in force",
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// The guard: sleeps, and undoes what is still unconfirmed.
pub(super) async fn guard(global: &Global) -> Result<Exit, Failure> {
    let places = global.places();
    let file = file(&places)?;
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
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The rename decides: a confirmation that comes now finds nothing.
    match fs::rename(&file, undone(&file)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Exit::Fine),
        Err(error) => return Err(error.into()),
    }
    let context = Context::to_undo(global).await?;
    let plan = Plan::between(&pending.before, &context.seen);
    let carried = super::apply::carry_out(&context, &pending.before, &plan).await;
    let nothing_before = pending.before.datapath.is_none() && pending.policy.is_none();
    State::change(&places, |state| state.policy = pending.policy)?;
    carried?;
    if nothing_before {
        super::apply::clear_leftovers(&context)?;
    }
    Ok(Exit::Undone)
}

/// Removes what a confirmation left behind.
pub(super) fn forget(places: &Places) -> Result<(), Failure> {
    let file = file(places)?;
    remove_file(&undone(&file))?;
    Ok(remove_file(&file)?)
}
