//! The report of `plan`.

use serde::Serialize;

use crate::{
    model::Names,
    plan::{Plan, Step},
    report::Summary,
};

/// A plan with all its steps.
#[derive(Debug, Serialize)]
pub struct PlanReport<'a> {
    /// Whether the plan is empty: the host is as the policy wants it.
    pub empty: bool,
    /// The steps, in the order in which eni-steer carries them out.
    pub steps: Vec<StepReport<'a>>,
    /// What they change, and for whom; `None`: they remove everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// What `apply` and `remove` did.
#[derive(Debug, Serialize)]
pub struct ChangeReport<'a> {
    /// The command: `apply` or `remove`.
    #[serde(skip)]
    pub command: &'static str,
    /// The steps that were carried out.
    #[serde(flatten)]
    pub plan: PlanReport<'a>,
    /// How it went; `None`: there was nothing to do.
    pub carried_out: Option<Carried>,
}

/// How a plan was carried out, and what was checked afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// How long the steps took, in milliseconds.
    pub milliseconds: u64,
    /// How many of the kernel's lookups were asked afterwards.
    pub lookups: usize,
    /// How many of them were not as they should be.
    pub wrong: usize,
    /// How many gateways there are.
    pub gateways: usize,
    /// How many of them answer, as far as that was known right after the change.
    pub gateways_answer: usize,
}

impl Carried {
    /// It as a sentence.
    pub fn text(&self) -> String {
        let Self {
            milliseconds,
            lookups,
            wrong,
            gateways,
            gateways_answer,
        } = self;
        let right = lookups - wrong.min(lookups);
        format!(
            "Applied in {milliseconds} ms. Check: {right} of {lookups} test lookups right, \
             {gateways_answer} of {gateways} gateways answer."
        )
    }
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
            summary: None,
        }
    }
}
