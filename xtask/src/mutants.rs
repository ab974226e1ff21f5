//! `cargo xtask mutants`: changes the code that decides, one place after another, and looks
//! whether its own tests notice (cargo-mutants). Not part of CI.

use std::{fmt, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{run, setup};

/// The package that decides: pure, so that its own tests need neither root nor a kernel.
const PACKAGE: &str = "eni-steer-core";

/// Of the changes that compile, at least so many of a hundred must make a test fail.
const BOUND: usize = 95;

/// What is not the product: the kit that tests are made with.
const LEFT_OUT: &str = "eni-steer/core/src/fake/**";

/// How it is built: see Cargo.toml.
const PROFILE: &str = "mutants";

/// Cases of a property: each change is met by all tests, and most differ from the original soon.
const CASES: (&str, &str) = ("PROPTEST_CASES", "32");

/// What `mutants` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Only changes in lines that this file, a unified diff, adds or changes
    #[arg(long, value_name = "DIFF")]
    in_diff: Option<PathBuf>,
    /// Only changes in files that fit this glob: plan.rs, 'eni-steer/core/src/plan/**'
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,
    /// Only this part of the changes: 1/4
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only say which changes there are
    #[arg(long)]
    list: bool,
    /// The package whose code is changed, and whose tests are to notice
    #[arg(short, long, value_name = "NAME", default_value = PACKAGE)]
    package: String,
}

pub fn run(args: &Args) -> Result<()> {
    setup::for_mutants()?;
    let home = run::target_dir().join("mutants");
    fs::create_dir_all(&home).with_context(|| format!("can not make {}", home.display()))?;
    let outcomes = home.join("mutants.out/outcomes.json");
    // What an earlier run has left must not be read as the result of this one.
    if outcomes.exists() {
        fs::remove_file(&outcomes)
            .with_context(|| format!("can not remove {}", outcomes.display()))?;
    }
    let mut mutants = mutants(args)?;
    mutants.arg("--output").arg(&home);
    let line = run::shown(&mutants);
    println!("$ {line}");
    let status = mutants
        .status()
        .with_context(|| format!("can not run {line}"))?;
    match status.code() {
        // All were caught; some were missed; some ran out of time.
        Some(0 | 2 | 3) => {}
        Some(4) => bail!("the tests of {} fail without any change", args.package),
        _ => bail!("{line}: {status}"),
    }
    if args.list {
        return Ok(());
    }
    if !outcomes.exists() {
        println!("mutants: nothing to change there");
        return Ok(());
    }
    let text = fs::read_to_string(&outcomes)
        .with_context(|| format!("can not read {}", outcomes.display()))?;
    let tally = Tally::read(&text).context("cargo-mutants has written something unexpected")?;
    for missed in &tally.missed {
        println!("missed: {missed}");
    }
    println!("mutants: {tally}");
    println!(
        "mutants: the changes and what the tests printed are in {}",
        home.join("mutants.out").display()
    );
    tally.judge()
}

fn mutants(args: &Args) -> Result<Command> {
    let mut mutants = run::cargo();
    mutants.args(["mutants", "--package", &args.package]);
    mutants.args(["--profile", PROFILE, "--jobs", "2"]);
    // A change counts as noticed by a test, not by a lint.
    mutants.args(["--cap-lints", "true", "--no-shuffle", "--exclude", LEFT_OUT]);
    for file in &args.file {
        mutants.arg("--file").arg(file);
    }
    if let Some(shard) = &args.shard {
        mutants.arg("--shard").arg(shard);
    }
    if let Some(diff) = &args.in_diff {
        let here = std::env::current_dir().context("can not find out the working directory")?;
        mutants.arg("--in-diff").arg(here.join(diff));
    }
    if args.list {
        mutants.arg("--list");
    }
    let (name, value) = CASES;
    mutants.env(name, value);
    // Each job has a copy of the checkout and builds there.
    mutants.env_remove("CARGO_TARGET_DIR");
    // For `cargo test`: the unit tests, and nothing that would have to be linked besides.
    mutants.args(["--cargo-test-arg", "--lib"]);
    Ok(mutants)
}

/// What became of the changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    caught: usize,
    /// Tests did not come to an end: noticed as well.
    out_of_time: usize,
    /// Those that no test noticed, by name.
    missed: Vec<String>,
    /// Those that do not compile.
    unviable: usize,
}

impl Tally {
    fn read(outcomes: &str) -> Result<Self> {
        let outcomes: Value = serde_json::from_str(outcomes)?;
        let outcomes = outcomes["outcomes"].as_array().context("no outcomes")?;
        let mut tally = Self::default();
        for outcome in outcomes {
            // The first is that of the tests without any change.
            let Some(mutant) = outcome["scenario"].get("Mutant") else {
                continue;
            };
            match outcome["summary"].as_str() {
                Some("CaughtMutant") => tally.caught += 1,
                Some("Timeout") => tally.out_of_time += 1,
                Some("Unviable") => tally.unviable += 1,
                Some("MissedMutant") => {
                    let name = mutant["name"].as_str().unwrap_or("?");
                    tally.missed.push(name.to_owned());
                }
                other => bail!("what is {other:?}?"),
            }
        }
        Ok(tally)
    }

    fn noticed(&self) -> usize {
        self.caught + self.out_of_time
    }

    fn viable(&self) -> usize {
        self.noticed() + self.missed.len()
    }

    /// Whether enough of them were noticed.
    fn judge(&self) -> Result<()> {
        ensure!(self.viable() > 0, "none of the changes compiles");
        ensure!(
            self.noticed() * 100 >= self.viable() * BOUND,
            "fewer than {BOUND} % of the changes that compile were noticed"
        );
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noticed, viable) = (self.noticed(), self.viable());
        write!(
            f,
            "{noticed} caught ({} of them by running out of time), {} missed, {} unviable",
            self.out_of_time,
            self.missed.len(),
            self.unviable
        )?;
        if let Some(tenths) = (noticed * 1000).checked_div(viable) {
            let (percent, tenth) = (tenths / 10, tenths % 10);
            write!(
                f,
                "; caught / viable: {noticed} of {viable}, {percent}.{tenth} %"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(summaries: &[&str]) -> String {
        let mutants = summaries.iter().map(|summary| {
            format!(
                r#"{{"scenario":{{"Mutant":{{"name":"replace {summary}"}}}},"summary":"{summary}"}}"#
            )
        });
        let baseline = r#"{"scenario":"Baseline","summary":"Success"}"#.to_owned();
        let all: Vec<String> = std::iter::once(baseline).chain(mutants).collect();
        format!(r#"{{"outcomes":[{}]}}"#, all.join(","))
    }

    #[test]
    fn what_does_not_compile_does_not_count_and_what_never_ends_is_noticed() {
        let tally = Tally::read(&outcomes(&[
            "CaughtMutant",
            "Timeout",
            "Unviable",
            "MissedMutant",
        ]))
        .expect("outcomes");
        assert_eq!(tally.missed, ["replace MissedMutant"]);
        assert_eq!(
            tally.to_string(),
            "2 caught (1 of them by running out of time), 1 missed, 1 unviable; \
             caught / viable: 2 of 3, 66.6 %"
        );
        assert!(Tally::read(&outcomes(&["Surprise"])).is_err());
        assert!(Tally::read("{}").is_err());
    }

    #[test]
    fn fewer_than_95_of_100_are_a_failure_and_so_is_none() {
        let tally = |caught, missed| Tally {
            caught,
            missed: vec![String::new(); missed],
            ..Tally::default()
        };
        assert!(tally(95, 5).judge().is_ok());
        assert!(tally(94, 6).judge().is_err());
        assert!(tally(949, 51).judge().is_err());
        assert!(tally(0, 0).judge().is_err());
    }
}
