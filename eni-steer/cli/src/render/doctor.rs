//! What `doctor` says: a line for each thing that was looked at, then the commands that end what
//! is wrong. It fits 80 columns.

use std::io::{self, Write};

use eni_steer_core::{
    doctor::{Check, DoctorReport, codes::Entry, codes::severity},
    findings::Severity,
    report::Origin,
};

use super::text::wrapped;

/// Columns of a line.
const WIDTH: usize = 80;
/// Where the text of a line begins.
const TEXT: usize = 26;
/// Columns at the end of a line for the number of a fix.
const NUMBER: usize = 5;

/// Prints the report.
pub fn doctor(report: &DoctorReport, origin: &Origin, out: &mut impl Write) -> io::Result<()> {
    heading(report, origin, out)?;
    writeln!(out)?;
    for check in &report.checks {
        line(check, out)?;
    }
    writeln!(out)?;
    let count = |count: usize, noun: &str| match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    };
    let next = if report.remedies.is_empty() {
        ""
    } else {
        " Next:"
    };
    writeln!(
        out,
        "{}, {}.{next}",
        count(report.failures, "failure"),
        count(report.warnings, "warning")
    )?;
    for remedy in &report.remedies {
        let number = format!(" [{}] ", remedy.number);
        wrapped(&number, &remedy.command, WIDTH, out)?;
    }
    if report.checks.iter().any(|check| check.code.is_some()) {
        writeln!(out, "'eni-steer doctor CODE' explains a code.")?;
    }
    writeln!(
        out,
        "Nothing was changed (one ARP or ND probe per gateway).\n\
         For a ticket: eni-steer report --redact -o FILE"
    )
}

fn heading(report: &DoctorReport, origin: &Origin, out: &mut impl Write) -> io::Result<()> {
    let machine = match report.machine.is_empty() {
        true => String::new(),
        false => format!(" ({})", report.machine),
    };
    let enis: Vec<String> = report
        .enis
        .iter()
        .map(|eni| match report.primary.as_ref() == Some(eni) {
            true => format!("{eni} (primary)"),
            false => eni.clone(),
        })
        .collect();
    let enis = match enis.is_empty() {
        true => String::new(),
        false => format!("; ENIs: {}", enis.join(", ")),
    };
    let text = format!("{}, Linux {}{machine}{enis}", origin.host, report.kernel);
    wrapped("", &text, WIDTH, out)
}

fn line(check: &Check, out: &mut impl Write) -> io::Result<()> {
    let word = match check.severity {
        None => "ok",
        Some(Severity::Info) => "info",
        Some(Severity::Warning) => "WARN",
        Some(Severity::Failure) => "FAIL",
    };
    let code = check.code.unwrap_or_default();
    let head = format!(" {word:<5} {code:<7} {:<11}", check.area);
    let mut lines = Vec::new();
    wrapped(&head, &check.text, WIDTH - NUMBER, &mut lines)?;
    let text = String::from_utf8_lossy(&lines).into_owned();
    debug_assert_eq!(head.len(), TEXT);
    let Some(number) = check.fix else {
        return out.write_all(text.as_bytes());
    };
    let text = text.trim_end();
    let last = text.lines().next_back().unwrap_or_default();
    let number = format!("[{number}]");
    let pad = WIDTH.saturating_sub(last.chars().count() + number.len());
    writeln!(out, "{text}{}{number}", " ".repeat(pad))
}

/// Explains a code.
pub fn code(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{}  {}: {} ({})",
        entry.code,
        entry.area,
        entry.title,
        severity(entry.severity)
    )?;
    writeln!(out)?;
    wrapped("Why it matters: ", entry.why, WIDTH, out)?;
    wrapped("What to do: ", entry.fix, WIDTH, out)
}
