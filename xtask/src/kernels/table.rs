//! Writes the table of kernels and tests into the documents, from what the machines printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::outcome::{Outcome, Program, Verdict};

const BEGIN: &str = "<!-- kernels -->";
const END: &str = "<!-- /kernels -->";

/// The group whose tests get one row each. Of other groups the table shows how many tests passed.
const DETAILED: &str = "kernels";

/// Documents that may contain the table: the first of these with its markers gets it.
const DOCUMENTS: [&str; 2] = ["docs/kernels.md", "README.md"];

/// One column: a kernel and its results.
#[derive(Debug)]
pub struct Column {
    /// The kernel's release, or its name if it could not be fetched.
    pub title: String,
    /// `None` if the kernel could not be fetched.
    pub outcome: Option<Outcome>,
}

/// Replaces the table between the markers of a document in this checkout.
pub fn write(checkout: &Path, columns: &[Column]) -> Result<()> {
    for document in DOCUMENTS {
        let path = checkout.join(document);
        let text = fs::read_to_string(&path).with_context(|| format!("can not read {document}"))?;
        if let Some(new) = between_markers(&text, &table(columns)) {
            fs::write(&path, new).with_context(|| format!("can not write {document}"))?;
            println!("the table is in {document}");
            return Ok(());
        }
    }
    bail!(
        "no line {BEGIN} and {END} after it in {}",
        DOCUMENTS.join(" or ")
    )
}

fn between_markers(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

fn table(columns: &[Column]) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut row = |name: String, cell: &dyn Fn(&Outcome) -> Option<String>| {
        let cells = columns.iter().map(|column| match &column.outcome {
            Some(outcome) => cell(outcome).unwrap_or_else(|| "not run".to_owned()),
            None => "SKIP".to_owned(),
        });
        rows.push((name, cells.collect()));
    };
    let seen: Vec<&Outcome> = columns.iter().filter_map(|c| c.outcome.as_ref()).collect();
    for fact in unique(&seen, |outcome| {
        outcome.facts.iter().map(|(name, _)| name.clone()).collect()
    }) {
        row(fact.clone(), &|outcome| {
            let found = outcome.facts.iter().find(|(name, _)| *name == fact);
            found.map(|(_, value)| value.clone())
        });
    }
    for test in unique(&seen, |outcome| {
        detailed(outcome).map(|(name, _)| name.clone()).collect()
    }) {
        let name = test.rsplit("::").next().unwrap_or(&test);
        row(name.replace('_', " "), &|outcome| {
            let found = detailed(outcome).find(|(name, _)| *name == test);
            found.map(|(_, verdict)| verdict.to_string())
        });
    }
    for program in unique(&seen, |outcome| {
        outcome.programs.iter().map(|p| p.name.clone()).collect()
    }) {
        if program == DETAILED {
            continue;
        }
        row(format!("tests of `{program}`"), &|outcome| {
            let found = outcome.programs.iter().find(|p| p.name == program)?;
            Some(totals(found))
        });
    }
    let mut text = String::new();
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    line(&mut text, "", &titles);
    line(&mut text, "---", &vec!["---"; columns.len()]);
    for (name, cells) in &rows {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        line(&mut text, name, &cells);
    }
    text
}

/// Returns how many of a group's tests passed, and how many could not run and why.
fn totals(group: &Program) -> String {
    let of = |verdict| group.tests.iter().filter(|(_, v)| *v == verdict).count();
    let (passed, failed) = (of(Verdict::Passed), of(Verdict::Failed));
    let mut text = format!("{passed} of {} ok", passed + failed);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, verdict) in &group.tests {
        if let Verdict::Skipped(why) = verdict {
            *reasons.entry(why).or_default() += 1;
        }
    }
    for (why, count) in reasons {
        text += &format!(", {count} skipped: {why}");
    }
    text
}

fn line(text: &mut String, first: &str, cells: &[&str]) {
    // Writing to a string does not fail.
    if writeln!(text, "| {first} | {} |", cells.join(" | ")).is_err() {
        unreachable!("writing to a string does not fail");
    }
}

fn detailed(outcome: &Outcome) -> impl Iterator<Item = &(String, Verdict)> {
    outcome
        .programs
        .iter()
        .filter(|program| program.name == DETAILED)
        .flat_map(|program| &program.tests)
}

/// Returns the names that occur with any kernel, sorted.
fn unique(outcomes: &[&Outcome], names: impl Fn(&Outcome) -> Vec<String>) -> BTreeSet<String> {
    outcomes.iter().flat_map(|outcome| names(outcome)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_a_column_and_one_that_could_not_be_fetched_does_not_pass() {
        let outcome = Outcome::read(
            "program kernels\nfact: attached by = tcx\ntest kernels::it_works ... ok\n\
             program daemon\ntest daemon::a ... ok\ntest daemon::b ... FAILED\n\
             skipped: daemon::c_with_tcx: no TCX on this kernel (needs 6.6)\n",
        );
        let columns = [
            Column {
                title: "5.10".to_owned(),
                outcome: None,
            },
            Column {
                title: "7.3.4".to_owned(),
                outcome: Some(outcome),
            },
        ];
        assert_eq!(
            table(&columns),
            "|  | 5.10 | 7.3.4 |\n| --- | --- | --- |\n| attached by | SKIP | tcx |\n\
             | it works | SKIP | ok |\n| tests of `daemon` | SKIP | 1 of 2 ok, 1 skipped: no TCX on this kernel (needs 6.6) |\n"
        );
    }

    #[test]
    fn the_rest_of_the_text_stays() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between_markers(&text, "new\n").expect("markers");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(between_markers("nothing", "new"), None);
    }
}
