//! What the programs in a machine said: which tests ran, and how they ended.

use std::fmt;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Ignored,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Ignored => "ignored",
        })
    }
}

/// A program of tests, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub tests: Vec<(String, Verdict)>,
    /// How many passed, by the program's own closing line; none if there was no such line, or
    /// one that says failure.
    pub passed: Option<usize>,
    /// How many it did not run, because of their names.
    pub filtered_out: usize,
}

/// Everything that a machine's programs said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub programs: Vec<Program>,
    /// What tests found out about the kernel: name and value.
    pub facts: Vec<(String, String)>,
}

impl Outcome {
    /// Reads it from the lines that the first process and the programs wrote.
    pub fn read(text: &str) -> Self {
        let mut outcome = Self::default();
        for line in text.lines() {
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("program ") {
                outcome.programs.push(Program {
                    name: name.to_owned(),
                    ..Program::default()
                });
            } else if let Some((name, value)) = line
                .find("fact: ")
                .and_then(|at| line[at + "fact: ".len()..].split_once(" = "))
            {
                let fact = (name.to_owned(), value.to_owned());
                if !outcome.facts.contains(&fact) {
                    outcome.facts.push(fact);
                }
            } else if let Some(program) = outcome.programs.last_mut() {
                program.hear(line);
            }
        }
        outcome
    }

    /// How many tests passed.
    pub fn passed(&self) -> usize {
        self.programs.iter().filter_map(|p| p.passed).sum()
    }

    /// Why this is no success; none if it is one.
    pub fn failure(&self) -> Option<String> {
        if self.programs.is_empty() {
            return Some("no program of tests was started".to_owned());
        }
        for Program {
            name,
            tests,
            passed,
            filtered_out,
        } in &self.programs
        {
            let failed: Vec<&str> = tests
                .iter()
                .filter(|(_, verdict)| *verdict == Verdict::Failed)
                .map(|(test, _)| test.as_str())
                .collect();
            match passed {
                _ if !failed.is_empty() => {
                    return Some(format!("{name}: failed: {}", failed.join(", ")));
                }
                None => return Some(format!("{name} did not come to its end")),
                // Nothing but what was not asked for, or a measurement.
                Some(0) if *filtered_out == 0 && !tests.is_empty() => {}
                Some(0) if *filtered_out == 0 => return Some(format!("{name} ran no test")),
                Some(_) => {}
            }
        }
        (self.passed() == 0).then(|| "no test ran".to_owned())
    }
}

impl Program {
    fn hear(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.filtered_out = number_before(result, " filtered out").unwrap_or(0);
            self.passed = result
                .starts_with("ok. ")
                .then(|| number_before(result, " passed"))
                .flatten();
        } else if let Some((test, verdict)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        {
            let verdict = match verdict {
                "ok" => Verdict::Passed,
                _ if verdict.starts_with("ignored") => Verdict::Ignored,
                _ => Verdict::Failed,
            };
            self.tests.push((test.to_owned(), verdict));
        }
    }
}

/// What the programs said that came to their end, whatever it was, without the last one if that
/// was still under way; and how many they are.
pub fn came_to_their_end(text: &str) -> (&str, usize) {
    let began = |(at, _): (usize, &str)| at == 0 || text[..at].ends_with('\n');
    let programs: Vec<usize> = text
        .match_indices("program ")
        .filter(|found| began(*found))
        .map(|(at, _)| at)
        .collect();
    match programs.last() {
        Some(last) if !text[*last..].contains("\ntest result: ") => {
            (&text[..*last], programs.len() - 1)
        }
        _ => (text, programs.len()),
    }
}

/// The number that stands before these words.
fn number_before(text: &str, words: &str) -> Option<usize> {
    text[..text.find(words)?].rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "program kernels\r
running 2 tests\r
fact: attached by = clsact\r
test a_name ... ok\r
test costs ... ignored, a measurement\r
\r
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.5s\r
";

    #[test]
    fn a_success_is_read_test_by_test() {
        let outcome = Outcome::read(FINE);
        let [program] = &outcome.programs[..] else {
            panic!("{outcome:?}");
        };
        let tests = [
            ("a_name".to_owned(), Verdict::Passed),
            ("costs".to_owned(), Verdict::Ignored),
        ];
        assert_eq!(program.tests, tests);
        assert_eq!((program.passed, program.filtered_out), (Some(1), 3));
        let fact = ("attached by".to_owned(), "clsact".to_owned());
        assert_eq!(outcome.facts, [fact]);
        assert_eq!(outcome.failure(), None);
    }

    #[test]
    fn a_program_that_was_under_way_is_not_among_those_that_ended() {
        let failed = "program lab\ntest a ... FAILED\ntest result: FAILED. 0 passed; 1 failed";
        let both = format!("{FINE}{failed}\n");
        assert_eq!(came_to_their_end(&both), (both.as_str(), 2));
        let third = format!("{both}program daemon\nrunning 7 tests\ntest a program ... ok\n");
        assert_eq!(came_to_their_end(&third), (both.as_str(), 2));
        assert_eq!(came_to_their_end("program lab\n"), ("", 0));
        assert_eq!(came_to_their_end(""), ("", 0));
    }

    #[test]
    fn nothing_but_a_success_is_a_success() {
        let fails = |text: &str| Outcome::read(text).failure().is_some();
        assert!(fails(""));
        assert!(fails("program lab\nrunning 0 tests\n"), "it ended early");
        assert!(fails(
            "program lab\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"
        ));
        assert!(fails(
            "program lab\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out"
        ));
        assert!(
            fails(&format!("{FINE}program lab\n")),
            "the second did not end"
        );
        assert!(fails(
            "program lab\ntest a ... FAILED\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; \
             0 measured; 0 filtered out"
        ));
    }
}
