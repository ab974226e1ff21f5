//! `cargo xtask bench`: what eni-steer costs, next to what one would use instead.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{build, run, setup};

/// What `bench` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Only the benchmarks whose name contains one of these
    filters: Vec<String>,
    /// Write what was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the curves that were measured to this file, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Write what was measured into this document, and its curves beside it
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Write what has a bound into this file, between <!-- bench --> and <!-- /bench -->
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// Fail if a bound is not met
    #[arg(long)]
    check: bool,
    /// Only say which benchmarks there are
    #[arg(long)]
    list: bool,
}

const PACKAGES: [&str; 4] = ["--package", "eni-steer", "--package", "eni-steer-tests"];

const MEMORY: &str = "/dev/shm";

pub fn run(args: &Args) -> Result<()> {
    run::require_root("the lab", "bench")?;
    setup::run()?;
    // Asked for together, the packages share what they depend on.
    let mut build = run::cargo();
    build.args(["build", "--release"]).args(PACKAGES);
    run::succeed(build.args(["--bench", "costs"]))?;
    // The command as it is shipped: cargo does not build one package's binary for another's
    // benchmarks.
    build::command()?;
    let mut bench = run::cargo();
    bench.arg("bench").args(PACKAGES).args(["--bench", "costs"]);
    // What eni-steer remembers is in /run, which is memory; on a disk it would be the disk that is
    // measured.
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
        ("--readme", &args.readme),
    ] {
        if let Some(path) = path {
            bench.arg(flag).arg(absolute(path)?);
        }
    }
    run::succeed(&mut bench)
}

/// Cargo runs benchmarks in the directory of their package.
fn absolute(path: &Path) -> Result<PathBuf> {
    let here = env::current_dir().context("can not find out the working directory")?;
    Ok(here.join(path))
}
