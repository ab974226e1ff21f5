//! The README's table of kernels and tests, from what the machines said.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::outcome::{Outcome, Verdict};

const BEGIN: &str = "<!-- kernels -->";
const END: &str = "<!-- /kernels -->";

/// The program whose tests have a row each; of others only how many passed.
const DETAILED: &str = "kernels";

/// A kernel, and what was seen on it.
#[derive(Debug)]
pub struct Column {
    /// Its release, or why there is none.
    pub title: String,
    /// None: it could not be had.
    pub outcome: Option<Outcome>,
}

/// Puts the table between the README's markers.
pub fn write(readme: &Path, columns: &[Column]) -> Result<()> {
    let text =
        fs::read_to_string(readme).with_context(|| format!("can not read {}", readme.display()))?;
    let new = between_markers(&text, &table(columns))?;
    fs::write(readme, new).with_context(|| format!("can not write {}", readme.display()))
}

fn between_markers(text: &str, table: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once(BEGIN) else {
        bail!("the README has no {BEGIN}");
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("the README has no {END}");
    };
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
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
        row(test.replace('_', " "), &|outcome| {
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
            let of = |verdict| found.tests.iter().filter(|(_, v)| *v == verdict).count();
            let (passed, failed) = (of(Verdict::Passed), of(Verdict::Failed));
            Some(format!("{passed} of {} ok", passed + failed))
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

fn line(text: &mut String, first: &str, cells: &[&str]) {
    // Writing to a string does not fail.
    if writeln!(text, "| {first} | {} |", cells.join(" | ")).is_err() {
        unreachable!("a string takes what is written to it");
    }
}

fn detailed(outcome: &Outcome) -> impl Iterator<Item = &(String, Verdict)> {
    outcome
        .programs
        .iter()
        .filter(|program| program.name == DETAILED)
        .flat_map(|program| &program.tests)
}

/// Names that any kernel has, sorted.
fn unique(outcomes: &[&Outcome], names: impl Fn(&Outcome) -> Vec<String>) -> BTreeSet<String> {
    outcomes.iter().flat_map(|outcome| names(outcome)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_a_column_and_one_that_is_not_to_be_had_is_no_pass() {
        let outcome = Outcome::read(
            "program kernels\nfact: attached by = tcx\ntest it_works ... ok\n\
             program lab\ntest a ... ok\ntest b ... FAILED\n",
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
             | it works | SKIP | ok |\n| tests of `lab` | SKIP | 1 of 2 ok |\n"
        );
    }

    #[test]
    fn the_rest_of_the_text_stays() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between_markers(&text, "new\n").expect("markers");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert!(between_markers("nothing", "new").is_err());
    }
}
