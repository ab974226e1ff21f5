//! The step that undoes another step.

use super::step::{Change, Step};

impl<T> Change<T> {
    fn swapped(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }
}

impl Step {
    /// The step that undoes this one: each change with `from` and `to` swapped.
    pub(crate) fn inverse(self) -> Self {
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
