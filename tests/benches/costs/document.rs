//! What was measured, as Markdown. Pure.

use std::fmt::Write as _;

use crate::report::{Run, Section};

const BEGIN: &str = "<!-- measured -->";
const END: &str = "<!-- /measured -->";

/// The document with what was measured in the place of what stood there; a new one if there is
/// none. `chart` names a picture to be shown.
pub fn document(before: Option<&str>, run: &Run, chart: Option<&str>, command: &str) -> String {
    let measured = measured(run, chart, command);
    let around = before.and_then(|text| {
        let (head, rest) = text.split_once(BEGIN)?;
        let (_, tail) = rest.split_once(END)?;
        Some((head, tail))
    });
    let (head, tail) = around.unwrap_or(("# Benchmarks\n\n", "\n"));
    format!("{head}{BEGIN}\n{measured}{END}{tail}")
}

fn measured(run: &Run, chart: Option<&str>, command: &str) -> String {
    let machine = &run.machine;
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string");
    line(format!("Measured by `{command}`:\n"));
    line("| | |\n|---|---|".to_owned());
    for (what, value) in [
        ("date", machine.date.clone()),
        ("kernel", format!("Linux {}", machine.kernel)),
        ("processors", format!("{} x {}", machine.cpus, machine.cpu)),
        ("memory", format!("{} MiB", machine.memory)),
        ("load average before", machine.load.clone()),
    ] {
        line(format!("| {what} | {value} |"));
    }
    for section in &run.sections {
        line(format!(
            "\n## {}\n\n{}.\n",
            section.name,
            capital(section.about)
        ));
        line(table(section));
        if section.findings.iter().any(|one| one.point().is_some())
            && let Some(chart) = chart
        {
            line(format!("![{}]({chart})", section.about));
        }
    }
    for name in &run.failed {
        line(format!("\n## {name}\n\nCould not be measured."));
    }
    text
}

fn table(section: &Section) -> String {
    let mut text = String::from("| what | value | bound | |\n|---|---:|---|---|\n");
    for finding in &section.findings {
        let cells = finding.cells();
        writeln!(
            text,
            "| {} |",
            cells.map(|cell| cell.trim().to_owned()).join(" | ")
        )
        .expect("a string");
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
