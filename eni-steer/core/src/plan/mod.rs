//! The plan: desired minus observed, as steps that can be printed, done and undone.

mod diff;
mod order;
mod revert;
mod step;
mod text;

#[cfg(test)]
mod decisions;
#[cfg(test)]
mod properties;

use serde::{Deserialize, Serialize};

use crate::{desired::Desired, model::Host};

pub use step::{Change, Program, Step};

/// The steps, in the order in which they are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// What leads from the host as observed to what is desired. An empty plan means that the host
    /// is as it should be: this is the one judge.
    pub fn between(desired: &Desired, host: &Host) -> Self {
        let mut steps = Vec::new();
        diff::tunables(desired, host, &mut steps);
        diff::routes(desired, host, &mut steps);
        diff::rules(desired, host, &mut steps);
        diff::datapath(desired.datapath.as_ref(), host, &mut steps);
        steps.extend(
            host.other_layouts
                .iter()
                .map(|layout| Step::RemoveOldLayout {
                    layout: *layout,
                    removed: true,
                }),
        );
        order::sort(&mut steps);
        Self { steps }
    }

    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
