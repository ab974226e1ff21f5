//! The files of the configuration, `config.toml` and `conf.d/*.toml`: from their text to a
//! policy and the origin of each of its values. The caller reads the files.
//!
//! A later file overrides an earlier one key by key. ENIs merge by their name or MAC address.
//! The rules of all files form one list, in the order of the files.

mod check;
mod document;
mod error;
mod merge;
pub mod save;

use std::path::PathBuf;

use toml::de::DeTable;

pub use error::ConfigError;

use super::{
    Policy,
    origin::{Origin, Origins, Section},
};

/// A file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A policy, and where each of its values comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedConfig {
    /// The policy.
    pub policy: Policy,
    /// Where its values come from.
    pub origins: Origins,
}

impl LoadedConfig {
    /// Reads the files, later ones over earlier ones. An error names the place of the first
    /// mistake.
    pub fn from_files(files: &[SourceFile]) -> Result<Self, ConfigError> {
        let mut loaded = Self::default();
        for file in files {
            let toml = DeTable::parse(&file.text).map_err(|error| file.invalid_toml(&error))?;
            merge::merge(file, toml.get_ref(), &mut loaded)?;
        }
        check::check(&loaded)?;
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests;
