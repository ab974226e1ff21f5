//! The eni-steer command.
//!
//! `cli` has one file per command, which turns arguments into a report and an exit code; `render`
//! prints reports as text or JSON; `daemon` applies the policy and repairs what changes.

mod cli;
mod daemon;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
