//! What a running daemon reports of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a running daemon reports of itself: `status` reads it from a file in the run directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonReport {
    /// Process id.
    pub pid: u32,
    /// When that process was started, in clock ticks after boot: a later one of the same
    /// number is another.
    pub process_started: Option<u64>,
    /// Seconds since 1970 when it started.
    pub started: u64,
    /// Passes so far.
    pub passes: u64,
    /// Restorations so far, by object.
    pub restored: BTreeMap<String, u64>,
    /// Who took objects away, by name, where known.
    pub removed_by: BTreeMap<String, u64>,
    /// Rules and routes that eni-steer does not restore for a while, because another program keeps
    /// deleting them.
    #[serde(alias = "fights")]
    pub paused: Vec<String>,
    /// Overruns of the notification socket, each followed by a pass.
    pub overruns: u64,
    /// Why the last pass failed, if it did.
    pub error: Option<String>,
    /// Steps of the last pass that failed.
    pub failed: Vec<String>,
    /// What the administrator should hear about, in words.
    pub warnings: Vec<String>,
    /// Microseconds the last pass took.
    pub last_pass_us: u64,
}
