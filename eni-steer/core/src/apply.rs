//! Carries out a plan, step by step. If a step fails, [`apply`] undoes the steps before it, the
//! last one first, and reports what was done, what failed and what was undone.

use crate::plan::{Plan, Step};

/// Something that can carry out a step: the Linux host, or in tests a model of it.
pub trait Executor {
    /// Why the executor did not carry out a step.
    type Error;

    /// Carries out one step completely, or changes nothing and returns the reason.
    ///
    /// # Errors
    /// The executor's own. The step has changed nothing.
    fn step(&mut self, step: &Step) -> Result<(), Self::Error>;

    /// Carries out a batch: the first of these steps, or as many as the executor can send at once,
    /// in their order. The executor carries out each step completely or not at all. A step that
    /// fails does not stop the ones after it in the same batch. Returns one answer for each step
    /// that the executor tried, at least one unless `steps` is empty.
    fn steps(&mut self, steps: &[Step]) -> Vec<Result<(), Self::Error>> {
        steps
            .first()
            .map(|step| self.step(step))
            .into_iter()
            .collect()
    }
}

/// When [`run_steps`] stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// After the first batch in which a step failed.
    Failure,
    /// After the last step.
    End,
}

/// Carries out steps batch by batch, and returns each step that was tried with its answer.
fn run_steps<'a, E: Executor>(
    executor: &mut E,
    steps: &'a [Step],
    until: Until,
) -> Vec<(&'a Step, Result<(), E::Error>)> {
    let mut tried = Vec::with_capacity(steps.len());
    let mut proceed = true;
    while proceed && tried.len() < steps.len() {
        let remaining = &steps[tried.len()..];
        let answers = executor.steps(remaining);
        proceed = !answers.is_empty() && (until == Until::End || answers.iter().all(Result::is_ok));
        tried.extend(remaining.iter().zip(answers));
    }
    tried
}

/// The result of [`apply`].
#[derive(Debug)]
#[must_use]
pub struct Report<E> {
    /// Steps that were carried out and not undone.
    pub done: Vec<Step>,
    /// The step that failed, and why.
    pub failed: Option<(Step, E)>,
    /// Steps that were undone because of the failure, in the order in which they were undone.
    pub undone: Vec<Step>,
    /// Steps that could not be undone, and why. Their changes remain on the host.
    pub left: Vec<(Step, E)>,
}

impl<E> Report<E> {
    /// Whether every step was carried out.
    pub fn is_complete(&self) -> bool {
        self.failed.is_none()
    }
}

/// Carries out the plan completely, or undoes the part that it carried out.
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
            // The first failure is the cause; later ones in the same batch may follow from it.
            Err(error) if report.failed.is_none() => report.failed = Some((step.clone(), error)),
            Err(_) => {}
        }
    }
    if report.failed.is_some() {
        let done: Vec<Step> = std::mem::take(&mut report.done).into_iter().rev().collect();
        let inverse: Vec<Step> = done.iter().cloned().map(Step::inverse).collect();
        // If one step cannot be undone, the others still are: less remains on the host.
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
    /// Steps that were carried out.
    pub done: Vec<Step>,
    /// Steps that failed, and why.
    pub failed: Vec<(Step, E)>,
}

/// Carries out as much of the plan as possible: a step that fails neither stops nor undoes the
/// others. The daemon works this way: it keeps what succeeded and tries the rest in its next pass.
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
