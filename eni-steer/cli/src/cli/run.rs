//! `run`: the daemon.

use std::time::Duration;

use eni_steer_linux::{
    bpf,
    lock::{Lock, LockError, Scope},
    paths::Paths,
};

use super::{
    args::{Global, RunArgs},
    confirm,
    context::{require_privilege, set_damaged_state_aside, sweep},
    failure::{Exit, Failure},
    policy::policy_in_force,
    privileges,
};
use crate::daemon::{self, Setup};

/// How long a daemon that starts waits for one that ends.
const START: Duration = Duration::from_secs(2);

pub(super) fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let paths = global.paths();
    let _one_daemon =
        Lock::obtain(&paths, Scope::Daemon, "run", START, |_| {}).map_err(already_running)?;
    wait_for_the_outcome(&paths);
    set_damaged_state_aside(&paths)?;
    sweep(&paths);
    return_freed_memory();
    // Mounting and raising limits need capabilities that the daemon drops later.
    bpf::ensure_bpffs(&paths.bpffs)?;
    privileges::raise_limits();
    // A reader of the log that ends must not end the daemon: writing to it is an error then.
    // SAFETY: no other thread exists yet, and ignoring a signal runs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    let policy = || {
        let in_force = policy_in_force(global, &args.policy).map_err(Failure::into_error)?;
        Ok(in_force.policy)
    };
    // A mistake in the options or the configuration ends the command now. A mistake that comes with
    // a later SIGHUP does not.
    policy_in_force(global, &args.policy)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let running = daemon::run(Setup {
        paths,
        policy,
        drop_privileges: privileges::drop_all_but_needed,
    });
    runtime.block_on(running)?;
    // Do not wait for a pass under way: the worker has asked it to stop.
    runtime.shutdown_background();
    Ok(Exit::Fine)
}

/// Makes the allocator return large buffers to the kernel when they are freed. glibc keeps them, and
/// more the larger they were (mallopt(3), "dynamic mmap threshold"): a pass needs some megabytes for
/// a moment, and the daemon would hold them for ever, once for each thread.
fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt(3) may be called at any time; no other thread exists yet.
        if unsafe { libc::mallopt(parameter, 128 << 10) } == 0 {
            tracing::debug!("the allocator does not take parameter {parameter}");
        }
    }
}

/// Waits while a change waits for its confirmation: the daemon would restore what the undo removes.
fn wait_for_the_outcome(paths: &Paths) {
    if !confirm::is_open(paths) {
        return;
    }
    tracing::warn!(
        "a change waits for its confirmation: the daemon begins when it is confirmed or undone"
    );
    while confirm::is_open(paths) {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The failure of a second daemon, or of one that starts beside `remove`.
fn already_running(error: LockError) -> Failure {
    match error {
        LockError::Held(Some(holder)) if holder.command == "run" => Failure::refused(
            format!("the daemon runs already (pid {})", holder.pid),
            "'systemctl status eni-steer' shows it; stop it first, or let it read the \
             configuration again: 'systemctl reload eni-steer'",
        ),
        error => error.into(),
    }
}
