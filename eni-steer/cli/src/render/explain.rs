//! The answer of `explain`.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use eni_steer_core::{
    explain::{Live, NeighbourState, Outcome},
    report::{ExplainReport, ExplainVerdict, KernelAnswer, RuleRow, Way},
};

/// Columns that a line may have.
const WIDTH: usize = 80;
/// Columns of a rule, unless all are shorter.
const RULE: usize = 46;
/// Rows with the same result that are shown before the others are counted.
const SHOWN: usize = 2;

/// The verdict; the ways; the rules; sentences; what to do. `all`: every rule on a line of its own.
pub fn explain(report: &ExplainReport, all: bool, out: &mut impl Write) -> io::Result<()> {
    let head = format!("{}   ", word(report.verdict));
    wrapped(&head, &report.summary, out)?;
    if !report.walk_agrees {
        writeln!(
            out,
            "DISAGREEMENT: the rules below do not explain the kernel's answer."
        )?;
    }
    writeln!(out)?;
    ways(report, out)?;
    writeln!(out)?;
    rules(report, all, out)?;
    writeln!(out)?;
    for sentence in report.why.iter().chain(&report.notes) {
        wrapped("", sentence, out)?;
    }
    fixes(report, out)?;
    match exit_text(report) {
        Some(text) => writeln!(out, "{text} --json has the same answer."),
        None => Ok(()),
    }
}

fn word(verdict: ExplainVerdict) -> &'static str {
    match verdict {
        ExplainVerdict::Ok => "OK",
        ExplainVerdict::WrongEni => "WRONG ENI",
        ExplainVerdict::Refused => "REFUSED",
        ExplainVerdict::CannotTell => "CANNOT TELL",
    }
}

fn exit_text(report: &ExplainReport) -> Option<&'static str> {
    if !report.walk_agrees {
        return Some("Exit code 7: eni-steer's walk and the kernel differ.");
    }
    match report.verdict {
        ExplainVerdict::Ok => None,
        ExplainVerdict::Refused if report.as_configured => None,
        ExplainVerdict::WrongEni => Some("Exit code 3: routed by the wrong ENI."),
        ExplainVerdict::Refused => Some("Exit code 3: the packet does not leave."),
        ExplainVerdict::CannotTell => Some("Exit code 7: nobody can tell."),
    }
}

/// The owner's way and the kernel's, in columns.
fn ways(report: &ExplainReport, out: &mut impl Write) -> io::Result<()> {
    let mut rows: Vec<[String; 4]> = Vec::new();
    let kernel = match &report.kernel {
        KernelAnswer::Leaves(way) => row("kernel", way, &report.packet),
        KernelAnswer::Delivered => plain("kernel", "this host"),
        KernelAnswer::Refused { errno, why } => plain("kernel", &format!("{why} (errno {errno})")),
    };
    let is_wanted = matches!(&report.kernel, KernelAnswer::Leaves(way)
        if report.wanted.as_ref().is_some_and(|wanted| wanted.by == way.by && wanted.via == way.via));
    if let Some(wanted) = report.wanted.as_ref().filter(|_| !is_wanted) {
        rows.push(row("wanted", wanted, &report.packet));
    }
    rows.push(kernel);
    for leg in &report.legs {
        let weight = leg.weight.unwrap_or(1);
        rows.push(row(&format!("leg of {weight}"), leg, &report.packet));
    }
    if let Some(passage) = &report.passage
        && let Some(steered) = &passage.steered
        && let Some(wanted) = &report.wanted
    {
        let via = Some(steered.to).filter(|_| wanted.via.is_some());
        let way = Way {
            on_link: via.is_none(),
            via,
            table: None,
            ..wanted.clone()
        };
        rows.push(row("steered", &way, &report.packet));
    }
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| !row[2].is_empty());
        cells
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (label, name, via) = (width(0).max(6), width(1), width(2));
    for [first, by, next, table] in &rows {
        let line = format!("  {first:label$}   {by:name$}  {next:via$}   {table}");
        writeln!(out, "{}", line.trim_end())?;
    }
    if let Some(source) = report.source.filter(|_| report.source_chosen) {
        writeln!(out, "  source   {source}, chosen by the kernel")?;
    }
    Ok(())
}

fn plain(label: &str, text: &str) -> [String; 4] {
    [
        label.to_owned(),
        text.to_owned(),
        String::new(),
        String::new(),
    ]
}

fn row(label: &str, way: &Way, packet: &str) -> [String; 4] {
    let six = match way.via {
        Some(via) => via.is_ipv6(),
        None => packet.split(' ').next().is_some_and(|to| to.contains(':')),
    };
    let neighbour = neighbour(way.neighbour, six);
    let next = match way.via {
        Some(via) => format!("via {via}{neighbour}"),
        None if way.on_link => format!("on link{neighbour}"),
        None => "no gateway known".to_owned(),
    };
    let table = way.table.as_ref().map(|table| format!("table {table}"));
    [
        label.to_owned(),
        way.by.clone(),
        next,
        table.unwrap_or_default(),
    ]
}

fn neighbour(state: Option<NeighbourState>, six: bool) -> String {
    let protocol = if six { "ND" } else { "ARP" };
    match state {
        None => String::new(),
        Some(NeighbourState::Answers) => format!(" (answers {protocol})"),
        Some(NeighbourState::Stale) => format!(" (answered {protocol} before)"),
        Some(NeighbourState::Asked) => format!(" ({protocol} asked, no answer yet)"),
        Some(NeighbourState::Failed) => format!(" (does not answer {protocol})"),
    }
}

/// The rules; many with the same result become one line.
fn rules(report: &ExplainReport, all: bool, out: &mut impl Write) -> io::Result<()> {
    if report.rules.is_empty() {
        return writeln!(out, "  This host has no rules: nothing is routed.");
    }
    let lines = folded(&report.rules, all);
    let rule = |line: &Line<'_>| match line {
        Line::Rule(row) => row.rule.chars().count(),
        Line::More(_) => 0,
    };
    let width = lines.iter().map(rule).max().unwrap_or(0).clamp(4, RULE);
    writeln!(out, "  PRIORITY  {:width$}  RESULT", "RULE")?;
    for line in lines {
        match line {
            Line::Rule(row) => {
                let mark = if row.wins { '>' } else { ' ' };
                let ours = if row.ours { "ours, " } else { "" };
                let result = format!("{ours}{}", row.result);
                writeln!(
                    out,
                    "  {mark}{:>7}  {:width$}  {result}",
                    row.priority, row.rule
                )?;
            }
            Line::More(rows) => {
                let (first, last) = (rows.first(), rows.last());
                let between = match (first, last) {
                    (Some(first), Some(last)) if first.priority != last.priority => {
                        format!("{} to {}", first.priority, last.priority)
                    }
                    (Some(first), _) => first.priority.to_string(),
                    _ => String::new(),
                };
                let result = first.map_or("", |row| row.result.as_str());
                // Those that do not match may differ in what does not.
                let same = rows.iter().all(|row| row.result == result);
                let result = if same { result } else { "no match" };
                writeln!(
                    out,
                    "            ... {} more of priority {between}: {result}",
                    rows.len()
                )?;
            }
        }
    }
    Ok(())
}

/// A line of the table.
enum Line<'a> {
    Rule(&'a RuleRow),
    More(&'a [RuleRow]),
}

fn folded(rows: &[RuleRow], all: bool) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let alike = |a: &RuleRow, b: &RuleRow| {
        let kind = |row: &RuleRow| match row.outcome {
            _ if all || row.meant => None,
            Outcome::NoMatch(_) => Some(0),
            Outcome::NoRoute(_) => Some(1),
            Outcome::NotReached => Some(2),
            _ => None,
        };
        kind(a).is_some() && kind(a) == kind(b) && a.ours == b.ours
    };
    for group in rows.chunk_by(alike) {
        // One line saves nothing.
        let shown = if group.len() > SHOWN + 2 {
            SHOWN
        } else {
            group.len()
        };
        let (shown, more) = group.split_at(shown);
        lines.extend(shown.iter().map(Line::Rule));
        if !more.is_empty() {
            lines.push(Line::More(more));
        }
    }
    lines
}

fn fixes(report: &ExplainReport, out: &mut impl Write) -> io::Result<()> {
    if report.fixes.is_empty() {
        return Ok(());
    }
    let head = if report.fixes.len() == 1 {
        "Fix:"
    } else {
        "Fix, one of:"
    };
    writeln!(out, "\n{head}")?;
    let lengths = report.fixes.iter().map(|fix| fix.command.chars().count());
    let width = lengths.filter(|length| *length <= RULE).max().unwrap_or(0);
    for fix in &report.fixes {
        if fix.command.chars().count() > RULE {
            writeln!(out, "  # {}\n  {}", fix.why, fix.command)?;
        } else {
            writeln!(out, "  {:width$}  # {}", fix.command, fix.why)?;
        }
    }
    Ok(())
}

/// A sentence in lines that fit, behind a head.
fn wrapped(head: &str, sentence: &str, out: &mut impl Write) -> io::Result<()> {
    let indent = " ".repeat(head.chars().count());
    let mut line = head.to_owned();
    let mut words = 0;
    for word in sentence.split_whitespace() {
        if words > 0 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line.clone_from(&indent);
            words = 0;
        }
        if words > 0 {
            line.push(' ');
        }
        line.push_str(word);
        words += 1;
    }
    writeln!(out, "{line}")
}

/// What real lookups of a source used.
pub fn live(live: &Live, source: IpAddr, out: &mut impl Write) -> io::Result<()> {
    let seconds = live.seconds;
    if live.lookups.is_empty() {
        return writeln!(
            out,
            "No lookup of {source} in {seconds} s: it sent nothing, or its sockets keep a route \
             that they looked up before."
        );
    }
    let mut table = super::table::Table::new(&["TABLE", ">LOOKUPS", "ANSWER"]);
    for lookup in &live.lookups {
        table.row(vec![
            lookup.table.to_string(),
            lookup.count.to_string(),
            lookup.answer.clone(),
        ]);
    }
    writeln!(out, "Lookups of {source} in {seconds} s:")?;
    table.write(out)?;
    if live.lost > 0 {
        writeln!(out, "{} more were not recorded.", live.lost)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
