//! `cargo xtask build`: builds the command as it is shipped.

use anyhow::{Context as _, Result};

use crate::{run, setup};

/// Compiler flags for linking statically.
pub const STATIC: [&str; 2] = ["-C", "target-feature=+crt-static"];

/// The likely cause if linking statically fails.
pub const STATIC_HINT: &str =
    "hint: linking statically needs the C library's archive (libc.a, in libc6-dev on Debian)";

pub fn run() -> Result<()> {
    setup::for_building()?;
    command()
}

/// Builds `target/release/eni-steer`: one file that needs no libraries, so it runs on any host it
/// is copied to, however old that is, and starts faster.
pub fn command() -> Result<()> {
    let mut build = run::cargo();
    build.args(["rustc", "--release", "--package", "eni-steer"]);
    build.args(["--bin", "eni-steer", "--"]).args(STATIC);
    run::succeed(&mut build).with_context(|| format!("the command does not build\n{STATIC_HINT}"))
}
