//! The report of `plan`.

use serde::Serialize;

use crate::{
    model::Names,
    plan::{Plan, Step},
};

/// A plan with all its steps.
#[derive(Debug, Serialize)]
pub struct PlanReport<'a> {
    /// Whether the plan is empty: the host is as the policy wants it.
    pub empty: bool,
    /// The steps, in the order in which eni-steer carries them out.
    pub steps: Vec<StepReport<'a>>,
}

/// A step, as text for people and as fields for programs.
#[derive(Debug, Serialize)]
pub struct StepReport<'a> {
    /// The step as text ([`Step::describe`]).
    pub line: String,
    /// The step as fields.
    #[serde(flatten)]
    pub step: &'a Step,
}

impl<'a> PlanReport<'a> {
    /// The report of a plan. `names` translates interface indexes into names.
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
