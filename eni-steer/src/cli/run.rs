//! `run`: the daemon.

use super::{
    args::{Global, RunArgs},
    context::require_privilege,
    failure::{Exit, Failure},
    policy::policy_in_force,
    privileges,
};
use crate::{
    bpf,
    daemon::{self, Setup},
    policy::Missing,
};

pub(super) async fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let places = global.places();
    // While it may still be done: mounting and raising limits need more than is kept.
    bpf::ensure_bpffs(&places.bpffs)?;
    privileges::raise_memlock();
    let policy = || {
        let in_force = policy_in_force(global, &args.policy).map_err(Failure::into_error)?;
        let mut policy = in_force.policy;
        // An ENI that is down or not there yet is waited for.
        policy.missing = Missing::Skip;
        Ok(policy)
    };
    // A mistake on the command line is told now and ends it; later ones do not.
    policy_in_force(global, &args.policy)?;
    daemon::run(Setup {
        places,
        policy,
        drop_privileges: privileges::drop_all_but_needed,
    })
    .await?;
    Ok(Exit::Fine)
}
