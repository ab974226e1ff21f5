//! Commands of cargo's that are fetched when they are first wanted: by `cargo install`, to where
//! that puts them.

use std::process::Command;

use super::{State, Step, Way};
use crate::run;

/// What fuzzing needs. The compiler is the one that is here (see `fuzz::ALLOW`).
pub const FUZZ: Step = Step {
    name: "cargo-fuzz",
    check: || check("fuzz"),
    ways: |_| ways("cargo-fuzz"),
    by_hand: || run::shown(&install("cargo-fuzz")),
};

/// What changes code and looks whether a test notices.
pub const MUTANTS: Step = Step {
    name: "cargo-mutants",
    check: || check("mutants"),
    ways: |_| ways("cargo-mutants"),
    by_hand: || run::shown(&install("cargo-mutants")),
};

fn check(subcommand: &str) -> State {
    match run::output(run::cargo().args([subcommand, "--version"])) {
        Some(version) => State::Ready(version.trim().to_owned()),
        None => State::Needed("not installed".to_owned()),
    }
}

fn ways(package: &str) -> Vec<Way> {
    vec![Way {
        why: "fetched and built by cargo, which takes some minutes",
        commands: vec![install(package)],
    }]
}

fn install(package: &str) -> Command {
    let mut command = run::cargo();
    command.args(["install", package, "--locked"]);
    command
}
