//! The plan that undoes a plan. eni-steer itself undoes single steps, in [`crate::apply::apply`].

use crate::plan::{Plan, Step};

impl Plan {
    /// The plan that undoes this one after it was carried out: the inverse of each step, the last
    /// step first.
    pub fn revert(&self) -> Self {
        let steps = self.steps.iter().rev().cloned().map(Step::inverse);
        Self {
            steps: steps.collect(),
        }
    }
}
