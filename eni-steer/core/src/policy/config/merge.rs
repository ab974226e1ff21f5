//! One file over the files before it.

use std::{collections::BTreeMap, ops::Range};

use toml::de::DeTable;

use super::{
    ConfigError, LoadedConfig, Section, SourceFile,
    document::{Document, Table},
};
use crate::policy::{
    AccessAction, AccessRule, EniPolicy, Policy, Selector, input::Input, keys, registry::Key,
};

/// Puts the values of a file over those of the files before it.
pub(super) fn merge(
    file: &SourceFile,
    toml: &DeTable<'_>,
    loaded: &mut LoadedConfig,
) -> Result<(), ConfigError> {
    let document = Document::new(file, toml)?;
    let mut merger = Merger { file, loaded };
    if let Some(table) = &document.policy {
        merger.set(keys::POLICY, &Section::Policy, table, |policy| policy)?;
    }
    if let Some(table) = &document.limits {
        merger.set(keys::LIMITS, &Section::Limits, table, |policy| policy)?;
    }
    merger.enis(&document.enis)?;
    for table in &document.rules {
        merger.rule(table)?;
    }
    if let Some(table) = &document.balance {
        merger.set(keys::BALANCE, &Section::Balance, table, |policy| policy)?;
    }
    Ok(())
}

struct Merger<'a> {
    file: &'a SourceFile,
    loaded: &'a mut LoadedConfig,
}

impl Merger<'_> {
    /// Sets the keys that a table has, and records where each value comes from. `find` finds
    /// what the keys belong to.
    fn set<T>(
        &mut self,
        keys: &'static [Key<T>],
        section: &Section,
        table: &Table<'_>,
        find: impl Fn(&mut Policy) -> &mut T,
    ) -> Result<(), ConfigError> {
        for key in keys {
            let Some(value) = table.get(key.name) else {
                continue;
            };
            (key.set)(find(&mut self.loaded.policy), Input::File(value))
                .map_err(|mistake| self.file.bad_value(key.name, value.span(), mistake))?;
            let origin = self.file.origin(&value.span());
            self.loaded.origins.set(section.clone(), key.name, origin);
        }
        Ok(())
    }

    fn enis(&mut self, tables: &[Table<'_>]) -> Result<(), ConfigError> {
        let mut met: BTreeMap<Selector, Range<usize>> = BTreeMap::new();
        for table in tables {
            let (select, span) = self.selector(table)?;
            if let Some(first) = met.insert(select.clone(), span.clone()) {
                let what = format!("this file has an [[eni]] for {select} already");
                let hint = format!("put all keys into the one at {}", self.file.origin(&first));
                return Err(self.file.mistake(&span, what, hint));
            }
            let enis = &mut self.loaded.policy.enis;
            let index = enis.iter().position(|eni| eni.select == select);
            let index = index.unwrap_or_else(|| {
                enis.push(EniPolicy::new(select.clone()));
                enis.len() - 1
            });
            let section = Section::Eni(select);
            self.set(keys::ENI, &section, table, |policy| &mut policy.enis[index])?;
        }
        Ok(())
    }

    /// Which interface an `[[eni]]` is, and where the file says so.
    fn selector(&self, table: &Table<'_>) -> Result<(Selector, Range<usize>), ConfigError> {
        let selectors = keys::ENI
            .iter()
            .filter(|key| keys::SELECTORS.contains(&key.name));
        let given: Vec<_> = selectors
            .filter_map(|key| Some((key, table.get(key.name)?)))
            .collect();
        match given.as_slice() {
            [(key, value)] => {
                let mut eni = EniPolicy::new(Selector::Name(String::new()));
                (key.set)(&mut eni, Input::File(value))
                    .map_err(|mistake| self.file.bad_value(key.name, value.span(), mistake))?;
                Ok((eni.select, value.span()))
            }
            [] => Err(self.file.mistake(
                &table.span,
                "this [[eni]] does not say which ENI it is",
                "add name = \"eth1\" (a name or alternative name) or mac = \"02:00:5e:00:53:01\"",
            )),
            [(first, value), (second, _), ..] => Err(self.file.mistake(
                &value.span(),
                format!("this [[eni]] has {} and {}", first.name, second.name),
                "either of them selects the interface; omit the other",
            )),
        }
    }

    fn rule(&mut self, table: &Table<'_>) -> Result<(), ConfigError> {
        let chosen = (table.get("eni").is_some(), table.get("action").is_some());
        if let (true, true) | (false, false) = chosen {
            return Err(self.file.mistake(
                &table.span,
                "a [[rule]] needs either an eni or an action",
                "eni = \"eth1\", or action = \"prohibit\", \"unreachable\" or \"blackhole\"",
            ));
        }
        let n = self.loaded.policy.access.len();
        let rule = AccessRule::new(AccessAction::Prohibit);
        self.loaded.policy.access.push(rule);
        let section = Section::Rule(n);
        self.set(keys::RULE, &section, table, |policy| &mut policy.access[n])?;
        let rule = &self.loaded.policy.access[n];
        if rule.matches_everything() {
            return Err(self.file.mistake(
                &table.span,
                "this [[rule]] matches every packet",
                "add from, to, proto, sport, dport, uid, mark or iif",
            ));
        }
        match rule.contradiction() {
            None => Ok(()),
            Some((why, hint)) => {
                let what = format!("this [[rule]] never matches: {why}");
                Err(self.file.mistake(&table.span, what, hint))
            }
        }
    }
}
