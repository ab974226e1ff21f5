//! What is written down about our changes, so that they can be undone: a file in /run,
//! one for each network namespace, replaced atomically. It is written before a change is
//! made, never after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    Places,
    run_files::{directory, remove_empty, remove_file, replace},
};
use crate::{
    model::{IfIndex, Knob, Memory},
    policy::Policy,
};

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Previous values of knobs.
    #[serde(with = "crate::model::pairs")]
    pub memory: BTreeMap<Knob, Memory>,
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
    pub(super) fn reading(path: PathBuf, cause: io::Error) -> Self {
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
    pub fn read(places: &Places) -> Result<Self, StateError> {
        let path = directory(places)?.join("state.json");
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
    pub fn write(&self, places: &Places) -> Result<(), StateError> {
        let directory = directory(places)?;
        let path = directory.join("state.json");
        let fail = |cause| StateError::writing(path.clone(), cause);
        if *self == Self::default() {
            return remove_file(&path)
                .and_then(|()| remove_empty([&directory, &places.run]))
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
    pub fn change(places: &Places, change: impl FnOnce(&mut Self)) -> Result<(), StateError> {
        let mut state = Self::read(places)?;
        let before = state.clone();
        change(&mut state);
        if state == before {
            Ok(())
        } else {
            state.write(places)
        }
    }
}
