//! `plan`: what apply would do.

use std::io::Write;

use super::{
    args::{Global, PlanArgs},
    context::Context,
    failure::{Exit, Failure},
};
use crate::{observe::Observed, plan::Plan, render};

pub(super) async fn run(global: &Global, args: &PlanArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &args.policy).await?;
    let plan = Plan::between(&context.desired()?, &context.seen);
    print(global, &plan, &context.seen)?;
    Ok(if plan.is_empty() {
        Exit::Fine
    } else {
        Exit::Drift
    })
}

/// Prints a plan, as lines or as JSON.
pub(super) fn print(global: &Global, plan: &Plan, seen: &Observed) -> Result<(), Failure> {
    // A long plan in few writes: stdout alone would make one of each line.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if global.json {
        render::json(&render::PlanReport::new(plan, seen), &mut out)?;
    } else {
        render::plan(plan, seen, &mut out)?;
    }
    out.flush()?;
    Ok(())
}
