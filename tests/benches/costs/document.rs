//! Formats the measurements as Markdown, for a document with two blocks: those that have a bound,
//! and all of them. It does no I/O.

use std::fmt::Write as _;

use crate::report::{Run, Section};

/// Returns the document with its measurements replaced, or a new document. `chart` names a
/// picture to show.
pub fn document(before: Option<&str>, run: &Run, chart: Option<&str>, command: &str) -> String {
    let marks = ["<!-- measured -->", "<!-- /measured -->"];
    let measured = measured(run, chart, command);
    let text = before
        .and_then(|text| between(text, marks, &measured))
        .unwrap_or_else(|| format!("# Benchmarks\n\n{}\n{measured}{}\n", marks[0], marks[1]));
    between(&text, ["<!-- bench -->", "<!-- /bench -->"], &bounded(run)).unwrap_or(text)
}

/// Returns the measurements that have a bound, as one table.
fn bounded(run: &Run) -> String {
    let mut text = format!("{}\n\n", run.machine);
    text.push_str("| benchmark | what | value | bound | |\n|---|---|---:|---|---|\n");
    for section in &run.sections {
        let bounded = section.findings.iter().filter(|one| one.is_bounded());
        for finding in bounded {
            row(&mut text, [section.name.to_owned()], finding.cells());
        }
    }
    text
}

/// Returns the text with everything between two marks replaced.
fn between(text: &str, [begin, end]: [&str; 2], new: &str) -> Option<String> {
    let (head, rest) = text.split_once(begin)?;
    let (_, tail) = rest.split_once(end)?;
    Some(format!("{head}{begin}\n{new}{end}{tail}"))
}

fn measured(run: &Run, chart: Option<&str>, command: &str) -> String {
    let machine = &run.machine;
    let mut text = format!("Measured by `{command}`:\n\n| | |\n|---|---|\n");
    for (what, value) in [
        ("date", machine.date.clone()),
        ("kernel", format!("Linux {}", machine.kernel)),
        ("processors", format!("{} x {}", machine.cpus, machine.cpu)),
        ("memory", format!("{} MiB", machine.memory)),
        ("load average before", machine.load.clone()),
    ] {
        row(&mut text, [], [what.to_owned(), value]);
    }
    for section in &run.sections {
        let about = capital(section.about);
        write!(
            text,
            "\n## {}\n\n{about}.\n\n{}",
            section.name,
            table(section)
        )
        .expect("a string");
        if section.findings.iter().any(|one| one.point().is_some())
            && let Some(chart) = chart
        {
            write!(text, "\n![{}]({chart})\n", section.about).expect("a string");
        }
    }
    for name in &run.failed {
        write!(text, "\n## {name}\n\nCould not be measured.\n").expect("a string");
    }
    text
}

fn table(section: &Section) -> String {
    let mut text = String::from("| what | value | bound | |\n|---|---:|---|---|\n");
    for finding in &section.findings {
        row(&mut text, [], finding.cells());
    }
    text
}

fn row<const M: usize, const N: usize>(text: &mut String, first: [String; M], rest: [String; N]) {
    let cells: Vec<_> = first.iter().chain(&rest).map(|cell| cell.trim()).collect();
    writeln!(text, "| {} |", cells.join(" | ")).expect("a string");
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
