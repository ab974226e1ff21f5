//! Adds up the results of several test programs: cargo's own runner prints a line for each of
//! them and none for all.

use std::{fmt, mem};

/// The sums of the lines `test result: ...`, and the failed tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
    failures: Vec<String>,
}

impl Totals {
    /// Reads one line of the runner's output.
    pub fn hear(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what| number_before(counts, what).unwrap_or(0);
            self.passed += count(" passed");
            self.failed += count(" failed");
            self.ignored += count(" ignored");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Returns the failed tests, in the order in which they ended.
    pub fn failures(&mut self) -> Vec<String> {
        mem::take(&mut self.failures)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
            ..
        } = self;
        let verdict = if *failed == 0 { "ok" } else { "FAILED" };
        write!(
            f,
            "all programs: {verdict}. {passed} passed; {failed} failed; {ignored} ignored"
        )
    }
}

/// Returns the number before these words.
pub fn number_before(text: &str, words: &str) -> Option<usize> {
    text[..text.find(words)?].rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_added_up_and_what_failed_is_named() {
        let mut totals = Totals::default();
        for line in [
            "running 2 tests",
            "test access::a ... ok",
            "test result: ok. 13 passed; 0 failed; 3 ignored; 0 measured; 2 filtered out; \
             finished in 1.50s",
            "test hooks::b ... FAILED",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.10s\n",
        ] {
            totals.hear(line);
        }
        assert_eq!(
            totals.to_string(),
            "all programs: FAILED. 17 passed; 1 failed; 3 ignored"
        );
        assert_eq!(totals.failures(), ["hooks::b"]);
    }
}
