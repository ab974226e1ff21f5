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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Absence, fake::fake_host, ownership::Ownership, policy::Policy};

    #[test]
    fn a_plan_is_empty_only_where_nothing_is_to_change_and_people_see_folded_lines() {
        let host = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0");
        let desired = Desired::for_host(&host, &Policy::default(), Absence::Error, 1);
        let plan = Plan::between(&desired.expect("it is allowed"), &host);
        assert!(!plan.is_empty());
        let lines = plan.lines(&host);
        let rule = "+ ip -4 rule add pref 20300 from 172.16.20.177 lookup 21001 protocol 229";
        assert!(lines.contains(&rule.to_owned()), "{lines:#?}");
        assert!(lines.len() < plan.steps.len(), "{lines:#?}");
        let nothing = Plan::between(&Desired::empty(Ownership::default()), &host);
        assert!(nothing.is_empty());
        assert_eq!(nothing.lines(&host), [""; 0]);
    }
}
