//! Chooses the tests that a machine runs: of which program, in which groups, and which are left
//! after a machine has died.

use std::path::Path;

use anyhow::{Result, bail, ensure};

/// The program whose modules are groups of their own. Each of them runs alone: if one hangs, the
/// others still run; the tests that set the clock run beside no others; and each has a row in the
/// table. All tests of any other program run together.
const BY_MODULE: &str = "lab";

/// Tests of a program that run together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name of the module, or of the program.
    pub name: String,
    pub program: String,
    /// The tests by their full names.
    pub tests: Vec<String>,
}

/// A test program, or one module of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    pub program: String,
    pub module: Option<String>,
}

/// Which tests are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Parts of names, or whole names, of wanted tests; all tests if there are none.
    pub filters: Vec<String>,
    /// Parts of names, or whole names, of tests to leave out.
    pub skips: Vec<String>,
    /// Filters and skips are whole names.
    pub exact: bool,
}

/// Finds what `--test` names among the sources of the test programs.
pub fn named(sources: &Path, names: &[String]) -> Result<Vec<Only>> {
    let programs = programs(sources)?;
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        for program in &programs {
            let is_module = || {
                let home = sources.join(program);
                home.join(format!("{name}.rs")).is_file()
                    || home.join(name).join("mod.rs").is_file()
            };
            let module = if program == name {
                None
            } else if name != "main" && is_module() {
                Some(name.clone())
            } else {
                continue;
            };
            found.push(Only {
                program: program.clone(),
                module,
            });
        }
        ensure!(
            found.len() > before,
            "no test program and no module of one is called {name}\n\
             hint: the programs are {}; modules are the files beside tests/tests/*/main.rs",
            programs.join(", ")
        );
    }
    Ok(found)
}

/// Returns the names of all test programs.
fn programs(sources: &Path) -> Result<Vec<String>> {
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(sources)? {
        let entry = entry?;
        if entry.path().join("main.rs").is_file() {
            programs.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    programs.sort();
    if programs.is_empty() {
        bail!("no program of tests in {}", sources.display());
    }
    Ok(programs)
}

impl Only {
    /// Returns whether a test is selected.
    fn has(&self, program: &str, test: &str) -> bool {
        self.program == program
            && self
                .module
                .as_deref()
                .is_none_or(|module| module_of(test) == Some(module))
    }
}

impl Wanted {
    /// Splits the arguments for the test programs: those that select tests, and the others.
    pub fn read(filters: &[String], passed_on: &[String]) -> (Self, Vec<String>) {
        let mut wanted = Self {
            filters: filters.to_vec(),
            ..Self::default()
        };
        let mut others = Vec::new();
        let mut words = passed_on.iter();
        while let Some(word) = words.next() {
            if word == "--exact" {
                wanted.exact = true;
            } else if word == "--skip" {
                wanted.skips.extend(words.next().cloned());
            } else if let Some(skip) = word.strip_prefix("--skip=") {
                wanted.skips.push(skip.to_owned());
            } else {
                others.push(word.clone());
            }
        }
        (wanted, others)
    }

    fn has(&self, test: &str) -> bool {
        let fits = |word: &String| match self.exact {
            true => test == word,
            false => test.contains(word.as_str()),
        };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skips.iter().any(fits)
    }
}

/// Returns the wanted tests of a program in groups. An empty `only` means all of them.
pub fn groups(program: &str, tests: &[String], only: &[Only], wanted: &Wanted) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for test in tests {
        let is_named = only.is_empty() || only.iter().any(|only| only.has(program, test));
        if !is_named || !wanted.has(test) {
            continue;
        }
        let name = match module_of(test) {
            Some(module) if program == BY_MODULE => module,
            _ => program,
        };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.tests.push(test.clone()),
            None => groups.push(Group {
                name: name.to_owned(),
                program: program.to_owned(),
                tests: vec![test.clone()],
            }),
        }
    }
    groups
}

/// Returns how many tests the groups have.
pub fn count(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.tests.len()).sum()
}

/// Returns the module in a test's full name.
fn module_of(test: &str) -> Option<&str> {
    test.split_once("::").map(|(module, _)| module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn lab(name: &str, tests: &[&str]) -> Group {
        Group {
            name: name.to_owned(),
            program: "lab".to_owned(),
            tests: strings(tests),
        }
    }

    fn sources() -> std::path::PathBuf {
        crate::run::workspace().join("tests/tests")
    }

    #[test]
    fn a_name_is_that_of_a_program_or_of_a_module() {
        let named = |name| named(&sources(), &strings(&[name]));
        let only = |program: &str, module: Option<&str>| Only {
            program: program.to_owned(),
            module: module.map(str::to_owned),
        };
        assert_eq!(named("lab").unwrap(), [only("lab", None)]);
        assert_eq!(named("kernels").unwrap(), [only("lab", Some("kernels"))]);
        assert_eq!(named("hooks").unwrap(), [only("programs", Some("hooks"))]);
        assert_eq!(named("model").unwrap(), [only("programs", Some("model"))]);
        for nothing in ["nothing", "main"] {
            let error = named(nothing).unwrap_err().to_string();
            assert!(error.contains("lab, offline, programs"), "{error}");
        }
    }

    #[test]
    fn modules_of_the_lab_are_groups_and_other_programs_are_one() {
        let tests = strings(&["access::a", "daemon::b", "access::c"]);
        let all = Wanted::default();
        assert_eq!(
            groups("lab", &tests, &[], &all),
            [
                lab("access", &["access::a", "access::c"]),
                lab("daemon", &["daemon::b"])
            ]
        );
        let together = groups("programs", &tests, &[], &all);
        assert_eq!(together.len(), 1);
        assert_eq!(
            (together[0].name.as_str(), count(&together)),
            ("programs", 3)
        );
    }

    #[test]
    fn what_is_not_named_or_is_left_out_does_not_run() {
        let tests = strings(&["access::a", "accessories::a", "daemon::access"]);
        let only = [Only {
            program: "lab".to_owned(),
            module: Some("access".to_owned()),
        }];
        let all = Wanted::default();
        assert_eq!(
            groups("lab", &tests, &only, &all),
            [lab("access", &["access::a"])]
        );
        assert_eq!(groups("programs", &tests, &only, &all), []);
        let words = strings(&["--skip", "accessories", "--nocapture", "--skip=daemon::acc"]);
        let (wanted, others) = Wanted::read(&strings(&["access"]), &words);
        assert_eq!(others, ["--nocapture"]);
        assert_eq!(
            groups("lab", &tests, &[], &wanted),
            [lab("access", &["access::a"])]
        );
        let (exact, _) = Wanted::read(&strings(&["daemon::acc"]), &strings(&["--exact"]));
        assert_eq!(groups("lab", &tests, &[], &exact), []);
    }
}
