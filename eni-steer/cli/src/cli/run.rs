//! `run`: the daemon.

use eni_steer_linux::bpf;

use super::{
    args::{Global, RunArgs},
    context::require_privilege,
    failure::{Exit, Failure},
    policy::policy_in_force,
    privileges,
};
use crate::daemon::{self, Setup};

pub(super) fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let paths = global.paths();
    // Mounting and raising limits need capabilities that the daemon drops later.
    bpf::ensure_bpffs(&paths.bpffs)?;
    privileges::raise_memlock();
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
