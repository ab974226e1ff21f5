//! What fuzzing needs: a nightly compiler, for its sanitizers, and cargo-fuzz.

use std::process::Command;

use super::{Apt, State, Step, Way};
use crate::run;

pub const STEP: Step = Step {
    name: "cargo-fuzz",
    check,
    ways,
    by_hand: || format!("{}; {}", run::shown(&nightly()), run::shown(&cargo_fuzz())),
};

fn check() -> State {
    match (compiler(), fuzzer()) {
        (None, _) => State::Needed("no nightly compiler".to_owned()),
        (_, None) => State::Needed("cargo-fuzz is not installed".to_owned()),
        (Some(compiler), Some(fuzzer)) => {
            State::Ready(format!("{}, {}", fuzzer.trim(), compiler.trim()))
        }
    }
}

fn compiler() -> Option<String> {
    run::output(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]))
}

fn fuzzer() -> Option<String> {
    run::output(run::cargo().args(["fuzz", "--version"]))
}

fn ways(_: &Apt) -> Vec<Way> {
    let mut commands = Vec::new();
    if compiler().is_none() {
        commands.push(nightly());
    }
    if fuzzer().is_none() {
        commands.push(cargo_fuzz());
    }
    vec![Way {
        why: "by rustup and cargo",
        commands,
    }]
}

fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    command
}

fn cargo_fuzz() -> Command {
    let mut command = run::cargo();
    command.args(["install", "cargo-fuzz", "--locked"]);
    command
}
