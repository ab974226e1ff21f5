//! The file in the run directory that holds the epoch in force.

use std::io;

use eni_steer_core::epoch::Epoch;

use crate::{
    bpf::{BpfError, Maps, PinRoot},
    paths::Paths,
    run_files::{self, directory, remove_file, replace},
    state::StateError,
};

const FILE: &str = "epoch.json";

/// Reads the epoch; `None`: none is known, or the file is damaged, which costs no more than the
/// knowledge since when traffic counts.
pub fn read(paths: &Paths) -> Option<Epoch> {
    let path = directory(paths).ok()?.join(FILE);
    serde_json::from_slice(&run_files::read(&path).ok()?).ok()
}

/// Why the epoch in force is not known to be the right one.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The counters could not be read.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// The file could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file could not be removed.
    #[error("cannot remove {FILE}: {0}")]
    Remove(#[from] io::Error),
}

/// Begins a new epoch if the host is not as it was when the one in force began. `fingerprint`:
/// what routing depends on now; `None`: the caller has just changed it. `goes_on`: nothing that was
/// counted in the epoch in force needs to be forgotten, so it goes on. Without programs there are no counters
/// and no epoch, so the file is removed.
///
/// # Errors
/// The counters could not be read, or the file not written.
pub fn renew(paths: &Paths, fingerprint: Option<u64>, goes_on: bool) -> Result<(), EpochError> {
    let known = read(paths);
    match known {
        Some(known) if known.fingerprint.is_some() && known.fingerprint == fingerprint => Ok(()),
        // The change that began it is made and this is what came of it, or nothing of it needs to
        // be forgotten.
        Some(known) if fingerprint.is_some() && (known.fingerprint.is_none() || goes_on) => {
            let settled = Epoch {
                fingerprint,
                ..known
            };
            Ok(write(&settled, paths)?)
        }
        _ => {
            let pins = PinRoot::here(&paths.bpffs)?;
            let Some(maps) = Maps::open(&pins)? else {
                return Ok(remove(paths)?);
            };
            let epoch = Epoch::begin(fingerprint, &maps.read_addresses()?);
            Ok(write(&epoch, paths)?)
        }
    }
}

/// Replaces the file.
fn write(epoch: &Epoch, paths: &Paths) -> Result<(), StateError> {
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
