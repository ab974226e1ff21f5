//! Reads what the programs in a machine printed: which tests ran, and how they ended.

use std::fmt;

use super::selection::Group;

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Ignored,
    /// It needs something that the kernel does not have; the text says what.
    Skipped(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("ok"),
            Self::Failed => f.write_str("FAILED"),
            Self::Ignored => f.write_str("ignored"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// A group of tests, as far as it got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    /// The tests by their full names, in the order in which they ended.
    pub tests: Vec<(String, Verdict)>,
    /// A test whose verdict is on a line of its own, because other output came in between.
    open: Option<String>,
}

/// Everything that the programs of one or several machines printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub programs: Vec<Program>,
    /// What tests found out about the kernel: name and value.
    pub facts: Vec<(String, String)>,
}

impl Outcome {
    /// Reads the lines that the first process and the test programs printed. A group may occur
    /// several times, because each machine goes on where the previous one died.
    pub fn read(text: &str) -> Self {
        let mut outcome = Self::default();
        let mut current = None;
        for line in text.lines() {
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("program ") {
                current = Some(outcome.position(name));
            } else if let Some((name, value)) = line
                .find("fact: ")
                .and_then(|at| line[at + "fact: ".len()..].split_once(" = "))
            {
                let fact = (name.to_owned(), value.to_owned());
                if !outcome.facts.contains(&fact) {
                    outcome.facts.push(fact);
                }
            } else if let Some(current) = current {
                outcome.programs[current].hear(line);
            }
        }
        outcome
    }

    /// Returns the index of this group, and adds the group if it is new.
    fn position(&mut self, name: &str) -> usize {
        let there = self.programs.iter().position(|p| p.name == name);
        let position = there.unwrap_or(self.programs.len());
        if there.is_none() {
            self.programs.push(Program {
                name: name.to_owned(),
                ..Program::default()
            });
        }
        // A test that was running when the machine died has not ended.
        self.programs[position].open = None;
        position
    }

    /// Returns how many tests passed.
    pub fn passed(&self) -> usize {
        self.count(|verdict| *verdict == Verdict::Passed)
    }

    /// Returns how many tests the kernel could not run.
    pub fn skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Skipped(_)))
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        let tests = self.programs.iter().flat_map(|p| &p.tests);
        tests.filter(|(_, verdict)| is(verdict)).count()
    }

    /// Returns whether a test of a group ended, with any verdict.
    pub fn ended(&self, group: &str, test: &str) -> bool {
        let group = self.programs.iter().find(|p| p.name == group);
        group.is_some_and(|group| group.tests.iter().any(|(name, _)| name == test))
    }

    /// Returns the groups with the tests that have not ended yet.
    pub fn left_of(&self, groups: &[Group]) -> Vec<Group> {
        let mut left = groups.to_vec();
        for group in &mut left {
            let Group { name, tests, .. } = group;
            tests.retain(|test| !self.ended(name, test));
        }
        left.retain(|group| !group.tests.is_empty());
        left
    }

    /// Returns why this is not a success of the wanted tests; `None` if it is one.
    pub fn failure(&self, wanted: &[Group]) -> Option<String> {
        for Program { name, tests, .. } in &self.programs {
            let failed: Vec<&str> = tests
                .iter()
                .filter(|(_, verdict)| *verdict == Verdict::Failed)
                .map(|(test, _)| test.as_str())
                .collect();
            if !failed.is_empty() {
                return Some(format!("{name}: failed: {}", failed.join(", ")));
            }
        }
        if let Some(group) = self.left_of(wanted).first() {
            let tests = group.tests.join(", ");
            return Some(format!("{}: did not come to an end: {tests}", group.name));
        }
        (self.passed() == 0).then(|| "no test passed".to_owned())
    }
}

impl Program {
    fn hear(&mut self, line: &str) {
        if let Some((test, why)) = line
            .strip_prefix("skipped: ")
            .and_then(|rest| rest.split_once(": "))
        {
            self.tests
                .push((test.to_owned(), Verdict::Skipped(why.to_owned())));
        } else if let Some(rest) = line.strip_prefix("test ") {
            if let Some((test, word)) = rest.rsplit_once(" ... ") {
                match verdict(word) {
                    Some(verdict) => self.tests.push((test.to_owned(), verdict)),
                    // The test printed something, so its verdict comes later.
                    None => self.open = Some(test.to_owned()),
                }
            } else if let Some(test) = rest.strip_suffix(" ...") {
                self.open = Some(test.to_owned());
            }
        } else if let Some(verdict) = verdict(line)
            && let Some(test) = self.open.take()
        {
            self.tests.push((test, verdict));
        }
    }
}

/// Reads the test program's word for a verdict.
fn verdict(word: &str) -> Option<Verdict> {
    match word {
        "ok" => Some(Verdict::Passed),
        "FAILED" => Some(Verdict::Failed),
        _ if word == "ignored" || word.starts_with("ignored, ") => Some(Verdict::Ignored),
        _ => None,
    }
}

/// Returns the whole lines that a dead machine printed; the last line may be cut off.
pub fn whole_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |at| at + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "program kernels\r
running 3 tests\r
fact: attached by = clsact\r
test kernels::a_name ... ok\r
test kernels::late ... \r
fact: attached by = clsact\r
ok\r
test kernels::costs ... ignored, a measurement\r
skipped: kernels::links_with_tcx: no TCX on this kernel (needs 6.6)\r
\r
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.5s\r
";

    fn lab(name: &str, tests: &[&str]) -> Group {
        Group {
            name: name.to_owned(),
            program: "lab".to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        }
    }

    fn wanted(name: &str, tests: &[&str]) -> [Group; 1] {
        [lab(name, tests)]
    }

    #[test]
    fn a_success_is_read_test_by_test() {
        let outcome = Outcome::read(FINE);
        let [program] = &outcome.programs[..] else {
            panic!("{outcome:?}");
        };
        let no_tcx = Verdict::Skipped("no TCX on this kernel (needs 6.6)".to_owned());
        let tests = [
            ("kernels::a_name", Verdict::Passed),
            ("kernels::late", Verdict::Passed),
            ("kernels::costs", Verdict::Ignored),
            ("kernels::links_with_tcx", no_tcx),
        ];
        assert_eq!(
            program.tests,
            tests
                .clone()
                .map(|(name, verdict)| (name.to_owned(), verdict))
        );
        assert_eq!((outcome.passed(), outcome.skipped()), (2, 1));
        let fact = ("attached by".to_owned(), "clsact".to_owned());
        assert_eq!(outcome.facts, [fact]);
        let wanted = wanted("kernels", &tests.map(|(name, _)| name));
        assert_eq!(outcome.failure(&wanted), None);
    }

    #[test]
    fn a_line_that_was_cut_off_is_not_a_verdict() {
        let died = "program lab\ntest a::b ... ok\ntest a::c ... ign";
        assert_eq!(whole_lines(died), "program lab\ntest a::b ... ok\n");
        assert_eq!(whole_lines("program"), "");
        let outcome = Outcome::read("program lab\ntest a::c ...\nprogram lab\nok\n");
        assert!(
            !outcome.ended("lab", "a::c"),
            "the second machine says ok of something else"
        );
    }

    #[test]
    fn nothing_but_a_success_is_a_success() {
        let fails = |text: &str, tests: &[&str]| {
            let failure = Outcome::read(text).failure(&wanted("lab", tests));
            failure.is_some()
        };
        let ok = "program lab\ntest x::a ... ok\n";
        assert!(!fails(ok, &["x::a"]));
        assert!(fails(ok, &["x::a", "x::b"]), "one has no verdict");
        assert!(fails("", &["x::a"]));
        assert!(fails("program lab\nrunning 0 tests\n", &[]));
        assert!(fails("program lab\ntest x::a ... ignored\n", &["x::a"]));
        assert!(fails(
            "program lab\nskipped: x::a: no such thing\n",
            &["x::a"]
        ));
        assert!(fails(
            "program lab\ntest x::b ... ok\ntest x::a ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            &["x::a", "x::b"]
        ));
        assert!(
            fails(
                &format!("{ok}program daemon\ntest y::a ... FAILED\n"),
                &["x::a"]
            ),
            "the second group failed"
        );
    }

    #[test]
    fn the_next_machine_runs_the_tests_that_have_not_come_to_an_end() {
        let wanted = [
            lab("access", &["access::a", "access::b"]),
            lab(
                "daemon",
                &["daemon::a", "daemon::b", "daemon::c", "daemon::d_with_tcx"],
            ),
            lab("faults", &["faults::a"]),
        ];
        let died = "program access\ntest access::a ... ok\ntest access::b ... FAILED\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored\n\
                    program daemon\nskipped: daemon::d_with_tcx: no TCX\nrunning 3 tests\n\
                    test daemon::b ... ok\ntest daemon::c has been running for over 60 seconds\n";
        let outcome = Outcome::read(died);
        let rest = outcome.left_of(&wanted);
        // Neither the failed test nor the skipped one runs again.
        assert_eq!(
            rest,
            [
                lab("daemon", &["daemon::a", "daemon::c"]),
                lab("faults", &["faults::a"])
            ]
        );
        assert_eq!(crate::kernels::selection::count(&rest), 3);
        // The second machine's output follows the first one's.
        let second = format!(
            "{died}program daemon\ntest daemon::c ... ok\ntest daemon::a ... ok\n\
             test result: ok. 2 passed\nprogram faults\ntest faults::a ... ok\n"
        );
        assert_eq!(Outcome::read(&second).left_of(&wanted), []);
    }
}
