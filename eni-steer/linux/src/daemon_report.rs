//! The file in the run directory in which the daemon writes its report and `status` reads it.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use eni_steer_core::report::DaemonReport;

use crate::{
    paths::Paths,
    process::start_time,
    run_files::{self, StateError, directory, remove_file, replace},
};

const FILE: &str = "daemon.json";

/// Returns the first report of a daemon that starts now in this process.
pub fn new() -> DaemonReport {
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    DaemonReport {
        pid: std::process::id(),
        process_started: start_time(std::process::id()),
        started: started.map_or(0, |since| since.as_secs()),
        ..DaemonReport::default()
    }
}

/// Reads the report. Returns `None` if there is none, or if the daemon that wrote it has ended.
pub fn read(paths: &Paths) -> Option<DaemonReport> {
    let path = directory(paths).ok()?.join(FILE);
    let report: DaemonReport = serde_json::from_slice(&run_files::read(&path).ok()?).ok()?;
    let started = report.process_started;
    (started.is_some() && start_time(report.pid) == started).then_some(report)
}

/// Replaces the report with a new one.
///
/// # Errors
/// The run directory cannot be written.
pub fn write(report: &DaemonReport, paths: &Paths) -> Result<(), StateError> {
    let directory = directory(paths)?;
    let path = directory.join(FILE);
    let bytes = serde_json::to_vec_pretty(report).map_err(io::Error::from);
    bytes
        .and_then(|bytes| replace(&directory, &path, &bytes))
        .map_err(|cause| StateError::writing(path, cause))
}

/// Deletes the report; does nothing if there is none.
///
/// # Errors
/// The file exists and cannot be deleted.
pub fn remove(paths: &Paths) -> io::Result<()> {
    let Ok(directory) = directory(paths) else {
        return Ok(());
    };
    remove_file(&directory.join(FILE))
}
