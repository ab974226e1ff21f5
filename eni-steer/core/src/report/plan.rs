//! What `plan` says.

use serde::Serialize;

use crate::{
    model::Names,
    plan::{Plan, Step},
};

/// A plan, whole.
#[derive(Debug, Serialize)]
pub struct PlanReport<'a> {
    /// Whether nothing has to be done.
    pub empty: bool,
    /// Every step, in order.
    pub steps: Vec<StepReport<'a>>,
}

/// A step, for programs and for people.
#[derive(Debug, Serialize)]
pub struct StepReport<'a> {
    /// The step in words ([`Step::describe`]).
    pub line: String,
    /// The step itself.
    #[serde(flatten)]
    pub step: &'a Step,
}

impl<'a> PlanReport<'a> {
    /// The report of a plan.
    pub fn new(plan: &'a Plan, names: &impl Names) -> Self {
        let steps = plan.steps.iter().map(|step| StepReport {
            line: step.describe(names),
            step,
        });
        Self {
            empty: plan.is_empty(),
            steps: steps.collect(),
        }
    }
}
