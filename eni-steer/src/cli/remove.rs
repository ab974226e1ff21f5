//! `remove`: nothing of ours is left, what was changed is put back.

use super::{
    apply::{carry_out, clear_leftovers},
    args::{Global, RemoveArgs},
    confirm,
    context::{Context, clear_unreadable, require_no_daemon},
    failure::{Exit, Failure},
    plan::print,
};
use crate::{daemon::DaemonReport, desired::Desired, plan::Plan};

pub(super) async fn run(global: &Global, args: &RemoveArgs) -> Result<Exit, Failure> {
    if !args.dry_run {
        require_no_daemon(&DaemonReport::read(&global.places()), "the removal")?;
        clear_unreadable(global).await?;
    }
    let context = Context::to_undo(global).await?;
    let desired = Desired::nothing(context.policy.ownership.clone());
    let plan = Plan::between(&desired, &context.seen);
    if args.dry_run {
        print(global, &plan, &context.seen)?;
        return Ok(Exit::Fine);
    }
    carry_out(&context, &desired, &plan).await?;
    confirm::forget(&context.places)?;
    // What a daemon that was killed said of itself.
    DaemonReport::remove(&context.places)?;
    clear_leftovers(&context)?;
    print(global, &plan, &context.seen)?;
    Ok(Exit::Fine)
}
