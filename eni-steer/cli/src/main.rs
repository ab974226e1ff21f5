//! The eni-steer command.
//!
//! One file a command in `cli`, each from arguments to a report to an exit code; `render` turns
//! reports into text and JSON; `daemon` keeps the policy in force.

mod cli;
mod daemon;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
