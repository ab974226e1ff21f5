//! The plan: the steps from the host as it is to the host as it should be. eni-steer can print,
//! carry out and undo each of them.

mod diff;
mod inverse;
mod order;
mod step;
mod text;

#[cfg(test)]
mod decisions;
#[cfg(test)]
mod properties;

use serde::{Deserialize, Serialize};

use crate::{
    desired::Desired,
    model::{Host, Names},
};

pub use step::{Change, Program, Step};

/// Steps, in the order in which eni-steer carries them out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Each step changes one object.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The steps from the host as it is to the desired state. An empty plan means that the host is
    /// as it should be. `verify`, `status` and the daemon all judge by this.
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

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan as lines for people, in its order: one line for each step that is a command, and
    /// one line for a run of steps of the same kind that no command can carry out.
    pub fn lines(&self, names: &impl Names) -> Vec<String> {
        text::folded_lines(&self.steps, names)
    }
}
