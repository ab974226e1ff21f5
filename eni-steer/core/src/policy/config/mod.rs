//! `config.toml` and the files of `conf.d`, from text to a policy in which every value knows
//! where it comes from. Reads no files: who has read them hands over their text.
//!
//! A later file overrides an earlier one key by key; ENIs merge by their selector; access
//! rules follow each other in the order of the files.

mod check;
mod document;
mod error;
mod merge;

use std::path::PathBuf;

pub use error::ConfigError;

use super::{
    Policy,
    origin::{Origin, Origins, Section},
};

/// A file of the configuration, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A policy, and where each of its values comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// The policy.
    pub policy: Policy,
    /// Where its values come from.
    pub origins: Origins,
}

impl Configured {
    /// Understands the files, later ones over earlier ones, or says what is wrong and where.
    pub fn from_files(files: &[SourceFile]) -> Result<Self, ConfigError> {
        let mut configured = Self::default();
        for file in files {
            let document = toml::from_str(&file.text).map_err(|error| file.rejected(&error))?;
            merge::merge(file, document, &mut configured)?;
        }
        check::check(&configured)?;
        Ok(configured)
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
