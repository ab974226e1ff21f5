//! Runs the tests on this machine, with cargo-nextest, which runs each test in a process of its
//! own and knows which ones take long, or with cargo alone. Both run the same tests.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::totals::Totals;
use crate::run::{self, HOST_PACKAGES};

/// How many tests run at a time. A lab is a dozen processes that wait for packets; with more
/// labs, timeouts expire.
const AT_A_TIME: &str = "4";

/// What runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Runner {
    /// Cargo-nextest: each test is a process
    Nextest,
    /// Cargo's own: one test program after another
    Cargo,
}

/// Which tests are wanted, and how to run them.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// How many packets to compare the programs and their model by.
    pub cases: u32,
    /// Parts of names of wanted tests; all tests if there are none.
    pub filters: &'a [String],
    /// Arguments for the test programs.
    pub passed_on: &'a [String],
    /// Parts of names of tests to leave out.
    pub markers: &'a BTreeSet<String>,
}

/// Returns the command that builds the test programs, for both runners.
pub fn build() -> Command {
    let mut build = run::cargo();
    build.arg("test").args(HOST_PACKAGES).arg("--no-run");
    build
}

impl Runner {
    /// Returns the runner for this machine: nextest if it is installed; it is never built.
    /// Arguments for the test programs need cargo's runner, because only that passes them on.
    pub fn here(passed_on: &[String]) -> Self {
        let is_here = || run::output(run::cargo().args(["nextest", "--version"])).is_some();
        if passed_on.is_empty() && is_here() {
            Self::Nextest
        } else {
            Self::Cargo
        }
    }

    /// Runs the tests. It is a failure if none runs: then no name contains a filter.
    pub fn run(self, wanted: &Wanted<'_>) -> Result<()> {
        match self {
            Self::Nextest => {
                // Only cargo runs the examples in the documentation. They come first, so that the
                // summary is at the end.
                let examples = run::succeed(&mut examples(wanted));
                run::succeed(&mut nextest(wanted)).and(examples)
            }
            Self::Cargo => {
                let totals = listened_to(&mut cargo(wanted))?;
                ensure!(
                    totals.passed > 0,
                    "no test ran: no name contains {}",
                    wanted.filters.join(" or ")
                );
                Ok(())
            }
        }
    }
}

fn examples(wanted: &Wanted<'_>) -> Command {
    let mut examples = run::cargo();
    examples.arg("test").args(HOST_PACKAGES);
    examples.args(["--doc", "--no-fail-fast", "--"]);
    examples.args(wanted.filters);
    examples
}

fn nextest(wanted: &Wanted<'_>) -> Command {
    let mut tests = run::cargo();
    tests.args(["nextest", "run"]).args(HOST_PACKAGES);
    tests.arg("--no-fail-fast");
    if let Some(threads) = env::var_os("RUST_TEST_THREADS") {
        tests.arg("--test-threads").arg(threads);
    }
    tests.args(wanted.filters).arg("--");
    tests.args(skipping(wanted)).args(wanted.passed_on);
    tests.env("ENI_STEER_CASES", wanted.cases.to_string());
    tests
}

fn cargo(wanted: &Wanted<'_>) -> Command {
    let mut tests = run::cargo();
    tests.arg("test").args(HOST_PACKAGES);
    tests.args(["--no-fail-fast", "--"]);
    tests.args(skipping(wanted)).args(wanted.filters);
    tests.args(wanted.passed_on);
    tests.env("ENI_STEER_CASES", wanted.cases.to_string());
    if env::var_os("RUST_TEST_THREADS").is_none() {
        tests.env("RUST_TEST_THREADS", AT_A_TIME);
    }
    tests
}

fn skipping<'a>(wanted: &Wanted<'a>) -> impl Iterator<Item = &'a str> {
    let markers = wanted.markers.iter();
    markers.flat_map(|marker| ["--skip", marker.as_str()])
}

/// Runs the tests with cargo's runner, shows what it prints, and prints the sums in a last line.
fn listened_to(tests: &mut Command) -> Result<Totals> {
    let line = run::shown(tests);
    println!("$ {line}");
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can not run {line}"))?;
    let output = child.stdout.take().context("the output is a pipe")?;
    let mut totals = Totals::default();
    let mut out = std::io::stdout();
    for said in BufReader::new(output).split(b'\n') {
        let mut said = said.context("can not read what the tests print")?;
        totals.hear(&String::from_utf8_lossy(&said));
        said.push(b'\n');
        out.write_all(&said)
            .context("can not show what the tests print")?;
    }
    let status = child.wait().context("can not wait for the tests")?;
    for name in totals.failures() {
        println!("failed: {name}");
    }
    println!("{totals}");
    ensure!(status.success(), "{line}: {status}");
    Ok(totals)
}
