//! `cargo xtask test --kernel`: the lab's tests on other kernels, in virtual machines.

mod archive;
mod catalog;
mod cpio;
mod image;
mod machine;
mod outcome;
mod programs;
mod table;

use std::{env, fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{run, setup};
use archive::Unpacked;
use catalog::{KERNELS, Kernel};
use machine::End;
use outcome::Outcome;
use programs::Programs;
use table::Column;

/// Tests that make no sense in a machine whose processor is a program, by what their names contain.
const TESTS_NOT_HERE: [(&str, &str); 4] = [
    (
        "a_lab_is_there_in_less_than_a_second",
        "emulation is twenty times slower",
    ),
    ("leaves_the_host_as_it_was", "hundreds of applies in a row"),
    ("killed_at_200_moments", "two hundred applies in a row"),
    ("a_thousand_hot_plugs", "a thousand applies in a row"),
];

/// Programs of tests that do not run in machines; all others do.
const PROGRAMS_NOT_HERE: [(&str, &str); 3] = [
    ("bad_input", "no kernel is asked for anything"),
    ("parsers", "no kernel is asked for anything"),
    ("service", "systemd is not there"),
];

/// `cargo xtask kernels`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Ask the archive for newer packages of these kernels
    Fetch {
        /// Which; all unless named
        names: Vec<String>,
    },
    /// Write the README's table from what the last runs showed
    Table,
}

pub fn command(command: &Command) -> Result<()> {
    match command {
        Command::Fetch { names } => {
            run::require_root("apt", "kernels fetch")?;
            setup::for_kernels()?;
            let all = ["all".to_owned()];
            let names = if names.is_empty() { &all[..] } else { names };
            for kernel in catalog::named(names)? {
                let there = archive::fetch(kernel)?;
                println!(
                    "kernel {}: {} {}",
                    kernel.name, there.release, there.version
                );
            }
            Ok(())
        }
        Command::Table => write_table(),
    }
}

/// What came of one kernel.
enum Ran {
    Passed {
        tests: usize,
        seconds: u64,
    },
    Failed(String),
    /// It could not be had.
    Skipped(String),
}

/// Runs the tests whose names contain one of the filters, or all, on each of the kernels.
pub fn test(
    names: &[String],
    programs: &[String],
    filters: &[String],
    passed_on: &[String],
) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are x86-64's, and so must be the programs\n\
         hint: run this on an x86-64 machine"
    );
    let kernels = catalog::named(names)?;
    setup::for_kernels()?;
    // First what can not be had, then the build, then the machines one after another.
    let mut there = Vec::new();
    let mut results = Vec::new();
    for kernel in kernels {
        match archive::provide(kernel) {
            Ok(unpacked) => there.push((kernel, unpacked)),
            Err(why) => results.push((kernel, Ran::Skipped(format!("{why:#}")))),
        }
    }
    if !there.is_empty() {
        let programs = if programs.is_empty() {
            every_program()?
        } else {
            programs::build(programs)?
        };
        let arguments = arguments(filters, passed_on);
        for (kernel, unpacked) in there {
            let ran = test_on(kernel, &unpacked, &programs, &arguments)
                .unwrap_or_else(|error| Ran::Failed(format!("{error:#}")));
            results.push((kernel, ran));
        }
    }
    summary(&results, names)
}

/// The programs of tests that run in machines.
fn every_program() -> Result<Programs> {
    let mut programs = programs::build(&[])?;
    for (name, why) in PROGRAMS_NOT_HERE {
        println!("not in a machine: tests of {name} ({why})");
        programs.tests.retain(|test| test.name != name);
    }
    Ok(programs)
}

/// What each program of tests is told.
fn arguments(filters: &[String], passed_on: &[String]) -> Vec<String> {
    let mut arguments = Vec::new();
    if !passed_on.iter().any(|a| a.starts_with("--test-threads")) {
        arguments.push("--test-threads=2".to_owned());
    }
    for (test, why) in TESTS_NOT_HERE {
        println!("not in a machine: {test} ({why})");
        arguments.extend(["--skip".to_owned(), test.to_owned()]);
    }
    arguments.extend_from_slice(passed_on);
    arguments.extend_from_slice(filters);
    arguments
}

fn test_on(
    kernel: &Kernel,
    unpacked: &Unpacked,
    programs: &Programs,
    arguments: &[String],
) -> Result<Ran> {
    println!(
        "kernel {}: {} ({}), {}",
        kernel.name, unpacked.release, unpacked.version, kernel.why
    );
    let began = Instant::now();
    let home = home();
    fs::create_dir_all(&home).with_context(|| format!("can not make {}", home.display()))?;
    let file = |ending: &str| home.join(format!("{}.{ending}", kernel.name));
    let (image, log, results) = (file("cpio"), file("log"), file("results"));
    let mut left = programs.clone();
    let mut said = String::new();
    let mut in_vain = 0;
    let ended = loop {
        image::write(&image, unpacked, &left, arguments)?;
        let ended = machine::run(&unpacked.image, &image, &log, &results)?;
        let now = fs::read(&results).context("the machine left no results")?;
        let now = String::from_utf8_lossy(&now);
        let (whole, count) = outcome::came_to_their_end(&now);
        in_vain = if count == 0 { in_vain + 1 } else { 0 };
        if ended != End::Stumbled || in_vain == 2 {
            said += &now;
            break ended;
        }
        // Their results stand; the machine of the others is another one.
        said += whole;
        said += "\n";
        left.tests.drain(..count);
        let Some(next) = left.tests.first() else {
            break End::Well;
        };
        println!(
            "kernel {}: the emulator left a breakpoint where there is none; once more from {} on",
            kernel.name, next.name
        );
    };
    fs::write(&results, &said).with_context(|| format!("can not write {}", results.display()))?;
    let outcome = Outcome::read(&said);
    let why =
        match ended {
            End::OutOfTime => Some("the machine did not end in time".to_owned()),
            End::Stumbled => Some("the emulator failed twice in one program (int3)".to_owned()),
            End::Well => outcome.failure(),
            End::Badly(code) => Some(outcome.failure().unwrap_or_else(|| {
                format!("the machine ended with {code:?}: see {}", log.display())
            })),
        };
    Ok(match why {
        Some(why) => Ran::Failed(why),
        None => Ran::Passed {
            tests: outcome.passed(),
            seconds: began.elapsed().as_secs(),
        },
    })
}

/// Where images, logs and results are.
fn home() -> PathBuf {
    run::target_dir().join("vm")
}

/// Says how each kernel did. One that could not be had is never a pass; where it was asked for
/// by name, or CI relies on it, it is a failure.
fn summary(results: &[(&Kernel, Ran)], names: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    println!();
    for (kernel, result) in results {
        let name = kernel.name;
        match result {
            Ran::Passed { tests, seconds } => {
                println!("kernel {name}: {tests} tests passed in {seconds} s");
            }
            Ran::Failed(why) => {
                println!("kernel {name}: FAILED: {why}");
                failed.push(name);
            }
            Ran::Skipped(why) => {
                println!("kernel {name}: SKIPPED, it is not to be had: {why}");
                let by_name = names.iter().any(|asked| asked == name);
                let by_ci = kernel.needed_in_ci && env::var_os("CI").is_some();
                if by_name || by_ci {
                    failed.push(name);
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("kernels without success: {}", failed.join(", "));
    }
    ensure!(
        results
            .iter()
            .any(|(_, result)| matches!(result, Ran::Passed { .. })),
        "no kernel was to be had"
    );
    Ok(())
}

/// The README's table, from the results that lie here.
fn write_table() -> Result<()> {
    let mut columns = Vec::new();
    for kernel in &KERNELS {
        let results = home().join(format!("{}.results", kernel.name));
        let column = match (archive::unpacked(kernel), fs::read(&results)) {
            (Some(unpacked), Ok(said)) => Column {
                title: unpacked.title(),
                outcome: Some(Outcome::read(&String::from_utf8_lossy(&said))),
            },
            _ => Column {
                title: kernel.name.to_owned(),
                outcome: None,
            },
        };
        columns.push(column);
    }
    ensure!(
        columns.iter().any(|column| column.outcome.is_some()),
        "no kernel was tested yet\nhint: cargo xtask test --kernel all"
    );
    table::write(&run::workspace().join("README.md"), &columns)
}
