//! Where each value of a policy comes from: what `config show` prints beside it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Serialize;

use super::{Policy, Selector, entries};

/// A table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `[policy]`
    Policy,
    /// `[limits]`
    Limits,
    /// One `[[eni]]`.
    Eni(Selector),
    /// One `[[rule]]`, by its position among the rules of all files.
    Rule(usize),
    /// `[balance]`
    Balance,
}

impl Section {
    /// Its heading in a file.
    pub fn heading(&self) -> &'static str {
        match self {
            Self::Policy => "[policy]",
            Self::Limits => "[limits]",
            Self::Eni(_) => "[[eni]]",
            Self::Rule(_) => "[[rule]]",
            Self::Balance => "[balance]",
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// The previous `apply` used it.
    AppliedLast,
    /// A file sets it.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
    },
    /// A flag of the command line sets it.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::AppliedLast => f.write_str("applied last"),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// The origins of the values of a policy. A value that is not listed is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<(Section, &'static str), Origin>);

impl Origins {
    /// Where a value comes from.
    pub fn of(&self, section: &Section, key: &'static str) -> Origin {
        self.0
            .get(&(section.clone(), key))
            .cloned()
            .unwrap_or_default()
    }

    /// Records where a value comes from.
    pub fn set(&mut self, section: Section, key: &'static str, origin: Origin) {
        self.0.insert((section, key), origin);
    }

    /// Records `origin` for each value that differs between two policies.
    pub fn set_changes(&mut self, before: &Policy, after: &Policy, origin: &Origin) {
        let before: BTreeMap<_, _> = entries(before)
            .into_iter()
            .map(|entry| ((entry.section, entry.key), entry.value))
            .collect();
        for entry in entries(after) {
            let at = (entry.section, entry.key);
            if before.get(&at) != Some(&entry.value) {
                self.0.insert(at, origin.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Mode, policy::EniPolicy};

    #[test]
    fn only_the_values_that_a_flag_changes_come_from_it() {
        let before = Policy::default();
        let mut after = Policy {
            mode: Mode::Drop,
            ..Policy::default()
        };
        after.enis.push(EniPolicy::new(Selector::from("eth1")));
        let mut origins = Origins::default();
        let file = Origin::File {
            path: "config.toml".into(),
            line: 2,
            column: 8,
        };
        origins.set(Section::Policy, "group", file.clone());
        origins.set_changes(&before, &after, &Origin::Flag);
        let of = |key| origins.of(&Section::Policy, key);
        assert_eq!(
            [of("mode"), of("group"), of("rules")],
            [Origin::Flag, file, Origin::Default]
        );
        // An ENI that was not there before: all of its keys are new.
        let eth1 = Section::Eni(Selector::from("eth1"));
        assert_eq!(origins.of(&eth1, "managed"), Origin::Flag);
    }

    #[test]
    fn origins_are_shown_as_a_place_or_a_word() {
        let file = Origin::File {
            path: "conf.d/10.toml".into(),
            line: 2,
            column: 8,
        };
        let shown = [Origin::Default, Origin::AppliedLast, file, Origin::Flag];
        let shown = shown.map(|origin| origin.to_string());
        assert_eq!(
            shown,
            ["default", "applied last", "conf.d/10.toml:2", "flag"]
        );
    }
}
