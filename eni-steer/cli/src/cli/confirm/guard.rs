//! The guard of `apply --confirm`: a process of its own that undoes the change unless the user
//! confirms it in time, also after the session that ran `apply` has died.
//!
//! The undo does not go back step by step. It reads the host, plans towards what eni-steer had
//! before the change, and applies that plan. So it also cleans up after an `apply` that was killed
//! half-way, and a second process can continue an undo whose process was killed.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use eni_steer_core::{desired::Desired, plan::Plan};
use eni_steer_linux::{
    lock::{self, Lock, Scope},
    off,
    paths::Paths,
    process,
    state::State,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::pending::{Files, Outcome, Pending, now};
use crate::cli::{
    args::Global,
    carry_out::{carry_out, clear_leftovers},
    context::{Context, clear_unreadable},
    failure::{Exit, Failure},
};

/// How long an undo waits for another process that changes the host.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a change may take, beside the time for its confirmation. After that, its process hangs.
const LONGEST_CHANGE: u64 = 120_000;
/// How often an undo is tried.
const ATTEMPTS: usize = 3;
/// How long a guard takes to start, at most.
const START: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(50);
/// Why a change is undone that nobody confirms.
pub(super) const REASON: &str = "nobody confirmed it in time";

/// The process that guards: waits, then undoes the change unless it was confirmed. Continues the
/// undo of a guard that was killed.
pub(in crate::cli) fn guard(global: &Global) -> Result<Exit, Failure> {
    let paths = global.paths();
    let files = Files::of(&paths)?;
    // The lock shows `apply` and `status` that a guard is alive; there is one.
    let guard = Lock::obtain(&paths, Scope::Guard, "guard", Duration::ZERO, |_| {});
    let Ok(_guard) = guard else {
        return Ok(Exit::Fine);
    };
    if files.undoing.exists() {
        undo(global, REASON, None)?;
    } else if let Some(pending) = wait_for_the_end(&files) {
        undo(global, REASON, Some(&pending))?;
    }
    Ok(Exit::Fine)
}

/// Waits until a change must be undone, and returns what was last read about it; `None`: it need
/// not be undone.
fn wait_for_the_end(files: &Files) -> Option<Pending> {
    let mut end_without_applier = None;
    let mut known = None;
    loop {
        // If the file is damaged, what was read before counts.
        known = files.pending().or(known);
        if !files.unconfirmed.exists() {
            return None;
        }
        let pending = known.as_ref()?;
        if !pending.is_of_this_boot() {
            return None;
        }
        let is_over = match pending.until {
            Some(until) => now() >= until,
            // The change is not complete, and perhaps never will be.
            None if !pending.applier.is_at_work() => {
                let end = end_without_applier.get_or_insert_with(|| now() + pending.milliseconds);
                now() >= *end
            }
            None => now() >= pending.began + LONGEST_CHANGE + pending.milliseconds,
        };
        if is_over {
            return known;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Undoes the change that waits, or continues to undo it, and records how that ended. Returns the
/// outcome; `None`: another process has decided. `known` is what the caller knows about the change,
/// for the case that the file is damaged.
pub(super) fn undo(
    global: &Global,
    reason: &str,
    known: Option<&Pending>,
) -> Result<Option<Outcome>, Failure> {
    let paths = global.paths();
    let files = Files::of(&paths)?;
    // A process that makes the change still, although its time is over, hangs. It must not go on
    // after the undo.
    if let Some(pending) = files.pending() {
        let applier = pending.applier;
        let holds_lock = || {
            let holder = lock::holder(&paths, Scope::Changes);
            holder.is_some_and(|holder| holder.pid == applier.pid)
        };
        let is_stopped = applier.is_alive() && !applier.is_at_work();
        let hangs = pending.until.is_none() || is_stopped && holds_lock();
        if hangs && applier.is_alive() && applier.pid != std::process::id() {
            end_process(applier.pid);
        }
    }
    // Another process that changes the host ends first. One that hangs does not keep the change
    // from being undone.
    let lock = Lock::obtain(&paths, Scope::Changes, "undo", PATIENCE, |_| {});
    if let Err(error) = &lock {
        tracing::warn!("{error}; the change is undone all the same");
    }
    if !files.claim_undo()? && !files.undoing.exists() {
        return Ok(None);
    }
    let read = Pending::read(&files.undoing);
    let pending = match (&read, known) {
        (Ok(pending), _) | (Err(_), Some(pending)) => pending,
        (Err(error), None) => {
            let path = files.undoing.display();
            return Err(anyhow::anyhow!("cannot read {path}: {error}").into());
        }
    };
    let mut carried = Ok(());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(Duration::from_secs(1));
            // A change that was cut off can leave maps that cannot be read.
            clear_unreadable(global)?;
        }
        carried = go_back(global, pending);
        if carried.is_ok() {
            break;
        }
    }
    let reason = reason.to_owned();
    let outcome = match carried {
        Ok(()) => Outcome::Undone { reason },
        Err(failure) => Outcome::Failed {
            reason,
            error: failure.text(),
        },
    };
    files.end_undo(&outcome)?;
    drop(lock);
    Ok(Some(outcome))
}

/// Makes the host what it was before the change.
fn go_back(global: &Global, pending: &Pending) -> Result<(), Failure> {
    let context = Context::to_undo(global)?;
    // While the emergency brake is on, nothing comes back.
    let before = match off::is_off(&context.paths) {
        true => Desired::hands_off(&context.host, &pending.before.ownership),
        false => pending.before.clone(),
    };
    let plan = Plan::between(&before, &context.host);
    carry_out(&context, &before, &plan)?;
    let policy = pending.policy.clone();
    State::change(&context.paths, |state| state.policy = policy)?;
    if pending.before.datapath.is_none() && pending.policy.is_none() {
        clear_leftovers(&context)?;
    }
    Ok(())
}

/// Whether a guard is alive.
pub(super) fn is_alive(paths: &Paths) -> bool {
    lock::holder(paths, Scope::Guard).is_some()
}

/// Ends a guard that hangs, so that another process can do its work.
pub(super) fn end_hanging(paths: &Paths) {
    if let Some(holder) = lock::holder(paths, Scope::Guard)
        && holder.pid != std::process::id()
    {
        end_process(holder.pid);
    }
}

fn end_process(pid: u32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL) {
        tracing::debug!("cannot end process {pid}: {error}");
    }
    // The kernel releases its locks when it has ended.
    let began = Instant::now();
    while kill(Pid::from_raw(pid), None).is_ok() && began.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a guard and waits until it is alive.
pub(super) fn start(global: &Global) -> Result<(), Failure> {
    let paths = global.paths();
    let by_systemd = is_systemd_in_charge() && start_unit(global);
    if !by_systemd {
        start_process(global)?;
    }
    let began = Instant::now();
    while !is_alive(&paths) {
        if began.elapsed() >= START {
            return Err(
                anyhow::anyhow!("the process that would undo the change did not start").into(),
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether systemd manages this host and this network namespace: a unit runs in that of process 1.
fn is_systemd_in_charge() -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    process::systemd_runs() && of("1").is_some() && of("1") == of("self")
}

/// Starts the guard as a unit of systemd, which survives the session of `apply` even if the
/// session's processes are killed at its end (KillUserProcesses, Ansible), and which systemd starts
/// again if it is killed.
fn start_unit(global: &Global) -> bool {
    let Ok(executable) = std::env::current_exe() else {
        return false;
    };
    let mut run = Command::new("systemd-run");
    run.args(["--quiet", "--collect"])
        .arg(format!("--unit=eni-steer-guard-{}", std::process::id()))
        .args([
            "--property=Restart=on-failure",
            "--property=RestartSec=200ms",
        ])
        .arg("--")
        .arg(executable);
    let run = arguments(&mut run, global);
    match run.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            eprintln!("warning: {}", without_unit(why.trim()));
            false
        }
        Err(error) => {
            eprintln!("warning: {}", without_unit(&error.to_string()));
            false
        }
    }
}

fn without_unit(why: &str) -> String {
    format!(
        "the process that undoes the change runs in your session, because systemd-run failed \
         ({why}): if your session's processes are killed when it ends, the change stays"
    )
}

/// Starts the guard as a process in a session of its own, which outlives the terminal.
fn start_process(global: &Global) -> Result<(), Failure> {
    let mut guard = Command::new(std::env::current_exe()?);
    arguments(&mut guard, global)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: setsid(2) is async-signal-safe and touches no memory.
    unsafe {
        guard.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
    }
    guard.spawn()?;
    Ok(())
}

fn arguments<'a>(command: &'a mut Command, global: &Global) -> &'a mut Command {
    if let Some(config) = &global.config {
        command.arg("--config").arg(config);
    }
    command
        .arg("--bpffs")
        .arg(&global.bpffs)
        .arg("--run-dir")
        .arg(&global.run_dir)
        .arg("--root")
        .arg(&global.root)
        .arg("undo-unless-confirmed")
}
