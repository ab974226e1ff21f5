//! `cargo xtask setup`: provides what building and testing need.
//!
//! A step is data: how to see whether it is needed, the ways to do it on this machine, and what a
//! person can type if none of them works here. After each way the step is checked again, so only
//! what works counts as done.

mod apt;
mod bpf_core;
mod bpf_linker;
mod cargo_tools;
mod tools;

use std::process::Command;

use anyhow::{Result, bail};

use crate::run;
use apt::Apt;

/// One thing that a build or a test run needs.
struct Step {
    name: &'static str,
    check: fn() -> State,
    ways: fn(&Apt) -> Vec<Way>,
    /// What a person can type if no way works here.
    by_hand: fn() -> String,
}

/// Result of a check.
enum State {
    /// It is there; the text says which one.
    Ready(String),
    /// It is missing; the text says why.
    Needed(String),
}

/// One way to provide it.
struct Way {
    why: &'static str,
    commands: Vec<Command>,
}

const STEPS: [Step; 3] = [bpf_core::STEP, bpf_linker::STEP, tools::STEP];

/// Provides what every build and every test needs.
pub fn run() -> Result<()> {
    see_to(&STEPS)
}

/// Provides what building needs.
pub fn for_building() -> Result<()> {
    see_to(&[bpf_core::STEP, bpf_linker::STEP])
}

/// Provides what booting other kernels needs besides that.
pub fn for_kernels() -> Result<()> {
    see_to(&[tools::KERNELS])
}

/// Provides what fuzzing needs besides that.
pub fn for_fuzzing() -> Result<()> {
    see_to(&[cargo_tools::FUZZ])
}

/// What `mutants` needs.
pub fn for_mutants() -> Result<()> {
    see_to(&[cargo_tools::MUTANTS])
}

/// Returns the programs that the lab calls.
pub fn lab_tools() -> impl Iterator<Item = &'static str> {
    tools::of_the_lab()
}

fn see_to(steps: &[Step]) -> Result<()> {
    let apt = Apt::here();
    let mut left = Vec::new();
    for step in steps {
        if let Err(why) = provide(step, &apt) {
            left.push(format!("{}: {why}\n  {}", step.name, (step.by_hand)()));
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let as_root = if run::is_root() {
        ""
    } else {
        "\nhint: as root, on Debian, setup does this: sudo -E \"$(which cargo)\" xtask setup"
    };
    bail!("setup is not complete\n{}{as_root}", left.join("\n"))
}

/// Returns the BPF target of objects for this machine.
fn native_target() -> &'static str {
    bpf_toolchain::target(cfg!(target_endian = "big"))
}

/// Carries out one step if it is needed. The error says what is still missing.
fn provide(step: &Step, apt: &Apt) -> Result<(), String> {
    let mut missing = match (step.check)() {
        State::Ready(what) => {
            println!("setup: {}: {what}", step.name);
            return Ok(());
        }
        State::Needed(why) => why,
    };
    println!("setup: {}: {missing}", step.name);
    for mut way in (step.ways)(apt) {
        println!("setup: {}: {}", step.name, way.why);
        let failed = way
            .commands
            .iter_mut()
            .find_map(|command| run::succeed(command).err());
        if let Some(error) = failed {
            println!("setup: {}: {error}", step.name);
            continue;
        }
        missing = match (step.check)() {
            State::Ready(what) => {
                println!("setup: {}: {what}", step.name);
                return Ok(());
            }
            State::Needed(why) => why,
        };
    }
    Err(missing)
}
