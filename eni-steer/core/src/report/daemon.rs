//! The report of a running daemon about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a running daemon reports about itself. The daemon writes it to a file in the run directory,
/// and `status` reads it there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonReport {
    /// Process id of the daemon.
    pub pid: u32,
    /// When the process started, in clock ticks after boot. A process with the same id and another
    /// start time is not the daemon that wrote the report.
    pub process_started: Option<u64>,
    /// When the daemon started, in seconds since 1970.
    pub started: u64,
    /// Number of passes since then.
    pub passes: u64,
    /// How often the daemon restored each object, by its plan line.
    pub restored: BTreeMap<String, u64>,
    /// How many objects each program removed, by name of the program, where it is known.
    pub removed_by: BTreeMap<String, u64>,
    /// Rules and routes that the daemon does not restore for a while, because another program keeps
    /// deleting them.
    #[serde(alias = "fights")]
    pub paused: Vec<String>,
    /// How often the kernel dropped notifications because the socket was full. The daemon runs a
    /// pass after each.
    pub overruns: u64,
    /// Why the last pass failed; `None`: it succeeded.
    pub error: Option<String>,
    /// Steps that failed in the last pass, each with the reason.
    pub failed: Vec<String>,
    /// Findings of the last pass, as sentences.
    pub warnings: Vec<String>,
    /// Duration of the last pass, in microseconds.
    pub last_pass_us: u64,
}
