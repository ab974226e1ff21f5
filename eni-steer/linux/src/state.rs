//! What is written down about our changes, so that they can be undone: a file in /run,
//! one for each network namespace, replaced atomically. It is written before a change is
//! made, never after.

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

use crate::{
    paths::Paths,
    run_files::{directory, remove_empty, remove_file, replace},
};

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Values that tunables had before eni-steer changed them. Versions before 0.2 wrote them as
    /// `memory`.
    #[serde(with = "eni_steer_core::model::pairs", alias = "memory")]
    pub saved: BTreeMap<Tunable, SavedValue>,
    /// Interfaces whose clsact qdisc was added by us.
    pub clsact: BTreeSet<IfIndex>,
    /// The policy that was applied last: what commands without flags and without a
    /// configuration file go by.
    pub policy: Option<Policy>,
}

/// The file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct StateError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl StateError {
    pub(crate) fn reading(path: PathBuf, cause: io::Error) -> Self {
        Self {
            verb: "read",
            path,
            cause,
        }
    }

    pub(crate) fn writing(path: PathBuf, cause: io::Error) -> Self {
        Self {
            verb: "write",
            path,
            cause,
        }
    }
}

impl State {
    /// Reads the file; an absent one is an empty state.
    pub fn read(paths: &Paths) -> Result<Self, StateError> {
        let path = directory(paths)?.join("state.json");
        let fail = |cause| StateError::reading(path.clone(), cause);
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes).map_err(|error| fail(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(fail(error)),
        }
    }

    /// The file's content.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Replaces the file, or removes it when there is nothing to say.
    pub fn write(&self, paths: &Paths) -> Result<(), StateError> {
        let directory = directory(paths)?;
        let path = directory.join("state.json");
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

    /// Reads, changes and replaces the file.
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
