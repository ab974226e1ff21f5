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
    for step in &plan.steps {
        match kernel.step(step).await {
            Ok(()) => report.done.push(step.clone()),
            Err(error) => {
                report.failed = Some((step.clone(), error));
                break;
            }
        }
    }
    if report.failed.is_some() {
        while let Some(step) = report.done.pop() {
            match kernel.step(&step.clone().inverse()).await {
                Ok(()) => report.undone.push(step),
                // The others are undone all the same: less is left behind.
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
    for step in &plan.steps {
        match kernel.step(step).await {
            Ok(()) => settled.done.push(step.clone()),
            Err(error) => settled.failed.push((step.clone(), error)),
        }
    }
    settled
}
