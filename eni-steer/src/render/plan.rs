//! A plan.

use std::io::{self, Write};

use serde::Serialize;

use crate::plan::{Names, Plan, Step, line};

/// A plan as JSON shows it.
#[derive(Debug, Serialize)]
pub struct PlanReport<'a> {
    /// Nothing is to be done.
    pub empty: bool,
    /// The steps, in order.
    pub steps: Vec<StepReport<'a>>,
}

/// A step, for programs and for people.
#[derive(Debug, Serialize)]
pub struct StepReport<'a> {
    /// The line `plan` prints.
    pub line: String,
    /// The step itself.
    #[serde(flatten)]
    pub step: &'a Step,
}

impl<'a> PlanReport<'a> {
    /// The report of a plan.
    pub fn new(plan: &'a Plan, names: &impl Names) -> Self {
        let steps = plan
            .steps
            .iter()
            .map(|step| StepReport {
                line: line(step, names),
                step,
            })
            .collect();
        Self {
            empty: plan.is_empty(),
            steps,
        }
    }
}

/// One line a step; a sentence if there is none.
pub fn plan(plan: &Plan, names: &impl Names, out: &mut impl Write) -> io::Result<()> {
    if plan.is_empty() {
        return writeln!(out, "nothing to do: the host is as it should be");
    }
    for step in &plan.steps {
        writeln!(out, "{}", line(step, names))?;
    }
    Ok(())
}
