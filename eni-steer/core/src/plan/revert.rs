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
            Self::SavedValue { tunable, change } => Self::SavedValue {
                tunable,
                change: change.swapped(),
            },
            Self::Tunable {
                tunable,
                change,
                restores,
            } => Self::Tunable {
                tunable,
                change: change.swapped(),
                restores: !restores,
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
            Self::RemoveOldLayout { layout, removed } => Self::RemoveOldLayout {
                layout,
                removed: !removed,
            },
            Self::Program { hook, change } => Self::Program {
                hook,
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
