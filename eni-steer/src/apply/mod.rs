//! Does a plan, step by step. When a step fails, the steps done before it are undone, the
//! last one first, and the report says what was done, what failed and what was undone.

mod host;
mod model;

use std::future::Future;

use crate::plan::{Plan, Step};

pub use host::{Host, StepError, warm_gateways};
pub use model::ModelKernel;

/// Something that can do a step: the host, a model of it, or a wrapper that fails.
pub trait Kernel {
    /// Why a step was not done.
    type Error;
    /// Does one step, or nothing.
    fn step(&mut self, step: &Step) -> impl Future<Output = Result<(), Self::Error>>;

    /// Does the first of these steps, or as many as it can do at once, in their order: each as a
    /// whole or not at all, and those behind one that fails as well. One answer for each that was
    /// tried.
    fn steps(&mut self, steps: &[Step]) -> impl Future<Output = Vec<Result<(), Self::Error>>> {
        async {
            match steps.first() {
                Some(step) => vec![self.step(step).await],
                None => Vec::new(),
            }
        }
    }
}

/// Does steps until all are done or one has failed, or, `regardless`, all of them. Each with its
/// answer.
async fn walk<'a, K: Kernel>(
    kernel: &mut K,
    steps: &'a [Step],
    regardless: bool,
) -> Vec<(&'a Step, Result<(), K::Error>)> {
    let mut walked = Vec::with_capacity(steps.len());
    let mut going_on = true;
    while going_on && walked.len() < steps.len() {
        let left = &steps[walked.len()..];
        let answers = kernel.steps(left).await;
        going_on = !answers.is_empty() && (regardless || answers.iter().all(Result::is_ok));
        walked.extend(left.iter().zip(answers));
    }
    walked
}

/// What became of a plan.
#[derive(Debug)]
#[must_use]
pub struct Report<E> {
    /// Steps that were done and stay done.
    pub done: Vec<Step>,
    /// The step that failed, and why.
    pub failed: Option<(Step, E)>,
    /// Steps that were undone because of it, in the order of undoing.
    pub undone: Vec<Step>,
    /// Steps that could not be undone, and why: what is left behind.
    pub left: Vec<(Step, E)>,
}

impl<E> Report<E> {
    /// All steps were done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_none()
    }
}

/// Does the plan.
pub async fn apply<K: Kernel>(plan: &Plan, kernel: &mut K) -> Report<K::Error> {
    let mut report = Report {
        done: Vec::new(),
        failed: None,
        undone: Vec::new(),
        left: Vec::new(),
    };
    for (step, answer) in walk(kernel, &plan.steps, false).await {
        match answer {
            Ok(()) => report.done.push(step.clone()),
            // The first one is why; those that were on their way with it may only follow from it.
            Err(error) if report.failed.is_none() => report.failed = Some((step.clone(), error)),
            Err(_) => {}
        }
    }
    if report.failed.is_some() {
        let done = std::mem::take(&mut report.done).into_iter().rev();
        let inverse: Vec<Step> = done.clone().map(Step::inverse).collect();
        // The others are undone although one is not: less is left behind.
        let answers = walk(kernel, &inverse, true).await;
        for (step, (_, answer)) in done.zip(answers) {
            match answer {
                Ok(()) => report.undone.push(step),
                Err(error) => report.left.push((step, error)),
            }
        }
    }
    report
}

/// What became of a plan that was done as far as it could be.
#[derive(Debug)]
#[must_use]
pub struct Settled<E> {
    /// Steps that were done.
    pub done: Vec<Step>,
    /// Steps that failed, and why.
    pub failed: Vec<(Step, E)>,
}

/// Does what can be done of the plan: a step that fails neither ends nor undoes the others.
/// For a daemon, which holds what it can and tries the rest again.
pub async fn settle<K: Kernel>(plan: &Plan, kernel: &mut K) -> Settled<K::Error> {
    let mut settled = Settled {
        done: Vec::new(),
        failed: Vec::new(),
    };
    for (step, answer) in walk(kernel, &plan.steps, true).await {
        match answer {
            Ok(()) => settled.done.push(step.clone()),
            Err(error) => settled.failed.push((step.clone(), error)),
        }
    }
    settled
}
