//! One file as TOML: its tables, with every key known to the registry.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ConfigError, SourceFile};
use crate::policy::{input::found, keys, registry::Key};

/// A table of a file.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    /// Where it starts: at its heading.
    pub span: Range<usize>,
    keys: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.keys.get(key)
    }
}

/// The tables of a file. All of their keys are known; nothing else is checked.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub policy: Option<Table<'a>>,
    pub limits: Option<Table<'a>>,
    pub enis: Vec<Table<'a>>,
    pub rules: Vec<Table<'a>>,
    pub balance: Option<Table<'a>>,
}

/// The names of the tables.
const TABLES: [&str; 5] = ["policy", "limits", "eni", "rule", "balance"];

impl<'a> Document<'a> {
    pub fn new(file: &SourceFile, toml: &'a DeTable<'a>) -> Result<Self, ConfigError> {
        only_known(file, toml, &TABLES)?;
        let one = |name, keys: &[&'static str]| -> Result<Option<Table<'a>>, ConfigError> {
            let value = toml.get(name);
            value
                .map(|value| table(file, name, value, keys))
                .transpose()
        };
        let many = |name, keys: &[&'static str]| -> Result<Vec<Table<'a>>, ConfigError> {
            let Some(value) = toml.get(name) else {
                return Ok(Vec::new());
            };
            let Some(items) = value.get_ref().as_array() else {
                let what = format!(
                    "{name}: expected a list of tables, found {}",
                    found(value.get_ref())
                );
                return Err(file.mistake(&value.span(), what, format!("write [[{name}]]")));
            };
            items
                .iter()
                .map(|item| table(file, name, item, keys))
                .collect()
        };
        Ok(Self {
            policy: one("policy", &names(keys::POLICY))?,
            limits: one("limits", &names(keys::LIMITS))?,
            enis: many("eni", &names(keys::ENI))?,
            rules: many("rule", &names(keys::RULE))?,
            balance: one("balance", &names(keys::BALANCE))?,
        })
    }
}

fn names<T>(keys: &[Key<T>]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

fn table<'a>(
    file: &SourceFile,
    name: &str,
    value: &'a Spanned<DeValue<'a>>,
    keys: &[&'static str],
) -> Result<Table<'a>, ConfigError> {
    let Some(table) = value.get_ref().as_table() else {
        let what = format!("{name}: expected a table, found {}", found(value.get_ref()));
        return Err(file.mistake(&value.span(), what, format!("write [{name}]")));
    };
    only_known(file, table, keys)?;
    Ok(Table {
        span: value.span(),
        keys: table,
    })
}

/// Refuses the first key that is not among `known`.
fn only_known(
    file: &SourceFile,
    table: &DeTable<'_>,
    known: &[&'static str],
) -> Result<(), ConfigError> {
    let unknown = table
        .keys()
        .filter(|key| !known.contains(&key.get_ref().as_ref()));
    match unknown.min_by_key(|key| key.span().start) {
        None => Ok(()),
        Some(key) => Err(file.unknown_key(&key.span(), key.get_ref(), known)),
    }
}
