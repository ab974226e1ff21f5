//! `plan`: shows what apply would change. `apply` and `remove` show their plans with it too.

use std::io::Write;

use eni_steer_core::{
    desired::Desired,
    model::Host,
    plan::Plan,
    report::{Carried, ChangeReport, Connection, Origin, PlanReport, Report, Summary},
};
use eni_steer_linux::process;

use super::{
    args::{Global, PlanArgs},
    failure::{Exit, Failure},
    origin,
    seen::Seen,
};
use crate::render::{self, Detail, Escaped};

pub(super) fn run(global: &Global, args: &PlanArgs) -> Result<Exit, Failure> {
    let seen = Seen::new(global, args.from.as_deref(), &args.policy)?;
    let desired = seen.desired()?;
    let plan = Plan::between(&desired, seen.host());
    seen.warn(&desired);
    // Whoever reads a file is connected to another host.
    let connection = match args.from {
        None => connection(),
        Some(_) => None,
    };
    let summary = Summary::new(&plan, &desired, seen.host(), connection);
    show(global, &plan, seen.host(), seen.origin(), summary)
}

/// Shows a plan that is not carried out, with its summary.
pub(super) fn show(
    global: &Global,
    plan: &Plan,
    host: &Host,
    origin: Origin,
    summary: Summary,
) -> Result<Exit, Failure> {
    let exit = match plan.is_empty() {
        true => Exit::Fine,
        false => Exit::Drift,
    };
    let lines = summary.lines();
    let mut report = PlanReport::new(plan, host);
    report.summary = Some(summary);
    print(global, plan, host, &report, origin, exit)?;
    if wants_summary(global, plan) {
        let next = "Next: 'eni-steer apply --confirm 60s' makes these changes, and undoes them unless \
                    you confirm.";
        print_summary(&lines, next)?;
    }
    Ok(exit)
}

/// Whether a summary follows the steps. With `-v` stdout has the steps alone.
fn wants_summary(global: &Global, plan: &Plan) -> bool {
    !global.json && global.verbose == 0 && !plan.is_empty()
}

/// Prints what a plan changes and for whom, and what to do next.
fn print_summary(lines: &[String], next: &str) -> Result<(), Failure> {
    let mut out = render::stdout();
    let mut escaped = Escaped(&mut out);
    writeln!(escaped)?;
    for line in lines {
        writeln!(escaped, "{line}")?;
    }
    writeln!(escaped, "{next}")?;
    Ok(out.flush()?)
}

/// The SSH connection by which the user of this command came. sudo hides it from the command, but
/// not from the shell before.
pub(super) fn connection() -> Option<Connection> {
    let own = std::env::var("SSH_CONNECTION").ok();
    let text = own.or_else(|| process::variable_of_ancestors("SSH_CONNECTION"));
    Connection::parse(&text?)
}

/// Prints a plan, as text or as JSON.
fn print<R: Report>(
    global: &Global,
    plan: &Plan,
    host: &Host,
    report: &R,
    origin: Origin,
    exit: Exit,
) -> Result<(), Failure> {
    // Buffered, so that a long plan needs few writes: stdout alone makes one per line.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if global.json {
        render::json(origin, report, exit.code(), &mut out)?;
    } else {
        let detail = match global.verbose {
            0 => Detail::Folded,
            _ => Detail::EveryStep,
        };
        render::plan(plan, host, detail, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(())
}

/// Prints the plan of `remove`, carried out or not.
pub(super) fn print_removal(global: &Global, plan: &Plan, host: &Host) -> Result<(), Failure> {
    let report = ChangeReport {
        command: "remove",
        plan: PlanReport::new(plan, host),
        carried_out: None,
    };
    print(global, plan, host, &report, origin::here(), Exit::Fine)
}

/// Prints a plan that `apply` has carried out. That it cannot be printed does not undo it, so this
/// is no failure.
pub(super) fn print_applied(
    global: &Global,
    plan: &Plan,
    host: &Host,
    summary: Summary,
    carried_out: Option<Carried>,
    next: &str,
) {
    let mut lines = summary.lines();
    lines.extend(carried_out.as_ref().map(Carried::text));
    let mut report = ChangeReport {
        command: "apply",
        plan: PlanReport::new(plan, host),
        carried_out,
    };
    report.plan.summary = Some(summary);
    let printed = print(global, plan, host, &report, origin::here(), Exit::Fine);
    warn_unprinted(printed.and_then(|()| match wants_summary(global, plan) {
        true => print_summary(&lines, next),
        false => Ok(()),
    }));
}

/// Prints a plan that `remove` has carried out.
pub(super) fn print_removed(global: &Global, plan: &Plan, host: &Host) {
    warn_unprinted(print_removal(global, plan, host));
}

fn warn_unprinted(printed: Result<(), Failure>) {
    if let Err(failure) = printed {
        tracing::warn!("the change is made, but not printed: {}", failure.text());
    }
}

/// The summary of a plan of `apply`, for the session that runs it.
pub(super) fn summary(plan: &Plan, desired: &Desired, host: &Host) -> Summary {
    Summary::new(plan, desired, host, connection())
}
