//! What all files together must hold, before the host is looked at: numbers that stand for
//! one thing only, and names that are known.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr};

use ipnet::IpNet;

use super::{ConfigError, Configured, Origin, Section};
use crate::{
    model::{Group, TableId, host_prefix},
    ownership::{ACCESS_RULES, MIN_BAND, TABLES},
    policy::{AccessAction, Discover, Policy, PrimaryPolicy, Selector},
};

type Check = Result<(), ConfigError>;

pub(super) fn check(configured: &Configured) -> Check {
    numbers(configured)?;
    tables(configured)?;
    metrics(configured)?;
    owners(configured)?;
    rules(configured)?;
    balance(configured)
}

/// The place of a value, or of another one of its table where it has none.
fn place(configured: &Configured, section: &Section, keys: &[&'static str]) -> Origin {
    keys.iter()
        .map(|key| configured.origins.of(section, key))
        .find(|origin| *origin != Origin::Default)
        .unwrap_or_default()
}

fn numbers(configured: &Configured) -> Check {
    let Policy {
        ownership,
        table_base,
        ..
    } = &configured.policy;
    let fail = |key, what: String, hint: &str| {
        let origin = place(configured, &Section::Policy, &[key]);
        Err(ConfigError::at(&origin, format!("{key}: {what}"), hint))
    };
    let (first, last) = (ownership.first, ownership.last);
    if last.0 - first.0 < MIN_BAND - 1 {
        let what = format!("{first}-{last} can not hold eni-steer's rules");
        let hint = format!("a band has at least {MIN_BAND} priorities");
        return fail("priorities", what, &hint);
    }
    if first.0 == 0 || last.0 >= 32766 {
        let what = format!("{first}-{last} overlaps the kernel's own rules");
        return fail("priorities", what, "local is at 0, main at 32766");
    }
    if ownership.group == Group(0) {
        let what = "group 0 is the one every interface starts in".to_owned();
        return fail("group", what, "choose a number that no interface is in");
    }
    let end = table_base.0.checked_add(TABLES);
    if end.is_none() || table_base.0 <= TableId::LOCAL.0 {
        let what = format!(
            "the tables {table_base} to {table_base}+{} overlap the kernel's own",
            TABLES - 1
        );
        return fail("table-base", what, "choose a base above 255");
    }
    Ok(())
}

/// Each number belongs to one ENI only.
fn once<K: Ord + Display>(
    configured: &Configured,
    key: &'static str,
    values: impl Iterator<Item = (K, Section, Selector)>,
) -> Check {
    let mut met: BTreeMap<K, (Origin, Selector)> = BTreeMap::new();
    for (value, section, eni) in values {
        let origin = configured.origins.of(&section, key);
        if let Some((first, other)) = met.get(&value) {
            return Err(ConfigError::at(
                &origin,
                format!("{key}: {value} of {eni} is that of {other} already"),
                format!("{first} has it; one of the two needs another one"),
            ));
        }
        met.insert(value, (origin, eni));
    }
    Ok(())
}

fn tables(configured: &Configured) -> Check {
    let policy = &configured.policy;
    let enis = policy.enis.iter().filter(|eni| eni.managed);
    let named = enis.filter_map(|eni| {
        let section = Section::Eni(eni.select.clone());
        Some((eni.table?, section, eni.select.clone()))
    });
    let balance = policy.balance.as_ref().and_then(|balance| balance.table);
    let balance = balance.map(|table| {
        let select = Selector::Name("[balance]".to_owned());
        (table, Section::Balance, select)
    });
    for (table, section, owner) in named.clone().chain(balance.clone()) {
        let kernels = [TableId(0), TableId::DEFAULT, TableId::MAIN, TableId::LOCAL];
        if kernels.contains(&table) {
            return Err(ConfigError::at(
                &configured.origins.of(&section, "table"),
                format!("table: {} of {owner} is one of the kernel's own", table.0),
                "tables 0 and 253 to 255 are default, main and local; choose another one",
            ));
        }
    }
    once(configured, "table", named.chain(balance))
}

fn metrics(configured: &Configured) -> Check {
    let enis = configured.policy.enis.iter().filter(|eni| eni.managed);
    let metrics = enis.filter_map(|eni| {
        let section = Section::Eni(eni.select.clone());
        Some((eni.default_metric?, section, eni.select.clone()))
    });
    once(configured, "default-metric", metrics)
}

/// An address has one owner: naming it for two ENIs would leave it without any.
fn owners(configured: &Configured) -> Check {
    let enis = || configured.policy.enis.iter().filter(|eni| eni.managed);
    let addresses = enis().flat_map(|eni| {
        let at = Section::Eni(eni.select.clone());
        let each = eni.addresses.iter();
        each.map(move |address: &IpAddr| {
            (host_prefix(*address).addr(), at.clone(), eni.select.clone())
        })
    });
    once(configured, "addresses", addresses)?;
    let prefixes = enis().flat_map(|eni| {
        let at = Section::Eni(eni.select.clone());
        let each = eni.prefixes.iter();
        each.map(move |net: &IpNet| (*net, at.clone(), eni.select.clone()))
    });
    once(configured, "prefixes", prefixes)
}

fn rules(configured: &Configured) -> Check {
    let rules = &configured.policy.access;
    for refuses in [true, false] {
        let mut these = rules.iter().enumerate();
        let over = these
            .by_ref()
            .filter(|(_, rule)| rule.refuses() == refuses)
            .nth(ACCESS_RULES as usize);
        if let Some((n, _)) = over {
            let kind = if refuses { "action" } else { "eni" };
            return Err(ConfigError::at(
                &place(configured, &Section::Rule(n), &[kind]),
                format!("this is one [[rule]] with {kind} too many"),
                format!(
                    "there is room for {ACCESS_RULES}; one with a prefix or a range does the work of several"
                ),
            ));
        }
    }
    for (n, rule) in rules.iter().enumerate() {
        if let AccessAction::Eni(select) = &rule.then {
            let origin = configured.origins.of(&Section::Rule(n), "eni");
            known(configured, select, &origin)?;
        }
    }
    Ok(())
}

/// Where all ENIs are named, a name that is none of them is a mistake; where they are found,
/// only the host can tell.
fn known(configured: &Configured, select: &Selector, origin: &Origin) -> Check {
    let policy = &configured.policy;
    let said = policy.enis.iter().find(|eni| eni.select == *select);
    if let Some(eni) = said
        && !eni.managed
    {
        let what = format!("{select} is not managed");
        return Err(ConfigError::at(
            origin,
            what,
            "its [[eni]] has managed = false",
        ));
    }
    let names = || policy.enis.iter().filter(|eni| eni.managed);
    // One ENI can be spoken of by name here and by MAC there: only the host knows.
    let comparable =
        names().all(|eni| std::mem::discriminant(&eni.select) == std::mem::discriminant(select));
    let all_named = policy.discover == Discover::IfNoneNamed && names().next().is_some();
    if said.is_none() && all_named && comparable {
        let names: Vec<String> = names().map(|eni| eni.select.to_string()).collect();
        return Err(ConfigError::at(
            origin,
            format!("{select} is no ENI of this configuration"),
            format!("the ENIs are {}", names.join(", ")),
        ));
    }
    Ok(())
}

fn balance(configured: &Configured) -> Check {
    let policy = &configured.policy;
    let Some(balance) = &policy.balance else {
        return Ok(());
    };
    let origin = configured.origins.of(&Section::Balance, "weights");
    for (select, _) in &balance.weights {
        known(configured, select, &origin)?;
    }
    if policy.primary != PrimaryPolicy::Full {
        return Err(ConfigError::at(
            &origin,
            "[balance] needs primary = \"full\" in [policy]",
            "without source rules for the primary, its own traffic would be spread as well",
        ));
    }
    Ok(())
}
