//! What every report begins with as JSON, so that a script can read any of them alike.

use serde::Serialize;

use super::{
    ChangeReport, CountersReport, ExplainReport, ExplainVerdict, Headline, PlanReport,
    StatusReport, VerifyReport,
};
use crate::explain::Live;

/// Version of the JSON reports. Within a version, keys are added but never removed or renamed.
pub const SCHEMA: u32 = 1;

/// The first keys of every report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Name of the report, mostly that of the command.
    pub report: &'static str,
    /// Version of the reports ([`SCHEMA`]).
    pub schema: u32,
    /// Version of eni-steer.
    pub version: String,
    /// Name of the host that the report is about.
    pub host: String,
    /// When it was that way (RFC 3339, UTC).
    pub time: String,
    /// Whether all is well: nothing is wrong, nothing is left to do, and what was asked could be
    /// answered.
    pub ok: bool,
    /// The answer in a word.
    pub verdict: &'static str,
    /// The exit code of the command.
    pub exit: u8,
}

/// Where and when a report was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Version of eni-steer.
    pub version: String,
    /// Name of the host.
    pub host: String,
    /// Time (RFC 3339, UTC).
    pub time: String,
}

/// A report that has a header.
pub trait Report: Serialize {
    /// Its name.
    const NAME: &'static str;
    /// The name of this one, where a type has several.
    fn name(&self) -> &'static str {
        Self::NAME
    }
    /// The answer in a word.
    fn verdict(&self) -> &'static str;
    /// Whether all is well.
    fn is_ok(&self) -> bool {
        self.verdict() == "ok"
    }
}

/// A report with its header.
#[derive(Debug, Serialize)]
pub struct WithHeader<'a, T: Serialize> {
    #[serde(flatten)]
    header: Header,
    #[serde(flatten)]
    report: &'a T,
}

impl<'a, T: Report> WithHeader<'a, T> {
    /// Puts the header in front. `exit`: the exit code of the command.
    pub fn new(origin: Origin, report: &'a T, exit: u8) -> Self {
        Self {
            header: Header {
                report: report.name(),
                schema: SCHEMA,
                version: origin.version,
                host: origin.host,
                time: origin.time,
                ok: report.is_ok(),
                verdict: report.verdict(),
                exit,
            },
            report,
        }
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorReport {
    /// The error.
    pub error: String,
    /// Its causes, the nearest first.
    pub causes: Vec<String>,
    /// What the user can do.
    pub hint: Option<String>,
}

impl Report for ErrorReport {
    const NAME: &'static str = "error";

    fn verdict(&self) -> &'static str {
        "error"
    }
}

impl Report for StatusReport {
    const NAME: &'static str = "status";

    fn verdict(&self) -> &'static str {
        self.verdict.word()
    }

    fn is_ok(&self) -> bool {
        self.verdict == Headline::Ok
    }
}

impl Report for VerifyReport {
    const NAME: &'static str = "verify";

    fn verdict(&self) -> &'static str {
        match self.exits.first() {
            None => "ok",
            Some(&super::EXIT_UNKNOWN) => "unknown",
            Some(_) => "failed",
        }
    }
}

impl Report for PlanReport<'_> {
    const NAME: &'static str = "plan";

    fn verdict(&self) -> &'static str {
        match self.empty {
            true => "ok",
            false => "differs",
        }
    }
}

impl Report for ChangeReport<'_> {
    const NAME: &'static str = "apply";

    fn name(&self) -> &'static str {
        self.command
    }

    fn verdict(&self) -> &'static str {
        match self.carried_out {
            Some(carried) if carried.wrong > 0 => "differs",
            _ => "ok",
        }
    }
}

impl Report for ExplainReport {
    const NAME: &'static str = "explain";

    fn verdict(&self) -> &'static str {
        match self.verdict {
            _ if !self.walk_agrees => "disagreement",
            ExplainVerdict::Ok => "ok",
            ExplainVerdict::WrongEni => "wrong-eni",
            ExplainVerdict::Refused => "refused",
            ExplainVerdict::CannotTell => "cannot-tell",
        }
    }

    fn is_ok(&self) -> bool {
        let refused_as_configured = self.verdict == ExplainVerdict::Refused && self.as_configured;
        self.walk_agrees && (self.verdict == ExplainVerdict::Ok || refused_as_configured)
    }
}

impl Report for Live {
    const NAME: &'static str = "live";

    fn verdict(&self) -> &'static str {
        match self.lookups.is_empty() {
            true => "no-lookups",
            false => "ok",
        }
    }

    fn is_ok(&self) -> bool {
        true
    }
}

impl Report for CountersReport<'_> {
    const NAME: &'static str = "counters";

    fn verdict(&self) -> &'static str {
        "ok"
    }
}
