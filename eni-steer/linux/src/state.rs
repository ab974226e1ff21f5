//! The state file, which eni-steer needs to undo its changes. Each network namespace has one in
//! /run. eni-steer writes it before it makes a change, never after, and replaces it atomically.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use eni_steer_core::{
    model::{IfIndex, SavedValue, Tunable},
    policy::Policy,
};

pub use crate::run_files::StateError;

use crate::{
    paths::Paths,
    run_files::{self, directory, remove_empty, remove_file, replace},
};

const FILE: &str = "state.json";
/// The name of a damaged state file once it is set aside.
const DAMAGED: &str = "state.json.damaged";

/// The content of the state file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Values that tunables had before eni-steer changed them. Versions before 0.2 wrote them as
    /// `memory`.
    #[serde(with = "eni_steer_core::model::pairs", alias = "memory")]
    pub saved: BTreeMap<Tunable, SavedValue>,
    /// Interfaces to which eni-steer added a clsact qdisc.
    pub clsact: BTreeSet<IfIndex>,
    /// The policy that was applied last. Commands use it if there are neither options nor a
    /// configuration file.
    pub policy: Option<Policy>,
}

impl State {
    /// Reads the state file. If it does not exist, the state is empty.
    ///
    /// # Errors
    /// The file cannot be read, or it is damaged.
    pub fn read(paths: &Paths) -> Result<Self, StateError> {
        let path = directory(paths)?.join(FILE);
        match run_files::read(&path) {
            Ok(bytes) => Self::parse(&bytes).map_err(|error| StateError::Damaged {
                path,
                cause: error.into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StateError::reading(path, error)),
        }
    }

    /// Reads the state file for a command that changes nothing. A damaged file is an empty state, and
    /// its error.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_to_report(paths: &Paths) -> Result<(Self, Option<StateError>), StateError> {
        match Self::read(paths) {
            Ok(state) => Ok((state, None)),
            Err(error @ StateError::Damaged { .. }) => Ok((Self::default(), Some(error))),
            Err(error) => Err(error),
        }
    }

    /// Renames a state file that is damaged, so that everything that does not depend on it goes on.
    /// Returns its error, and where the file is now; `None`: it is not damaged.
    ///
    /// # Errors
    /// The file cannot be read or renamed.
    pub fn set_damaged_aside(paths: &Paths) -> Result<Option<(StateError, PathBuf)>, StateError> {
        match Self::read(paths) {
            Ok(_) => Ok(None),
            Err(error @ StateError::Damaged { .. }) => {
                let path = directory(paths)?.join(FILE);
                let aside = path.with_file_name(DAMAGED);
                fs::rename(&path, &aside).map_err(|cause| StateError::writing(path, cause))?;
                Ok(Some((error, aside)))
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a state file that was set aside.
    ///
    /// # Errors
    /// It exists and cannot be deleted.
    pub fn forget_damaged(paths: &Paths) -> Result<(), StateError> {
        let path = directory(paths)?.join(DAMAGED);
        remove_file(&path).map_err(|cause| StateError::writing(path, cause))
    }

    /// Parses the content of a state file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Replaces the state file, or deletes it if the state is empty.
    ///
    /// # Errors
    /// The file cannot be written or deleted.
    pub fn write(&self, paths: &Paths) -> Result<(), StateError> {
        let directory = directory(paths)?;
        let path = directory.join(FILE);
        let fail = |cause| StateError::writing(path.clone(), cause);
        if *self == Self::default() {
            return remove_file(&path)
                .and_then(|()| remove_empty([&directory, &paths.run]))
                .map_err(fail);
        }
        replace(
            &directory,
            &path,
            &serde_json::to_vec_pretty(self).map_err(|e| fail(e.into()))?,
        )
        .map_err(fail)
    }

    /// Reads the state file, changes the state and replaces the file if the state differs.
    ///
    /// # Errors
    /// The file cannot be read, parsed or written.
    pub fn change(paths: &Paths, change: impl FnOnce(&mut Self)) -> Result<(), StateError> {
        let mut state = Self::read(paths)?;
        let before = state.clone();
        change(&mut state);
        if state == before {
            Ok(())
        } else {
            state.write(paths)
        }
    }
}
