//! Compares the programs with a model of them. Packets and tables are random, [`judge`] decides
//! in plain Rust, and every answer and every counter must agree.
//!
//! The model is written from what the design and `eni_steer_common` promise, not from the
//! programs. `cargo xtask test` runs 100,000 packets, `cargo xtask test --cases N` any number. A
//! packet on which the two differ is reduced to the smallest one that still does, and saved in
//! `regressions.txt`. Later runs try the saved packets first.

mod generate;
mod headers;
mod hosts;
mod judge;
mod ledger;
mod machine;
mod probe;
mod tagger;
mod tell;
mod wire;

use std::env;

use eni_steer_core::model::Mode;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use machine::Machine;

/// How many packets to run by default: enough to notice that something is broken outright.
const FEW: u32 = 3_000;
/// The environment variable with the number of packets (`cargo xtask test --cases`).
const CASES: &str = "ENI_STEER_CASES";

/// Returns how many packets to run.
fn wanted() -> u32 {
    match env::var(CASES) {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|e| panic!("{CASES}={number}: {e}")),
        Err(_) => FEW,
    }
}

/// Makes a runner that generates scenarios and saves those that fail in a file.
fn runner(scenarios: u32, regressions: Option<&'static str>) -> TestRunner {
    let file = |path| Box::new(FileFailurePersistence::Direct(path)) as Box<_>;
    TestRunner::new(Config {
        cases: scenarios,
        failure_persistence: regressions.map(file),
        // A failure is worth some time.
        max_shrink_iters: 20_000,
        ..Config::default()
    })
}

/// Runs a third of the packets on a host where this ENI has this mode.
fn the_programs_agree(mode: Mode) {
    const REGRESSIONS: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/programs/model/regressions.txt"
    );
    let machine = std::cell::RefCell::new(Machine::new());
    let wanted = wanted().div_ceil(3).into();
    while machine.borrow().packets < wanted {
        // Each run tries the saved packets again, so there are few runs.
        let left = wanted - machine.borrow().packets;
        let scenarios = u32::try_from(left / 24 + 1).unwrap_or(u32::MAX);
        let ran = runner(scenarios, Some(REGRESSIONS)).run(&generate::scenario(mode), |scenario| {
            machine.borrow_mut().try_out(&scenario)
        });
        if let Err(difference) = ran {
            panic!("{difference}");
        }
    }
    let machine = machine.borrow();
    println!(
        "{} packets, {} refused by the kernel",
        machine.packets, machine.refused
    );
}

#[test]
fn in_count_mode_the_programs_do_what_the_model_says() {
    the_programs_agree(Mode::Count);
}

#[test]
fn in_steer_mode_the_programs_do_what_the_model_says() {
    the_programs_agree(Mode::Steer);
}

#[test]
fn in_drop_mode_the_programs_do_what_the_model_says() {
    the_programs_agree(Mode::Drop);
}
