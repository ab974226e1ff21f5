//! What is wrong with a configuration, and exactly where.

use std::{ops::Range, path::PathBuf};

use super::{Origin, SourceFile};

/// A mistake, with its place.
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

impl SourceFile {
    /// The place of a byte of the text.
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

    /// What the TOML parser says, in our words.
    pub(super) fn rejected(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or_default();
        let (what, hint) = in_our_words(message);
        self.mistake(&span, what, hint)
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
            what: what.into(),
            hint: hint.into(),
        }
    }
}

const REFERENCE: &str = "docs/configuration.md describes every key";

/// serde names fields and types; people write keys and values.
fn in_our_words(message: &str) -> (String, String) {
    let quoted = |text: &str| text.replace('`', "'");
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (name, expected) = rest.split_once(", ").unwrap_or((rest, ""));
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let name = quoted(name);
        let hint = match nearest(name.trim_matches('\''), &known) {
            Some(key) => format!("did you mean '{key}'? {REFERENCE}"),
            None => format!("keys of this table: {}", known.join(", ")),
        };
        return (format!("unknown key {name}"), hint);
    }
    let text = quoted(message)
        .replace("expected u32", "expected a whole number")
        .replace(
            "expected a sequence",
            "expected a list ([...], or [[...]] for a table)",
        )
        .replace("invalid type: map", "invalid type: a table");
    (text, REFERENCE.to_owned())
}

/// The key that differs by the fewest letters, if by few.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|key| (distance(name, key), *key))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, key)| key)
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
