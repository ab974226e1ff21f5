//! Collects what the checks find.

use super::codes::Entry;
use crate::findings::{Finding, Severity};

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct One {
    pub(super) entry: Entry,
    /// Mostly that of the entry.
    pub(super) severity: Severity,
    /// The interface, rule or program that it is about.
    pub(super) object: String,
    /// It as a sentence without a full stop.
    pub(super) text: String,
    /// The command that ends it.
    pub(super) fix: Option<String>,
}

/// What was found so far, and what was looked at and is fine.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) all: Vec<One>,
    /// By area: what to say if nothing of the area is worse than information.
    pub(super) fine: Vec<(&'static str, String)>,
}

impl Found {
    pub(super) fn add(&mut self, entry: Entry, object: &str, text: String, fix: Option<String>) {
        self.all.push(One {
            entry,
            severity: entry.severity,
            object: object.to_owned(),
            text,
            fix,
        });
    }

    /// Adds a finding that other commands show too, with its own severity.
    pub(super) fn add_finding(&mut self, entry: Entry, finding: &Finding) {
        let commands = finding.remedy.join("; ");
        self.all.push(One {
            entry,
            severity: finding.severity,
            object: finding.object.clone(),
            text: finding.why.clone(),
            fix: (!commands.is_empty()).then_some(commands),
        });
    }

    /// What to say of an area in which nothing is wrong.
    pub(super) fn fine(&mut self, area: &'static str, text: impl Into<String>) {
        self.fine.push((area, text.into()));
    }
}

/// Names in a sentence: the first three, and how many more there are.
pub(super) fn names(all: &[&str]) -> String {
    match all {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., last] if all.len() <= 3 => format!("{} and {last}", head.join(", ")),
        _ => format!("{} and {} more", all[..3].join(", "), all.len() - 3),
    }
}
