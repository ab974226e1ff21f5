//! The command line. Each command has a file, which turns arguments into a report and an exit
//! code.

mod apply;
mod args;
mod carry_out;
mod config;
mod confirm;
mod context;
mod counters;
mod doctor;
mod explain;
mod failure;
mod off;
mod origin;
mod persist;
mod plan;
mod policy;
mod privileges;
mod progress;
mod remove;
mod report;
mod run;
mod seen;
mod status;
mod verify;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;

use self::args::{Cli, Command};
use self::failure::{Exit, Failure};
use crate::render::Escaped;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // If the reader of a pipe ends (`| head`), this process ends quietly, like any other tool.
    // SAFETY: SIG_DFL for SIGPIPE is set before any thread or handler exists.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // What follows -- is no option.
            let words = std::env::args().take_while(|word| word != "--");
            let json = words
                .skip(1)
                .any(|word| word == "--json" || is_short_json(&word));
            return failure::usage(&error, json);
        }
    };
    init_log(cli.global.verbose);
    let json = cli.global.json;
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(json),
    }
}

/// Whether a word is `-j`, perhaps among other short options: `-vj`.
fn is_short_json(word: &str) -> bool {
    word.strip_prefix('-')
        .is_some_and(|letters| letters.contains('j') && letters.chars().all(char::is_alphabetic))
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Status(args) => status::run(&global, &args),
        Command::Plan(args) => plan::run(&global, &args),
        Command::Apply(args) => apply::run(&global, &args),
        Command::Confirm => confirm::confirm(&global),
        Command::Undo => confirm::undo(&global),
        Command::Remove(args) => remove::run(&global, &args),
        Command::Off => off::off(&global),
        Command::On => off::on(&global),
        Command::Verify(args) => verify::run(&global, &args),
        Command::Explain(args) => explain::run(&global, &args),
        Command::Counters(args) => counters::run(&global, &args),
        Command::Doctor(args) => doctor::run(&global, &args),
        Command::Report(args) => report::run(&global, &args),
        Command::Run(args) => run::run(&global, &args),
        Command::Persist(args) => persist::run(&global, &args),
        Command::Config(command) => config::run(&global, &command),
        Command::UndoUnlessConfirmed => confirm::guard(&global),
    }
}

/// Log lines go to stderr: warnings always, the rest with `-v`.
fn init_log(verbose: u8) {
    use tracing_subscriber::{
        Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt,
    };
    let level = match verbose {
        0 => tracing::level_filters::LevelFilter::WARN,
        1 => tracing::level_filters::LevelFilter::INFO,
        2 => tracing::level_filters::LevelFilter::DEBUG,
        _ => tracing::level_filters::LevelFilter::TRACE,
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The netlink libraries warn about attributes that newer kernels add; nothing follows from
    // that for the user.
    let filter = Targets::new()
        .with_default(level)
        .with_target(
            "netlink_packet_route",
            tracing::level_filters::LevelFilter::ERROR,
        )
        .with_target("netlink_proto", tracing::level_filters::LevelFilter::ERROR);
    tracing_subscriber::registry()
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(move || -> Box<dyn Write> {
                    // With colours, the library escapes what is between them.
                    match colours {
                        true => Box::new(std::io::stderr()),
                        false => Box::new(Escaped(std::io::stderr())),
                    }
                })
                // Colours are for people: a journal or a file gets plain text.
                .with_ansi(colours)
                .without_time()
                .with_filter(filter),
        )
        .init();
}
