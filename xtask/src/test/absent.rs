//! Finds the tests that can not run on this kernel. They are listed with the reason and never
//! counted as passed.

use std::{env, fmt, process::Command};

use anyhow::{Context as _, Result};

use crate::run::{self, HOST_PACKAGES};

/// A test that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    /// What the kernel does not have.
    pub why: String,
    /// The part of its name because of which it is left out.
    pub marker: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}: {}", self.name, self.why)
    }
}

/// Returns the tests that fit one of the filters and need something this kernel does not have. The test programs must be
/// built.
pub fn skipped(filters: &[String]) -> Result<Vec<Skipped>> {
    // xtask was built with the same profile, so the lab's programs are beside it.
    let xtask = env::current_exe().context("can not find out where xtask itself is")?;
    let asked = xtask.with_file_name("absent-features");
    let absent = run::output(&mut Command::new(&asked))
        .with_context(|| format!("{} does not say what this kernel has", asked.display()))?;
    if absent.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = run::cargo();
    list.arg("test").args(HOST_PACKAGES).arg("--tests");
    list.args(["--", "--list"]).args(filters);
    let listed = run::output(&mut list).context("cargo does not list the tests")?;
    Ok(needing(&absent, &listed))
}

/// Returns the listed tests that need one of the absent features, which are lines
/// `MARKER<tab>WHY`.
fn needing(absent: &str, listed: &str) -> Vec<Skipped> {
    let features = || absent.lines().filter_map(|line| line.split_once('\t'));
    let tests = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    tests
        .filter_map(|name| {
            let (marker, why) = features().find(|(marker, _)| name.contains(marker))?;
            Some(Skipped {
                name: name.to_owned(),
                why: why.to_owned(),
                marker: marker.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_needs_what_the_kernel_does_not_have_is_listed_with_the_reason() {
        let listed = "steering::it_steers: test\nsteering::it_steers_with_tcx: test\n\n\
                      2 tests, 0 benchmarks\n";
        let shown = |absent| -> Vec<String> {
            let skipped = needing(absent, listed);
            skipped.iter().map(Skipped::to_string).collect()
        };
        assert_eq!(
            shown("with_tcx\tno TCX on this kernel (needs 6.6)\n"),
            ["skipped: steering::it_steers_with_tcx: no TCX on this kernel (needs 6.6)"]
        );
        assert!(shown("").is_empty());
        assert!(shown("with_something_else\tno such thing\n").is_empty());
    }
}
