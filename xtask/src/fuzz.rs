//! `cargo xtask fuzz`: fuzzes every parser of external input with cargo-fuzz.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{run, setup};

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Which target; all unless named (the files of tests/fuzz/fuzz_targets)
    target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

pub fn run(args: &Args) -> Result<()> {
    let all = targets()?;
    let targets = match &args.target {
        None => all,
        Some(one) if all.contains(one) => vec![one.clone()],
        Some(other) => bail!(
            "there is no fuzz target {other}\nhint: there are {}",
            all.join(", ")
        ),
    };
    setup::run()?;
    setup::for_fuzzing()?;
    for target in &targets {
        run::succeed(&mut fuzz(target, args.seconds)?)?;
    }
    println!(
        "fuzz: nothing found by {} in {} s each",
        targets.join(", "),
        args.seconds
    );
    Ok(())
}

/// Stable compilers have the switches for coverage and sanitizers, but accept them only with this
/// variable. With it no nightly compiler is needed.
const ALLOW: &str = "RUSTC_BOOTSTRAP";

/// Returns the names of the targets.
fn targets() -> Result<Vec<String>> {
    let directory = run::workspace().join("tests/fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("can not read {}", directory.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if let Some(name) = file.file_stem() {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    ensure!(!targets.is_empty(), "no targets in {}", directory.display());
    Ok(targets)
}

/// Makes the command that fuzzes one target. It starts from the committed corpus and from what
/// earlier runs found interesting, which stays in `target`. Input that makes a parser panic is
/// saved there too.
fn fuzz(target: &str, seconds: u32) -> Result<Command> {
    let home = run::target_dir().join("fuzz");
    let (found, failures) = (home.join("corpus").join(target), home.join("failures"));
    for directory in [&found, &failures] {
        fs::create_dir_all(directory)
            .with_context(|| format!("can not make {}", directory.display()))?;
    }
    let mut command = run::cargo();
    command.env(ALLOW, "1");
    command.args(["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--target-dir"]);
    command.arg(&home).arg(target).arg(&found);
    command.arg(run::workspace().join("tests/fuzz/corpus").join(target));
    command.arg("--").arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/{target}-", failures.display()));
    // The list of every new input helps nobody.
    command.args(["-verbosity=0", "-print_final_stats=1"]);
    Ok(command)
}
