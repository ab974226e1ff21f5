//! Provides a Rust compiler with a `core` for the BPF target.

use std::process::Command;

use super::{Apt, State, Step, Way, native_target};
use bpf_toolchain::{Missing, OLDEST, Toolchain, release};

use crate::run;

pub const STEP: Step = Step {
    name: "BPF core",
    check,
    ways,
    by_hand: || {
        "install the source of your compiler's library (`rustup component add rust-src`, or your \
         distribution's rust-src package)"
            .to_owned()
    },
};

fn check() -> State {
    match Toolchain::find(native_target()) {
        Ok(toolchain) => State::Ready(toolchain.compiler.to_string()),
        Err(missing @ Missing::Core { .. }) => State::Needed(missing.to_string()),
        Err(Missing::Linker { compiler, .. }) => State::Ready(compiler.to_string()),
    }
}

fn ways(apt: &Apt) -> Vec<Way> {
    let mut ways = Vec::new();
    let debian_is_new_enough = apt
        .version("rustc-web")
        .is_some_and(|version| release(&version) >= release(OLDEST));
    let debian = |packages: &[&str]| {
        apt.install(packages)
            .filter(|_| debian_is_new_enough)
            .map(|command| vec![command])
    };
    if let Some(commands) = debian(&["rustc-web", "libstd-rust-web-dev-bpf"]) {
        let why = "Debian has a compiler with core prebuilt for BPF";
        ways.push(Way { why, commands });
    }
    if run::on_path("rustup").is_some() {
        let mut command = Command::new("rustup");
        command.args(["component", "add", "rust-src"]);
        let (why, commands) = ("rustup may have core's source", vec![command]);
        ways.push(Way { why, commands });
    }
    if let Some(commands) = debian(&["rustc-web", "rust-web-src"]) {
        let why = "Debian has a compiler with core's source";
        ways.push(Way { why, commands });
    }
    ways
}
