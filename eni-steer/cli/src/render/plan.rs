//! Prints a plan as text.

use std::io::{self, Write};

use eni_steer_core::{model::Names, plan::Plan};

/// How much of a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Commands; steps that no command can do are folded, one line per kind ([`Plan::lines`]).
    Folded,
    /// One line for each step.
    EveryStep,
}

/// Prints the plan, or a sentence if there is nothing to do.
pub fn plan(
    plan: &Plan,
    names: &impl Names,
    detail: Detail,
    out: &mut impl Write,
) -> io::Result<()> {
    if plan.is_empty() {
        return writeln!(out, "nothing to do: the host matches the policy");
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
