//! What undoes a step, and what undoes a plan.

use super::{Change, Plan, Step};

impl<T> Change<T> {
    fn swapped(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }
}

impl Step {
    /// The step that undoes this one.
    pub fn inverse(self) -> Self {
        match self {
            Self::Memory { knob, change } => Self::Memory {
                knob,
                change: change.swapped(),
            },
            Self::Knob {
                knob,
                change,
                put_back,
            } => Self::Knob {
                knob,
                change: change.swapped(),
                put_back: !put_back,
            },
            Self::Route { change } => Self::Route {
                change: change.swapped(),
            },
            Self::Rule { change } => Self::Rule {
                change: change.swapped(),
            },
            Self::Settings { change } => Self::Settings {
                change: change.swapped(),
            },
            Self::Eni { eni, change } => Self::Eni {
                eni,
                change: change.swapped(),
            },
            Self::Owner { net, change } => Self::Owner {
                net,
                change: change.swapped(),
            },
            Self::NextHop { eni, net, change } => Self::NextHop {
                eni,
                net,
                change: change.swapped(),
            },
            Self::Exempt { net, exempt } => Self::Exempt {
                net,
                exempt: !exempt,
            },
            Self::Retire { layout, retired } => Self::Retire {
                layout,
                retired: !retired,
            },
            Self::Program {
                eni,
                direction,
                change,
            } => Self::Program {
                eni,
                direction,
                change: change.swapped(),
            },
        }
    }
}

impl Plan {
    /// The plan that undoes this one once it is done: each step undone, the last one first.
    pub fn revert(&self) -> Self {
        Self {
            steps: self
                .steps
                .iter()
                .rev()
                .cloned()
                .map(Step::inverse)
                .collect(),
        }
    }
}
