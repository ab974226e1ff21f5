//! What the daemon says of itself, in a file that `status` reads.

use std::{
    collections::BTreeMap,
    fs, io,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    observe::{Places, StateError, remove_file, replace_file, state_directory},
    process::start_time,
};

/// The file's content.
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
    /// Objects that are not restored because somebody takes them away again and again.
    pub fights: Vec<String>,
    /// Overruns of the notification socket, each followed by a pass.
    pub overruns: u64,
    /// Why the last pass failed, if it did.
    pub error: Option<String>,
    /// Steps of the last pass that failed.
    pub failed: Vec<String>,
    /// What the administrator should hear about.
    pub warnings: Vec<String>,
    /// Microseconds the last pass took.
    pub last_pass_us: u64,
}

const FILE: &str = "daemon.json";

impl DaemonReport {
    /// A new daemon's report.
    pub fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            pid: std::process::id(),
            process_started: start_time(std::process::id()),
            started: started.map_or(0, |since| since.as_secs()),
            ..Self::default()
        }
    }

    /// Reads the report; `None`: there is no daemon, or the one that wrote it is gone.
    pub fn read(places: &Places) -> Option<Self> {
        let path = state_directory(places).ok()?.join(FILE);
        let report: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let started = report.process_started;
        (started.is_some() && start_time(report.pid) == started).then_some(report)
    }

    /// Replaces the file.
    pub fn write(&self, places: &Places) -> Result<(), StateError> {
        let directory = state_directory(places)?;
        let path = directory.join(FILE);
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        bytes
            .and_then(|bytes| replace_file(&directory, &path, &bytes))
            .map_err(|cause| StateError::writing(path, cause))
    }

    /// Takes the file away.
    pub fn remove(places: &Places) -> io::Result<()> {
        let Ok(directory) = state_directory(places) else {
            return Ok(());
        };
        remove_file(&directory.join(FILE))
    }
}
