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
    // Mounting and raising limits need privileges that the daemon gives up later.
    bpf::ensure_bpffs(&paths.bpffs)?;
    privileges::raise_memlock();
    let policy = || {
        let in_force = policy_in_force(global, &args.policy).map_err(Failure::into_error)?;
        Ok(in_force.policy)
    };
    // A mistake on the command line ends the daemon now; later ones do not.
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
    // A pass under way must not keep the process: `worker` has told it to stop.
    runtime.shutdown_background();
    Ok(Exit::Fine)
}
