//! Measures what eni-steer costs, beside what people would use instead: the program behind `cargo
//! xtask bench`. Each file that is named in [`BENCHMARKS`] is one benchmark.

mod addresses;
mod batch;
mod chart;
mod deleted_rules;
mod document;
mod from_nothing;
mod hostile;
mod idle;
mod machine;
mod memory;
mod on_the_wire;
mod per_packet;
#[path = "../../tests/programs/bench.rs"]
#[allow(dead_code, reason = "tests of the programs use more of it")]
mod programs;
mod receiver;
mod repair;
mod report;
mod samples;
mod tcp;

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use eni_steer_tests::require_root;

use crate::machine::Machine;
use crate::report::{Finding, Run};

/// A benchmark that can be run.
struct Benchmark {
    name: &'static str,
    about: &'static str,
    measure: fn() -> Vec<Finding>,
}

const BENCHMARKS: [Benchmark; 10] = [
    per_packet::BENCHMARK,
    on_the_wire::BENCHMARK,
    tcp::BENCHMARK,
    addresses::BENCHMARK,
    hostile::BENCHMARK,
    memory::BENCHMARK,
    repair::BENCHMARK,
    deleted_rules::BENCHMARK,
    from_nothing::BENCHMARK,
    idle::BENCHMARK,
];

/// Measures what eni-steer costs.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    /// Only the benchmarks whose name contains one of these
    filters: Vec<String>,
    /// Write the measurements to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the measured curves into this file, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Write the measurements into this document, and the curves beside it
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Fail if a bound is not met
    #[arg(long)]
    check: bool,
    /// Only list the benchmarks
    #[arg(long)]
    list: bool,
    // `cargo bench` adds this argument.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let chosen = |one: &&Benchmark| {
        args.filters.is_empty() || args.filters.iter().any(|filter| one.name.contains(filter))
    };
    let chosen: Vec<&Benchmark> = BENCHMARKS.iter().filter(chosen).collect();
    if args.list {
        for one in &chosen {
            println!("{:<14}{}", one.name, one.about);
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        let names: Vec<_> = BENCHMARKS.iter().map(|one| one.name).collect();
        eprintln!("error: no benchmark is called {}", args.filters.join(", "));
        eprintln!("hint: there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    require_root();
    let mut run = Run::new(Machine::here());
    println!("{}", run.machine);
    for benchmark in chosen {
        let began = Instant::now();
        // The panic message is on stderr already.
        match catch_unwind(benchmark.measure) {
            Ok(findings) => run.add(benchmark.name, benchmark.about, began.elapsed(), findings),
            Err(_) => run.failed.push(benchmark.name),
        }
    }
    finish(&args, &run)
}

/// Writes the files that were requested and reports how the run went.
fn finish(args: &Args, run: &Run) -> ExitCode {
    for (path, text) in files(args, run) {
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("error: can not write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    for name in &run.failed {
        eprintln!("error: {name} could not be measured");
    }
    let unmet = run.unmet();
    for what in &unmet {
        println!("not met: {what}");
    }
    if run.failed.is_empty() && (unmet.is_empty() || !args.check) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the files that were requested, with their contents.
fn files(args: &Args, run: &Run) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    files.extend(args.json.clone().map(|path| (path, run.json())));
    let svg = run.sections.iter().find_map(chart::svg);
    if let (Some(path), Some(svg)) = (&args.chart, &svg) {
        files.push((path.clone(), svg.clone()));
    }
    if let Some(path) = &args.document {
        let picture = path.with_extension("svg");
        let name = picture.file_name().map(|name| name.to_string_lossy());
        let before = std::fs::read_to_string(path).ok();
        let filters: String = args.filters.iter().map(|one| format!(" {one}")).collect();
        let command = format!("cargo xtask bench{filters}");
        let text = document::document(before.as_deref(), run, name.as_deref(), &command);
        files.push((path.clone(), text));
        files.extend(svg.map(|svg| (picture, svg)));
    }
    files
}
