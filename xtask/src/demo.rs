//! `cargo xtask demo`: shows steering at work, from a fresh clone.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    run::{self, HOST_PACKAGES},
    setup,
};

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Passed on to the demo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    run::require_root("the demo", "demo")?;
    setup::run()?;
    // The dev profile and all packages, exactly as for the tests, so that each of the two finds
    // what the other has built.
    run::succeed(run::cargo().arg("build").args(HOST_PACKAGES).arg("--bins"))?;
    // xtask was built with the same profile, so the demo is beside it.
    let xtask = env::current_exe().context("can not find out where xtask itself is")?;
    let demo = xtask.with_file_name("demo");
    let error = Command::new(&demo).args(&args.args).exec();
    Err(error).with_context(|| format!("can not run {}", demo.display()))
}
