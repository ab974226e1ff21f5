//! Checks of all files together, which need no look at the host: no number serves two
//! purposes, and each ENI that a key names is in the configuration.

use std::{collections::BTreeMap, fmt::Display};

use super::{ConfigError, LoadedConfig, Origin, Section};
use crate::{
    model::{Group, TableId},
    ownership::{ACCESS_RULES, MIN_BAND, TABLES},
    policy::{AccessAction, Discover, EniPolicy, Policy, PrimaryPolicy, Selector},
};

type Check = Result<(), ConfigError>;

pub(super) fn check(loaded: &LoadedConfig) -> Check {
    numbers(loaded)?;
    tables(loaded)?;
    metrics(loaded)?;
    owners(loaded)?;
    rules(loaded)?;
    balance(loaded)
}

fn numbers(loaded: &LoadedConfig) -> Check {
    let Policy {
        ownership,
        table_base,
        ..
    } = &loaded.policy;
    let fail = |key, what: String, hint: &str| {
        let origin = loaded.origins.of(&Section::Policy, key);
        Err(ConfigError::at(&origin, format!("{key}: {what}"), hint))
    };
    let (first, last) = (ownership.first, ownership.last);
    if last.0 - first.0 < MIN_BAND - 1 {
        let what = format!("{first}-{last} has no room for eni-steer's rules");
        let hint = format!("use a range of {MIN_BAND} priorities or more");
        return fail("priorities", what, &hint);
    }
    if first.0 == 0 || last.0 >= 32766 {
        let what = format!("{first}-{last} overlaps the priorities of the kernel's own rules");
        return fail(
            "priorities",
            what,
            "use priorities between 0 (local) and 32766 (main)",
        );
    }
    if ownership.group == Group(0) {
        let what = "every interface starts in group 0".to_owned();
        return fail(
            "group",
            what,
            "use the number of a group without interfaces",
        );
    }
    let end = table_base.0.checked_add(TABLES);
    if end.is_none() || table_base.0 <= TableId::LOCAL.0 {
        let what = format!(
            "the tables from {table_base} to {table_base} + {} overlap the kernel's own tables",
            TABLES - 1
        );
        return fail("table-base", what, "use a number above 255");
    }
    Ok(())
}

/// Refuses a value that two owners have: ENIs, or an ENI and the balance.
fn once<K: Ord + Display>(
    loaded: &LoadedConfig,
    key: &'static str,
    values: impl Iterator<Item = (K, Section, String)>,
) -> Check {
    let mut met: BTreeMap<K, (Origin, String)> = BTreeMap::new();
    for (value, section, owner) in values {
        let origin = loaded.origins.of(&section, key);
        if let Some((first, other)) = met.get(&value) {
            return Err(ConfigError::at(
                &origin,
                format!("{key}: both {other} and {owner} have {value}"),
                format!("{other} has it at {first}; change one of them"),
            ));
        }
        met.insert(value, (origin, owner));
    }
    Ok(())
}

/// Values of the managed ENIs, each with its place and its owner.
fn of_enis<'a, K>(
    loaded: &'a LoadedConfig,
    values: impl Fn(&'a EniPolicy) -> &'a [K],
) -> impl Iterator<Item = (K, Section, String)>
where
    K: Copy + 'a,
{
    let managed = loaded.policy.enis.iter().filter(|eni| eni.managed);
    managed.flat_map(move |eni| {
        let owned = |value: &K| {
            let section = Section::Eni(eni.select.clone());
            (*value, section, eni.select.to_string())
        };
        values(eni).iter().map(owned)
    })
}

fn tables(loaded: &LoadedConfig) -> Check {
    const KERNEL: [TableId; 4] = [TableId(0), TableId::DEFAULT, TableId::MAIN, TableId::LOCAL];
    let balance = loaded.policy.balance.as_ref();
    let balance = balance.and_then(|balance| balance.table);
    let balance = balance.map(|table| (table, Section::Balance, "[balance]".to_owned()));
    let tables = || of_enis(loaded, |eni| eni.table.as_slice()).chain(balance.clone());
    for (table, section, owner) in tables() {
        if KERNEL.contains(&table) {
            return Err(ConfigError::at(
                &loaded.origins.of(&section, "table"),
                format!(
                    "table: {owner} can not use the kernel's own table {}",
                    table.0
                ),
                "the kernel uses the tables 0 and 253 to 255; use another number",
            ));
        }
    }
    once(loaded, "table", tables())
}

fn metrics(loaded: &LoadedConfig) -> Check {
    let metrics = of_enis(loaded, |eni| eni.default_metric.as_slice());
    once(loaded, "default-metric", metrics)
}

/// An address has one owner. If two ENIs claimed it, neither would get it.
fn owners(loaded: &LoadedConfig) -> Check {
    once(loaded, "addresses", of_enis(loaded, |eni| &eni.addresses))?;
    once(loaded, "prefixes", of_enis(loaded, |eni| &eni.prefixes))
}

fn rules(loaded: &LoadedConfig) -> Check {
    let rules = &loaded.policy.access;
    for (refuse, key) in [(true, "action"), (false, "eni")] {
        let of_kind = rules.iter().enumerate();
        let mut of_kind = of_kind.filter(|(_, rule)| rule.refuses() == refuse);
        if let Some((n, _)) = of_kind.nth(ACCESS_RULES as usize) {
            return Err(ConfigError::at(
                &loaded.origins.of(&Section::Rule(n), key),
                format!("more than {ACCESS_RULES} rules have an {key}"),
                "a rule with a prefix or a range can replace several others",
            ));
        }
    }
    for (n, rule) in rules.iter().enumerate() {
        if let AccessAction::Eni(select) = &rule.then {
            let origin = loaded.origins.of(&Section::Rule(n), "eni");
            known(loaded, select, &origin)?;
        }
    }
    Ok(())
}

/// Refuses a name of an ENI that the configuration excludes. Where eni-steer looks for ENIs
/// itself, only the host can tell.
fn known(loaded: &LoadedConfig, select: &Selector, origin: &Origin) -> Check {
    let policy = &loaded.policy;
    if let Some(eni) = policy.enis.iter().find(|eni| eni.select == *select) {
        return match eni.managed {
            true => Ok(()),
            false => Err(ConfigError::at(
                origin,
                format!("{select} is not a managed ENI"),
                format!("remove managed = false from the [[eni]] of {select}, or name another ENI"),
            )),
        };
    }
    let managed = || policy.enis.iter().filter(|eni| eni.managed);
    // A name and a MAC address can mean the same ENI; only the host can tell.
    let comparable =
        managed().all(|eni| std::mem::discriminant(&eni.select) == std::mem::discriminant(select));
    let discovers = policy.discover == Discover::Always || managed().next().is_none();
    if discovers || !comparable {
        return Ok(());
    }
    let names: Vec<String> = managed().map(|eni| eni.select.to_string()).collect();
    Err(ConfigError::at(
        origin,
        format!("{select} is not a managed ENI"),
        format!("the managed ENIs are {}", names.join(", ")),
    ))
}

fn balance(loaded: &LoadedConfig) -> Check {
    let policy = &loaded.policy;
    let Some(balance) = &policy.balance else {
        return Ok(());
    };
    let origin = loaded.origins.of(&Section::Balance, "weights");
    for (select, _) in &balance.weights {
        known(loaded, select, &origin)?;
    }
    if policy.primary != PrimaryPolicy::Full {
        return Err(ConfigError::at(
            &origin,
            "[balance] needs primary = \"full\" in [policy]",
            "without source rules for the primary, eni-steer would spread the primary's own traffic too",
        ));
    }
    Ok(())
}
