//! `cargo xtask demo`: from a fresh clone to steering that can be watched.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{run, setup};

/// What `demo` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Passed on to the demo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    run::require_root("the demo", "demo")?;
    setup::run()?;
    // The dev profile: it shares what is built with the tests, and a cold
    // build is the quicker one.
    run::succeed(run::cargo().args([
        "build",
        "--package",
        "eni-steer",
        "--package",
        "eni-steer-tests",
        "--bins",
    ]))?;
    // xtask comes from the same profile, so the demo lies beside it.
    let xtask = env::current_exe().context("can not find out where xtask itself is")?;
    let demo = xtask.with_file_name("demo");
    let error = Command::new(&demo).args(&args.args).exec();
    Err(error).with_context(|| format!("can not run {}", demo.display()))
}
