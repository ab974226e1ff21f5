//! `cargo xtask build`: the command as it is shipped.

use anyhow::{Context as _, Result};

use crate::{run, setup};

pub fn run() -> Result<()> {
    setup::for_building()?;
    command()
}

/// Builds `target/release/eni-steer`: one file that needs no library of the host it is copied to,
/// however old that is, and that starts without looking for any.
pub fn command() -> Result<()> {
    let mut build = run::cargo();
    build.args(["rustc", "--release", "--package", "eni-steer"]);
    build.args(["--bin", "eni-steer", "--", "-C"]);
    run::succeed(build.arg("target-feature=+crt-static")).context(
        "the command does not build\n\
         hint: linking statically needs the C library's archive (libc.a, in libc6-dev on Debian)",
    )
}
