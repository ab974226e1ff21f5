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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes batches of three and refuses the steps with these numbers; an inverse is refused if
    /// its number is in `stuck`.
    struct Batches {
        refused: Vec<usize>,
        tried: usize,
    }

    impl Executor for Batches {
        type Error = usize;

        fn step(&mut self, _step: &Step) -> Result<(), usize> {
            let number = self.tried;
            self.tried += 1;
            match self.refused.contains(&number) {
                true => Err(number),
                false => Ok(()),
            }
        }

        fn steps(&mut self, steps: &[Step]) -> Vec<Result<(), usize>> {
            steps.iter().take(3).map(|step| self.step(step)).collect()
        }
    }

    fn plan(steps: u32) -> Plan {
        let step = |layout| Step::RemoveOldLayout {
            layout,
            removed: true,
        };
        Plan {
            steps: (0..steps).map(step).collect(),
        }
    }

    fn refusing(refused: &[usize]) -> Batches {
        Batches {
            refused: refused.to_vec(),
            tried: 0,
        }
    }

    #[test]
    fn a_plan_that_succeeds_is_complete_and_each_step_is_tried_once() {
        let mut executor = refusing(&[]);
        let report = apply(&plan(7), &mut executor);
        assert!(report.is_complete());
        assert_eq!((report.done.len(), executor.tried), (7, 7));
        assert!(report.undone.is_empty() && report.left.is_empty());
        let nothing = apply(&plan(0), &mut refusing(&[]));
        assert!(nothing.is_complete() && nothing.done.is_empty());
    }

    #[test]
    fn the_first_failure_is_the_cause_and_what_was_done_is_undone_the_last_first() {
        // The second batch is 3, 4, 5: 3 is done, 4 and 5 fail, and 6 is not tried.
        let mut executor = refusing(&[4, 5]);
        let plan = plan(9);
        let report = apply(&plan, &mut executor);
        assert!(!report.is_complete());
        assert_eq!(report.failed, Some((plan.steps[4].clone(), 4)));
        let undone: Vec<_> = plan.steps[..4].iter().rev().cloned().collect();
        assert_eq!(report.undone, undone);
        assert!(report.done.is_empty() && report.left.is_empty());
        assert_eq!(executor.tried, 6 + 4);
    }

    #[test]
    fn what_cannot_be_undone_is_reported_and_the_rest_is_undone() {
        let plan = plan(3);
        // Step 2 fails; of the inverses of 1 and 0, which are tried next, the first fails.
        let report = apply(&plan, &mut refusing(&[2, 3]));
        assert_eq!(report.failed, Some((plan.steps[2].clone(), 2)));
        assert_eq!(report.left, [(plan.steps[1].clone(), 3)]);
        assert_eq!(report.undone, [plan.steps[0].clone()]);
    }

    #[test]
    fn best_effort_tries_every_step_and_undoes_none() {
        let plan = plan(7);
        let report = apply_best_effort(&plan, &mut refusing(&[0, 4]));
        assert_eq!(report.done.len(), 5);
        assert_eq!(
            report.failed,
            [(plan.steps[0].clone(), 0), (plan.steps[4].clone(), 4)]
        );
    }
}
