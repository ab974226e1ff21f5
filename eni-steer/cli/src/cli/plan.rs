//! `plan`: shows what apply would change.

use std::io::Write;

use eni_steer_core::{model::Host, plan::Plan, report::PlanReport};

use super::{
    args::{Global, PlanArgs},
    context::Context,
    failure::{Exit, Failure},
};
use crate::render::{self, Detail, Escaped};

pub(super) fn run(global: &Global, args: &PlanArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &args.policy)?;
    let desired = context.desired()?;
    let plan = Plan::between(&desired, &context.host);
    context.warn(&desired);
    print(global, &plan, &context.host)?;
    Ok(if plan.is_empty() {
        Exit::Fine
    } else {
        Exit::Drift
    })
}

/// Prints a plan, as text or as JSON.
pub(super) fn print(global: &Global, plan: &Plan, host: &Host) -> Result<(), Failure> {
    // Buffered, so that a long plan needs few writes: stdout alone makes one per line.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if global.json {
        render::json(&PlanReport::new(plan, host), &mut out)?;
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

/// Prints a plan that has been carried out. That it cannot be printed does not undo it, so this is
/// no failure.
pub(super) fn print_done(global: &Global, plan: &Plan, host: &Host) {
    if let Err(failure) = print(global, plan, host) {
        tracing::warn!("the change is made, but not printed: {}", failure.text());
    }
}
