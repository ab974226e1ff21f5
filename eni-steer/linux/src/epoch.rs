//! The file in the run directory that holds the epoch in force.

use std::{fs, io};

use eni_steer_core::epoch::Epoch;

use crate::{
    paths::Paths,
    run_files::{directory, remove_file, replace},
    state::StateError,
};

const FILE: &str = "epoch.json";

/// Reads the epoch; `None`: none is known, or the file is damaged, which costs no more than the
/// knowledge since when traffic counts.
pub fn read(paths: &Paths) -> Option<Epoch> {
    let path = directory(paths).ok()?.join(FILE);
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Replaces the file.
///
/// # Errors
/// The run directory cannot be written.
pub fn write(epoch: &Epoch, paths: &Paths) -> Result<(), StateError> {
    let directory = directory(paths)?;
    let path = directory.join(FILE);
    let bytes = serde_json::to_vec(epoch).map_err(io::Error::from);
    bytes
        .and_then(|bytes| replace(&directory, &path, &bytes))
        .map_err(|cause| StateError::writing(path, cause))
}

/// Removes the file; no file is fine.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove(paths: &Paths) -> io::Result<()> {
    match directory(paths) {
        Ok(directory) => remove_file(&directory.join(FILE)),
        Err(_no_namespace) => Ok(()),
    }
}
