//! Developer commands: `cargo xtask setup`, `build`, `demo`, `test`, `bench`, `fuzz`,
//! `mutants`, `kernels`.

mod bench;
mod build;
mod demo;
mod fuzz;
mod kernels;
mod mutants;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// Developer commands of eni-steer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Provide what building and testing need; fast when all is there
    Setup,
    /// Set up, and build the command that is copied to hosts: target/release/eni-steer
    Build,
    /// Set up, build, and show the steering at work in a lab of network namespaces
    Demo(demo::Args),
    /// Set up, lint, and run every test
    Test(test::Args),
    /// Set up, build, and measure what eni-steer costs
    Bench(bench::Args),
    /// Look for input that makes a parser panic
    Fuzz(fuzz::Args),
    /// Change the code that decides, place by place, and see whether its own tests notice
    Mutants(mutants::Args),
    /// Manage the kernels that `test --kernel` boots
    #[command(subcommand)]
    Kernels(kernels::Command),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Setup => setup::run(),
        Command::Build => build::run(),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Kernels(command) => kernels::command(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
