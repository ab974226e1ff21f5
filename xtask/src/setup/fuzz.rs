//! Provides cargo-fuzz. The compiler is the one that is here (see `fuzz::ALLOW`).

use std::process::Command;

use super::{Apt, State, Step, Way};
use crate::run;

pub const STEP: Step = Step {
    name: "cargo-fuzz",
    check,
    ways,
    by_hand: || run::shown(&cargo_fuzz()),
};

fn check() -> State {
    match run::output(run::cargo().args(["fuzz", "--version"])) {
        Some(version) => State::Ready(version.trim().to_owned()),
        None => State::Needed("not installed".to_owned()),
    }
}

fn ways(_: &Apt) -> Vec<Way> {
    vec![Way {
        why: "by cargo",
        commands: vec![cargo_fuzz()],
    }]
}

fn cargo_fuzz() -> Command {
    let mut command = run::cargo();
    command.args(["install", "cargo-fuzz", "--locked"]);
    command
}
