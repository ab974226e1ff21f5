//! `cargo xtask test --kernel`: runs the lab's tests on other kernels, in virtual machines.

mod archive;
mod catalog;
mod cpio;
mod image;
mod machine;
mod outcome;
mod programs;
mod selection;
mod table;

use std::{env, fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{run, setup};
use archive::Unpacked;
use catalog::{KERNELS, Kernel};
use machine::End;
use outcome::Outcome;
use programs::Programs;
use selection::{Group, Only, Wanted};
use table::Column;

/// Tests that are left out in a machine with an emulated processor: a part of the name, and why.
const TESTS_NOT_HERE: [(&str, &str); 4] = [
    (
        "a_lab_is_there_in_less_than_a_second",
        "emulation is twenty times slower",
    ),
    ("leaves_the_host_as_it_was", "hundreds of applies in a row"),
    ("killed_at_200_moments", "two hundred applies in a row"),
    ("a_thousand_hot_plugs", "a thousand applies in a row"),
];

/// Test programs, and modules of the lab's, that run in machines only if `--test` names them.
const GROUPS_NOT_HERE: [(&str, &str); 3] = [
    ("bad_input", "it needs no kernel"),
    ("offline", "it needs no kernel"),
    ("service", "there is no systemd"),
];

/// Subcommands of `cargo xtask kernels`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Ask the archive for newer packages of these kernels
    Fetch {
        /// Which kernels; all unless named
        names: Vec<String>,
    },
    /// Write the table of kernels from the results of the last runs
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

/// What happened with one kernel.
enum Ran {
    Passed {
        tests: usize,
        /// How many tests need something that the kernel does not have.
        skipped: usize,
        seconds: u64,
    },
    Failed(String),
    /// The kernel could not be fetched.
    Skipped(String),
}

/// The tests that the machines run.
struct Tests {
    programs: Programs,
    groups: Vec<Group>,
    /// Arguments of each test program.
    arguments: Vec<String>,
}

/// Runs the tests whose names contain one of the filters (or all tests) on each of the kernels:
/// of the programs and modules that are named, otherwise of those that make sense there.
pub fn test(
    names: &[String],
    tests: &[String],
    filters: &[String],
    passed_on: &[String],
) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are x86-64's, and so must be the programs\n\
         hint: run this on an x86-64 machine"
    );
    let kernels = catalog::named(names)?;
    let only = selection::named(&run::workspace().join("tests/tests"), tests)?;
    setup::for_kernels()?;
    // First fetch the kernels, then build, then run the machines one after another.
    let mut there = Vec::new();
    let mut results = Vec::new();
    for kernel in kernels {
        match archive::provide(kernel) {
            Ok(unpacked) => there.push((kernel, unpacked)),
            Err(why) => results.push((kernel, Ran::Skipped(format!("{why:#}")))),
        }
    }
    if !there.is_empty() {
        let tests = build(&only, filters, passed_on)?;
        for (kernel, unpacked) in there {
            let ran = test_on(kernel, &unpacked, &tests)
                .unwrap_or_else(|error| Ran::Failed(format!("{error:#}")));
            results.push((kernel, ran));
        }
    }
    summary(&results, names)
}

/// Builds the programs and chooses the tests.
fn build(only: &[Only], filters: &[String], passed_on: &[String]) -> Result<Tests> {
    let (mut wanted, mut arguments) = Wanted::read(filters, passed_on);
    if !arguments.iter().any(|a| a.starts_with("--test-threads")) {
        arguments.push("--test-threads=2".to_owned());
    }
    let mut programs: Vec<&str> = only.iter().map(|only| only.program.as_str()).collect();
    programs.sort();
    programs.dedup();
    let programs = programs::build(&programs)?;
    // Whoever gives whole names knows what they want; the tests left out here are parts of names.
    if !wanted.exact {
        for (test, why) in TESTS_NOT_HERE {
            println!("not in a machine: {test} ({why})");
            wanted.skips.push(test.to_owned());
        }
    }
    let mut groups = Vec::new();
    for program in &programs.tests {
        let tests = program.list()?;
        groups.extend(selection::groups(&program.name, &tests, only, &wanted));
    }
    if only.is_empty() {
        for (name, why) in GROUPS_NOT_HERE {
            println!("not in a machine: tests of {name} ({why})");
            groups.retain(|group| group.name != name);
        }
    }
    ensure!(
        !groups.is_empty(),
        "no test is left to run: no name fits the filters"
    );
    Ok(Tests {
        programs,
        groups,
        arguments,
    })
}

fn test_on(kernel: &Kernel, unpacked: &Unpacked, tests: &Tests) -> Result<Ran> {
    let name = kernel.name;
    println!(
        "kernel {name}: {} ({}), {}",
        unpacked.release, unpacked.version, kernel.why
    );
    let began = Instant::now();
    let home = home();
    fs::create_dir_all(&home).with_context(|| format!("can not make {}", home.display()))?;
    let file = |ending: &str| home.join(format!("{name}.{ending}"));
    let (image, log, results) = (file("cpio"), file("log"), file("results"));
    let (said, ended) = to_the_end(&tests.groups, |left, first| {
        if !first {
            println!(
                "kernel {name}: the emulator left a breakpoint where there is none; once more for \
                 the {} tests that have not come to an end",
                selection::count(left)
            );
        }
        image::write(&image, unpacked, &tests.programs, left, &tests.arguments)?;
        let ended = machine::run(&unpacked.image, &image, &log, &results)?;
        let said = fs::read(&results).context("the machine left no results")?;
        Ok((String::from_utf8_lossy(&said).into_owned(), ended))
    })?;
    fs::write(&results, &said).with_context(|| format!("can not write {}", results.display()))?;
    let outcome = Outcome::read(&said);
    let failure = outcome.failure(&tests.groups);
    let why =
        match ended {
            End::OutOfTime => Some("the machine did not end in time".to_owned()),
            End::Stumbled => Some(format!(
                "the emulator failed twice before a test came to its end (int3): {}",
                failure.unwrap_or_default()
            )),
            End::Well => failure,
            End::Badly(code) => Some(failure.unwrap_or_else(|| {
                format!("the machine ended with {code:?}: see {}", log.display())
            })),
        };
    Ok(match why {
        Some(why) => Ran::Failed(why),
        None => Ran::Passed {
            tests: outcome.passed(),
            skipped: outcome.skipped(),
            seconds: began.elapsed().as_secs(),
        },
    })
}

/// Runs the groups in a machine and, after a fault of the emulator, in further machines, each
/// with the tests that have not ended yet; it stops when none is left, or when no test ended
/// twice in a row. `machine` gets the tests and whether it is the first machine; it returns what
/// its programs printed. Returns what all of them printed, and how the last machine ended.
fn to_the_end(
    groups: &[Group],
    mut machine: impl FnMut(&[Group], bool) -> Result<(String, End)>,
) -> Result<(String, End)> {
    let mut left = groups.to_vec();
    let mut said = String::new();
    let mut in_vain = 0;
    loop {
        let (now, ended) = machine(&left, said.is_empty() && in_vain == 0)?;
        if ended != End::Stumbled {
            said += &now;
            return Ok((said, ended));
        }
        said += outcome::whole_lines(&now);
        let rest = Outcome::read(&said).left_of(groups);
        let none_ended = rest == left;
        left = rest;
        in_vain = if none_ended { in_vain + 1 } else { 0 };
        if left.is_empty() {
            // Only the end of the machine itself was missing.
            return Ok((said, End::Well));
        }
        if in_vain == 2 {
            return Ok((said, ended));
        }
    }
}

/// Returns the directory of images, logs and results.
fn home() -> PathBuf {
    run::target_dir().join("vm")
}

/// Reports how each kernel did. A kernel that could not be fetched never counts as passed; if
/// somebody named it, or CI relies on it, it counts as failed.
fn summary(results: &[(&Kernel, Ran)], names: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    println!();
    for (kernel, result) in results {
        let name = kernel.name;
        match result {
            Ran::Passed {
                tests,
                skipped,
                seconds,
            } => println!("kernel {name}: {tests} tests passed, {skipped} skipped, in {seconds} s"),
            Ran::Failed(why) => {
                println!("kernel {name}: FAILED: {why}");
                failed.push(name);
            }
            Ran::Skipped(why) => {
                println!("kernel {name}: SKIPPED, it could not be fetched: {why}");
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
        "no kernel could be fetched"
    );
    Ok(())
}

/// Writes the table of kernels from the results in the target directory.
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
    table::write(run::workspace(), &columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        let group = |name: &str, tests: &[&str]| Group {
            name: name.to_owned(),
            program: "lab".to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        };
        vec![
            group("access", &["access::a"]),
            group("daemon", &["daemon::a", "daemon::b", "daemon::c"]),
        ]
    }

    /// Plays machines that print one of these texts each and end like this. Returns the tests
    /// that each machine got, and the end.
    fn machines(script: &[(&str, End)]) -> (Vec<Vec<String>>, String, End) {
        let mut given = Vec::new();
        let (said, ended) = to_the_end(&groups(), |left, first| {
            assert_eq!(first, given.is_empty());
            let (said, ended) = script[given.len()];
            given.push(left.iter().flat_map(|group| group.tests.clone()).collect());
            Ok((said.to_owned(), ended))
        })
        .expect("the machines run");
        assert_eq!(given.len(), script.len(), "every machine was asked for");
        (given, said, ended)
    }

    const ALL: [&str; 4] = ["access::a", "daemon::a", "daemon::b", "daemon::c"];

    #[test]
    fn after_a_fault_of_the_emulator_only_tests_without_a_result_run_again() {
        let (given, said, ended) = machines(&[
            (
                "program access\ntest access::a ... FAILED\n\
                 program daemon\ntest daemon::b ... ok\ntest daemon::c ... o",
                End::Stumbled,
            ),
            ("program daemon\ntest daemon::a ... ok\n", End::Stumbled),
            ("program daemon\ntest daemon::c ... ok\n", End::Well),
        ]);
        assert_eq!(
            given,
            [&ALL[..], &["daemon::a", "daemon::c"], &["daemon::c"]]
        );
        assert_eq!(ended, End::Well);
        let outcome = Outcome::read(&said);
        assert_eq!(outcome.passed(), 3, "{said}");
        let failure = outcome.failure(&groups()).expect("the first one failed");
        assert!(failure.contains("access::a"), "{failure}");
    }

    #[test]
    fn a_fault_after_the_last_test_changes_nothing() {
        let all = "program access\ntest access::a ... ok\nprogram daemon\n\
                   test daemon::a ... ok\ntest daemon::b ... ok\ntest daemon::c ... ok\n";
        let (given, _, ended) = machines(&[(all, End::Stumbled)]);
        assert_eq!(given, [ALL]);
        assert_eq!(ended, End::Well);
    }

    #[test]
    fn an_emulator_that_fails_twice_without_a_result_in_between_is_given_up() {
        let (given, said, ended) = machines(&[
            ("program access\ntest access::a ... ok\n", End::Stumbled),
            ("program daemon\n", End::Stumbled),
            ("program daemon\n", End::Stumbled),
        ]);
        assert_eq!(given[2], ALL[1..]);
        assert_eq!(ended, End::Stumbled);
        assert!(Outcome::read(&said).failure(&groups()).is_some());
    }

    #[test]
    fn a_line_that_the_fault_cut_off_does_not_spoil_the_next_machines_first() {
        let rest = "program daemon\ntest daemon::a ... ok\ntest daemon::b ... ok\n\
                    test daemon::c ... ok\n";
        let cut_off = "program access\ntest access::a ... ok\nprogr";
        let (_, said, _) = machines(&[(cut_off, End::Stumbled), (rest, End::Well)]);
        assert_eq!(Outcome::read(&said).failure(&groups()), None);
    }

    #[test]
    fn a_machine_that_ends_badly_is_not_tried_again() {
        let said = "program access\ntest access::a ... ok\n";
        let (_, _, ended) = machines(&[(said, End::Badly(Some(3)))]);
        assert_eq!(ended, End::Badly(Some(3)));
    }
}
