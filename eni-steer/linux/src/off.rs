//! The emergency brake: while the file `off` is in the run directory, eni-steer keeps its hands off
//! the traffic of every network namespace. `eni-steer off` makes the file, and so can a fleet tool.

use std::{fs, io};

use crate::{
    paths::Paths,
    run_files::{self, StateError},
};

/// Name of the file in the run directory.
pub const FILE: &str = "off";

/// Whether the brake is on.
pub fn is_off(paths: &Paths) -> bool {
    fs::symlink_metadata(paths.run.join(FILE)).is_ok()
}

/// Puts the brake on. Does nothing if it is on.
///
/// # Errors
/// The run directory is not eni-steer's, or cannot be written.
pub fn set(paths: &Paths) -> Result<(), StateError> {
    run_files::directory(paths)?;
    let path = paths.run.join(FILE);
    let made = run_files::create(&paths.run).and_then(|()| {
        match fs::File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    });
    made.map_err(|cause| StateError::writing(path, cause))
}

/// Takes the brake off. Does nothing if it is off.
///
/// # Errors
/// The file cannot be deleted.
pub fn clear(paths: &Paths) -> Result<(), StateError> {
    run_files::directory(paths)?;
    let path = paths.run.join(FILE);
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => run_files::remove_empty([&paths.run]),
    };
    removed.map_err(|cause| StateError::writing(path, cause))
}
