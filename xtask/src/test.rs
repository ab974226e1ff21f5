//! `cargo xtask test`: everything that CI checks.

use std::{env, process::Command};

use anyhow::Result;

use crate::{
    kernels,
    run::{self, HOST_PACKAGES},
    setup,
};

/// What `test` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Only run the tests; no format check, no lints, no documentation
    #[arg(long)]
    no_lint: bool,
    /// Run the lab's tests on this kernel, in a virtual machine: 5.10, 6.1, 6.12, newest, all
    #[arg(long, value_name = "KERNEL", value_delimiter = ',')]
    kernel: Vec<String>,
    /// In virtual machines, run only these programs of tests: kernels, steering ...
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "kernel")]
    test: Vec<String>,
    /// Packets that the programs and the model of them are compared by; not in virtual machines
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        conflicts_with = "kernel"
    )]
    cases: u32,
    /// Run only the tests whose name contains one of these
    filters: Vec<String>,
    /// Arguments for the test programs, as `-- --nocapture`
    #[arg(last = true)]
    passed_on: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    run::require_root("the lab", "test")?;
    setup::run()?;
    if !args.kernel.is_empty() {
        return kernels::test(&args.kernel, &args.test, &args.filters, &args.passed_on);
    }
    if !args.no_lint {
        for mut check in lints() {
            run::succeed(&mut check)?;
        }
    }
    // The tests of the lab run the binary; cargo does not build one package's
    // binary for the tests of another.
    run::succeed(run::cargo().arg("build").args(HOST_PACKAGES).arg("--bins"))?;
    run::succeed(&mut tests(args))
}

fn lints() -> [Command; 4] {
    let mut format = run::cargo();
    format.args(["fmt", "--all", "--check"]);

    let mut host = run::cargo();
    host.arg("clippy").args(HOST_PACKAGES);
    host.args(["--all-targets", "--", "-D", "warnings"]);

    // Distributions that have a prebuilt BPF `core` have no clippy for that
    // compiler, so the programs are linted as host code. A host binary
    // without std can not unwind; told to clippy alone, it makes no second
    // build of what the others have checked already.
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

fn tests(args: &Args) -> Command {
    let mut tests = run::cargo();
    tests.arg("test").args(HOST_PACKAGES).arg("--no-fail-fast");
    tests.arg("--").args(&args.filters).args(&args.passed_on);
    tests.env("ENI_STEER_CASES", args.cases.to_string());
    if env::var_os("RUST_TEST_THREADS").is_none() {
        // A lab is a dozen processes that wait for packets; more labs than
        // this at a time make timeouts meet.
        tests.env("RUST_TEST_THREADS", "4");
    }
    tests
}
