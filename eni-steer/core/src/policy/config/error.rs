//! What is wrong with a configuration, and where.

use std::{ops::Range, path::PathBuf};

use super::{Origin, SourceFile};
use crate::policy::input::Mistake;

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {what}", path.display())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// Where to read on.
const REFERENCE: &str = "docs/configuration.md describes every key";

impl SourceFile {
    /// The place of a part of the text.
    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or(&self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Origin::File {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }

    /// A mistake at a place of the text.
    pub(super) fn mistake(
        &self,
        span: &Range<usize>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> ConfigError {
        ConfigError::at(&self.origin(span), what, hint)
    }

    /// A value that its key does not accept; `span` is the place of the whole value.
    pub(super) fn bad_value(&self, key: &str, span: Range<usize>, mistake: Mistake) -> ConfigError {
        self.mistake(
            &mistake.span.unwrap_or(span),
            format!("{key}: {}", mistake.what),
            mistake.hint.unwrap_or_else(|| REFERENCE.to_owned()),
        )
    }

    /// A key that its table does not have.
    pub(super) fn unknown_key(
        &self,
        span: &Range<usize>,
        name: &str,
        known: &[&str],
    ) -> ConfigError {
        let hint = match nearest(name, known) {
            Some(key) => format!("did you mean '{key}'? {REFERENCE}"),
            None => format!("the keys here are {}", known.join(", ")),
        };
        self.mistake(span, format!("unknown key '{name}'"), hint)
    }

    /// Text that is not TOML.
    pub(super) fn invalid_toml(&self, error: &toml::de::Error) -> ConfigError {
        let message = error.message().lines().next().unwrap_or_default();
        let hint = "https://toml.io describes the format; docs/configuration.md has examples";
        self.mistake(
            &error.span().unwrap_or(0..0),
            message.replace('`', "'"),
            hint,
        )
    }
}

impl ConfigError {
    /// A mistake in a value that comes from a file.
    pub(super) fn at(origin: &Origin, what: impl Into<String>, hint: impl Into<String>) -> Self {
        let (path, line, column) = match origin {
            Origin::File { path, line, column } => (path.clone(), *line, *column),
            Origin::Default | Origin::AppliedLast | Origin::Flag => (PathBuf::new(), 1, 1),
        };
        Self {
            path,
            line,
            column,
            what: one_line(&what.into()),
            hint: one_line(&hint.into()),
        }
    }
}

/// A string of a file can hold line breaks; an error is one line.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The known key that a misspelt one probably stands for: they differ in at most one letter of
/// three, and in at most two letters.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let most = (name.chars().count() / 3).min(2);
    known
        .iter()
        .map(|key| (strsim::osa_distance(name, key), *key))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_for_a_misspelt_key_is_a_key_that_looks_alike() {
        let known = ["table", "table-base", "to", "uid"];
        assert_eq!(nearest("tabel", &known), Some("table"));
        assert_eq!(nearest("tablebase", &known), Some("table-base"));
        assert_eq!(nearest("tabelbase", &known), Some("table-base"));
        assert_eq!(nearest("uidd", &known), Some("uid"));
        for other in ["xx", "ud!", "fairness", "tb", ""] {
            assert_eq!(nearest(other, &known), None, "{other}");
        }
    }

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let file = SourceFile {
            path: "a.toml".into(),
            text: "a\n\u{e9}\u{e9}=x".to_owned(),
        };
        let at = |start: usize| match file.origin(&(start..start)) {
            Origin::File { line, column, .. } => (line, column),
            other => panic!("{other} is not a place in a file"),
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (2, 1));
        assert_eq!(at(6), (2, 3));
        assert_eq!(at(100), (2, 5));
    }
}
