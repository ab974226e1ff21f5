//! `cargo xtask test`: everything that CI checks.

mod absent;
mod runner;
mod totals;

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    kernels,
    run::{self, HOST_PACKAGES},
    setup,
};
use runner::Runner;

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Args {
    /// Only run the tests; no format check, no lints, no documentation
    #[arg(long)]
    no_lint: bool,
    /// Run the lab's tests on this kernel, in a virtual machine: 5.10, 6.1, 6.12, newest, all
    #[arg(long, value_name = "KERNEL", value_delimiter = ',')]
    kernel: Vec<String>,
    /// In virtual machines, run only these test programs (lab, programs, offline), or only these
    /// modules of one: kernels, steering, hooks ...
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "kernel")]
    test: Vec<String>,
    /// How many packets to compare the programs and their model by; not in virtual machines
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        conflicts_with = "kernel"
    )]
    cases: u32,
    /// What runs the tests; cargo-nextest if it is installed, unless named
    #[arg(long, value_enum, conflicts_with = "kernel")]
    runner: Option<Runner>,
    /// Run only the tests whose name, MODULE::TEST, contains one of these
    filters: Vec<String>,
    /// Arguments for the test programs, as `-- --nocapture`; only cargo's own runner passes them
    /// on
    #[arg(last = true)]
    passed_on: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    run::require_root("the lab", "test")?;
    setup::run()?;
    if !args.kernel.is_empty() {
        return kernels::test(&args.kernel, &args.test, &args.filters, &args.passed_on);
    }
    let mut times = Vec::new();
    if !args.no_lint {
        let began = Instant::now();
        for mut check in lints() {
            run::succeed(&mut check)?;
        }
        times.push(("linted", began.elapsed()));
    }
    let began = Instant::now();
    // The tests of the lab run the binary, and cargo does not build one package's binary for
    // another package's tests.
    run::succeed(run::cargo().arg("build").args(HOST_PACKAGES).arg("--bins"))?;
    run::succeed(&mut runner::build())?;
    times.push(("built", began.elapsed()));

    let skipped = absent::skipped(&args.filters)?;
    for test in &skipped {
        println!("{test}");
    }
    let markers: BTreeSet<String> = skipped.into_iter().map(|test| test.marker).collect();
    let wanted = runner::Wanted {
        cases: args.cases,
        filters: &args.filters,
        passed_on: &args.passed_on,
        markers: &markers,
    };
    let runner = args.runner.unwrap_or_else(|| Runner::here(&args.passed_on));
    let began = Instant::now();
    let ran = runner.run(&wanted);
    times.push(("ran", began.elapsed()));
    println!("{}", summary(&times));
    ran
}

fn lints() -> [Command; 4] {
    let mut format = run::cargo();
    format.args(["fmt", "--all", "--check"]);

    let mut host = run::cargo();
    host.arg("clippy").args(HOST_PACKAGES);
    host.args(["--all-targets", "--", "-D", "warnings"]);

    // Distributions with a prebuilt BPF `core` have no clippy for that compiler, so the programs
    // are linted as host code. A host binary without std can not unwind. Passing the option to
    // clippy alone avoids a second build of what the other lints have checked.
    let mut ebpf = run::cargo();
    ebpf.args(["clippy", "--package", "eni-steer-ebpf"]).args([
        "--",
        "-C",
        "panic=abort",
        "-D",
        "warnings",
    ]);

    let mut documentation = run::cargo();
    documentation.arg("doc").args(HOST_PACKAGES);
    documentation.args(["--no-deps", "--document-private-items"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");

    [format, host, ebpf, documentation]
}

/// Returns a line like `linted in 40 s, built in 1 min 58 s, ran in 4 min 10 s`.
fn summary(times: &[(&str, Duration)]) -> String {
    let parts = times
        .iter()
        .map(|(what, time)| format!("{what} in {}", shown(*time)));
    parts.collect::<Vec<_>>().join(", ")
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_and_the_run_are_reported_apart() {
        let times = [
            ("built", Duration::from_millis(118_200)),
            ("ran", Duration::from_millis(59_600)),
            ("linted", Duration::from_millis(400)),
        ];
        assert_eq!(
            summary(&times),
            "built in 1 min 58 s, ran in 1 min 0 s, linted in 0 s"
        );
    }
}
