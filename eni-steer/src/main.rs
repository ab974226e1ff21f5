//! The eni-steer command.

use std::process::ExitCode;

fn main() -> ExitCode {
    eni_steer::cli::main()
}
