//! `remove`: deletes everything that eni-steer installed, and restores what it changed.

use eni_steer_core::{desired::Desired, plan::Plan};
use eni_steer_linux::{daemon_report, state::State};

use super::{
    args::{Global, RemoveArgs},
    carry_out::{carry_out, clear_leftovers},
    confirm,
    context::{
        Context, clear_unreadable, lock_changes, lock_daemon, require_no_daemon,
        set_damaged_state_aside, sweep,
    },
    failure::{Exit, Failure},
    plan::{print_removal, print_removed},
};

pub(super) fn run(global: &Global, args: &RemoveArgs) -> Result<Exit, Failure> {
    let lock = match args.dry_run {
        true => None,
        false => Some(lock_changes(global, "remove")?),
    };
    let mut no_daemon = None;
    if lock.is_some() {
        require_no_daemon(&global.paths(), "'remove'")?;
        // Held until the end, so that no daemon starts meanwhile. Released, the file is gone, also
        // that of a daemon that was killed.
        no_daemon = Some(lock_daemon(global, "remove")?);
        State::forget_damaged(&global.paths())?;
        set_damaged_state_aside(&global.paths())?;
        sweep(&global.paths());
        clear_unreadable(global)?;
    }
    let context = Context::to_undo(global)?;
    let desired = Desired::empty(context.policy.ownership.clone());
    let plan = Plan::between(&desired, &context.host);
    if args.dry_run {
        print_removal(global, &plan, &context.host)?;
        return Ok(Exit::Fine);
    }
    carry_out(&context, &desired, &plan)?;
    confirm::forget(&context.paths)?;
    // A daemon that was killed leaves its report behind.
    daemon_report::remove(&context.paths)?;
    clear_leftovers(&context)?;
    drop((no_daemon, lock));
    print_removed(global, &plan, &context.host);
    Ok(Exit::Fine)
}
