//! A plan for people.

use std::io::{self, Write};

use eni_steer_core::{model::Names, plan::Plan};

/// How much of a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Commands, and one line for all that is no command ([`Plan::lines`]).
    Folded,
    /// One line for each step.
    EveryStep,
}

/// The plan; a sentence if nothing has to be done.
pub fn plan(
    plan: &Plan,
    names: &impl Names,
    detail: Detail,
    out: &mut impl Write,
) -> io::Result<()> {
    if plan.is_empty() {
        return writeln!(out, "nothing to do: the host is as the policy says");
    }
    let lines = match detail {
        Detail::Folded => plan.lines(names),
        Detail::EveryStep => plan.steps.iter().map(|step| step.describe(names)).collect(),
    };
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
