//! `cargo xtask demo`: from a fresh clone to steering that can be watched.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    run::{self, HOST_PACKAGES},
    setup,
};

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
    // The dev profile and all packages, as the tests are built: nothing that
    // one of them has built is built again for the other.
    run::succeed(run::cargo().arg("build").args(HOST_PACKAGES).arg("--bins"))?;
    // xtask comes from the same profile, so the demo lies beside it.
    let xtask = env::current_exe().context("can not find out where xtask itself is")?;
    let demo = xtask.with_file_name("demo");
    let error = Command::new(&demo).args(&args.args).exec();
    Err(error).with_context(|| format!("can not run {}", demo.display()))
}
