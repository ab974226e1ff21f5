//! `cargo xtask bench`: measures what eni-steer costs, beside what people would use instead.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{build, run, setup};

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the benchmarks whose name contains one of these
    filters: Vec<String>,
    /// Write the measurements to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the measured curves into this file, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Write the measurements into this document, and the curves beside it
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Fail if a bound is not met
    #[arg(long)]
    check: bool,
    /// Only list the benchmarks
    #[arg(long)]
    list: bool,
}

const PACKAGES: [&str; 4] = ["--package", "eni-steer", "--package", "eni-steer-tests"];

const MEMORY: &str = "/dev/shm";

pub fn run(args: &Args) -> Result<()> {
    run::require_root("the lab", "bench")?;
    setup::run()?;
    // One cargo call for all packages, so that they share their dependencies.
    let mut build = run::cargo();
    build.args(["build", "--release"]).args(PACKAGES);
    run::succeed(build.args(["--bench", "costs"]))?;
    // Build the command as it is shipped: cargo does not build one package's binary for another
    // package's benchmarks.
    build::command()?;
    let mut bench = run::cargo();
    bench.arg("bench").args(PACKAGES).args(["--bench", "costs"]);
    // eni-steer saves its state in /run, which is in memory. With a temporary directory on a disk
    // the benchmark would measure the disk.
    if Path::new(MEMORY).is_dir() {
        bench.env("TMPDIR", MEMORY);
    }
    bench.arg("--").args(&args.filters);
    for (flag, wanted) in [("--check", args.check), ("--list", args.list)] {
        bench.args(wanted.then_some(flag));
    }
    for (flag, path) in [
        ("--json", &args.json),
        ("--chart", &args.chart),
        ("--document", &args.document),
    ] {
        if let Some(path) = path {
            bench.arg(flag).arg(absolute(path)?);
        }
    }
    run::succeed(&mut bench)
}

/// Makes the path absolute, because cargo runs benchmarks in the directory of their package.
fn absolute(path: &Path) -> Result<PathBuf> {
    let here = env::current_dir().context("can not find out the working directory")?;
    Ok(here.join(path))
}
