//! Does a plan, step by step. When a step fails, [`apply`] undoes the steps before it, the last
//! one first, and reports what was done, what failed and what was undone.

use crate::plan::{Plan, Step};

/// Something that can do a step: the Linux host, or in tests a model of it.
pub trait Executor {
    /// Why a step was not done.
    type Error;

    /// Does one step as a whole, or changes nothing and says why.
    ///
    /// # Errors
    /// The executor's own; the step was not done.
    fn step(&mut self, step: &Step) -> Result<(), Self::Error>;

    /// Does the first of these steps, or as many as the executor can do at once, in their order.
    /// Each is done as a whole or not at all; a step that fails does not keep the executor from
    /// those behind it in the same batch. Returns one answer for each step it tried, at least one
    /// unless `steps` is empty.
    fn steps(&mut self, steps: &[Step]) -> Vec<Result<(), Self::Error>> {
        steps
            .first()
            .map(|step| self.step(step))
            .into_iter()
            .collect()
    }
}

/// When [`run_steps`] ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// At the first batch in which a step failed.
    Failure,
    /// When every step was tried.
    End,
}

/// Does steps, and returns each that was tried with its answer.
fn run_steps<'a, E: Executor>(
    executor: &mut E,
    steps: &'a [Step],
    until: Until,
) -> Vec<(&'a Step, Result<(), E::Error>)> {
    let mut tried = Vec::with_capacity(steps.len());
    let mut going_on = true;
    while going_on && tried.len() < steps.len() {
        let left = &steps[tried.len()..];
        let answers = executor.steps(left);
        going_on =
            !answers.is_empty() && (until == Until::End || answers.iter().all(Result::is_ok));
        tried.extend(left.iter().zip(answers));
    }
    tried
}

/// The result of [`apply`].
#[derive(Debug)]
#[must_use]
pub struct Report<E> {
    /// Steps that were done and stay done.
    pub done: Vec<Step>,
    /// The step that failed, and why.
    pub failed: Option<(Step, E)>,
    /// Steps that were undone because of it, in the order of undoing.
    pub undone: Vec<Step>,
    /// Steps that could not be undone, and why: these changes are left on the host.
    pub left: Vec<(Step, E)>,
}

impl<E> Report<E> {
    /// Whether every step was done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_none()
    }
}

/// Does the plan, or undoes what it did of it.
pub fn apply<E: Executor>(plan: &Plan, executor: &mut E) -> Report<E::Error> {
    let mut report = Report {
        done: Vec::new(),
        failed: None,
        undone: Vec::new(),
        left: Vec::new(),
    };
    for (step, answer) in run_steps(executor, &plan.steps, Until::Failure) {
        match answer {
            Ok(()) => report.done.push(step.clone()),
            // The first failure is the cause; later ones of the same batch may follow from it.
            Err(error) if report.failed.is_none() => report.failed = Some((step.clone(), error)),
            Err(_) => {}
        }
    }
    if report.failed.is_some() {
        let done: Vec<Step> = std::mem::take(&mut report.done).into_iter().rev().collect();
        let inverse: Vec<Step> = done.iter().cloned().map(Step::inverse).collect();
        // One step that cannot be undone does not keep the others: less is left behind.
        let answers = run_steps(executor, &inverse, Until::End);
        for (step, (_, answer)) in done.into_iter().zip(answers) {
            match answer {
                Ok(()) => report.undone.push(step),
                Err(error) => report.left.push((step, error)),
            }
        }
    }
    report
}

/// The result of [`apply_best_effort`].
#[derive(Debug)]
#[must_use]
pub struct PartialReport<E> {
    /// Steps that were done.
    pub done: Vec<Step>,
    /// Steps that failed, and why.
    pub failed: Vec<(Step, E)>,
}

/// Does as much of the plan as possible: a step that fails neither ends nor undoes the others.
/// The daemon works this way: it keeps what it can and tries the rest again.
pub fn apply_best_effort<E: Executor>(plan: &Plan, executor: &mut E) -> PartialReport<E::Error> {
    let mut report = PartialReport {
        done: Vec::new(),
        failed: Vec::new(),
    };
    for (step, answer) in run_steps(executor, &plan.steps, Until::End) {
        match answer {
            Ok(()) => report.done.push(step.clone()),
            Err(error) => report.failed.push((step.clone(), error)),
        }
    }
    report
}
