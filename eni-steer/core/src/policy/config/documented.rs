//! The example and the reference page say what the code says: the same keys, the same
//! defaults, on all sides.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::{
    Configured, SourceFile,
    document::{BalanceSection, EniSection, LimitsSection, PolicySection, RuleSection},
};
use crate::{
    model::Mac,
    policy::{
        AccessAction, AccessRule, Balance, EniPolicy, Entry, Policy, Section, Selector, entries,
    },
};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &str, text: String) -> Configured {
    let path = PathBuf::from(path);
    Configured::from_files(&[SourceFile { path, text }]).unwrap_or_else(|error| panic!("{error}"))
}

/// The keys a table of the configuration has, as its type says them.
fn keys<'de, T: Deserialize<'de>>() -> Vec<&'static str> {
    /// Answers every question with the names of the fields that were asked for.
    struct Ask<'a>(&'a mut Vec<&'static str>);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = de::value::Error;
        fn deserialize_any<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only structs are asked"))
        }
        fn deserialize_struct<V: de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields);
            Err(de::Error::custom("that is all"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields = Vec::new();
    assert!(T::deserialize(Ask(&mut fields)).is_err());
    assert!(!fields.is_empty());
    fields
}

/// Every key of every table, by the types that read them.
fn all_keys() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("[policy]", keys::<PolicySection>()),
        ("[limits]", keys::<LimitsSection>()),
        ("[[eni]]", keys::<EniSection>()),
        ("[[rule]]", keys::<RuleSection>()),
        ("[balance]", keys::<BalanceSection>()),
    ])
}

/// A policy with one of each table, in which nothing else is said.
fn one_of_each() -> Policy {
    let mut eni = EniPolicy::new(Selector::from("eth1"));
    eni.gateways.clear();
    Policy {
        enis: vec![eni],
        access: vec![AccessRule::new(AccessAction::Prohibit)],
        balance: Some(Balance::default()),
        ..Policy::default()
    }
}

/// Prose is commented out with '#' and a space, TOML with '#' alone.
fn with_examples(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(toml) if !toml.is_empty() && !toml.starts_with(' ') => toml.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).map(|line| line + "\n").collect()
}

#[test]
fn every_key_that_is_read_is_also_shown() {
    let shown = entries(&one_of_each());
    for (table, keys) in all_keys() {
        let entries = shown
            .iter()
            .filter(|entry| entry.section.heading() == table);
        let shown: Vec<&str> = entries.map(|entry| entry.key).collect();
        assert_eq!(shown, keys, "{table}: what is shown beside what is read");
    }
}

#[test]
fn the_example_as_it_stands_says_the_defaults() {
    let configured = read("contrib/config.toml", text("contrib/config.toml"));
    assert_eq!(configured.policy, Policy::default());
    // Not by silence: each key with a default is there.
    for Entry {
        section,
        key,
        value,
    } in entries(&Policy::default())
    {
        if matches!(section, Section::Policy | Section::Limits) && value.is_some() {
            let origin = configured.origins.of(&section, key).to_string();
            assert_ne!(
                origin,
                "default",
                "{} {key} is not in it",
                section.heading()
            );
        }
    }
}

#[test]
fn the_example_holds_every_key_there_is() {
    let example = with_examples(&text("contrib/config.toml"));
    let document: toml::Table = toml::from_str(&example).unwrap_or_else(|e| panic!("{e}"));
    let holds = |table: &str, key: &str| match document.get(table.trim_matches(['[', ']'])) {
        Some(toml::Value::Array(tables)) => tables.iter().any(|one| one.get(key).is_some()),
        Some(one) => one.get(key).is_some(),
        None => false,
    };
    for (table, keys) in all_keys() {
        for key in keys {
            assert!(
                holds(table, key),
                "{table} {key} is not in contrib/config.toml"
            );
        }
    }
    // And what it holds is right, but for the balance without a full primary.
    let example = example.replace("primary = \"observe\"", "primary = \"full\"");
    let example = example.replace("[[eni]]\nmac", "[[eni]]\nname = \"eth0\"\n[[eni]]\nmac");
    let configured = read("contrib/config.toml", example);
    assert_eq!(configured.policy.enis.len(), 3);
    let mac = Mac([2, 0, 0x5e, 0, 0x53, 2]);
    assert_eq!(configured.policy.enis[2].select, Selector::Mac(mac));
}

/// The rows of the reference page: table, key and what stands in the second column.
fn rows(page: &str) -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    let mut table = String::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.trim_matches('`').to_owned();
        }
        let mut cells = line.split(" | ");
        let first = cells.next().and_then(|cell| cell.strip_prefix("| `"));
        if let (Some(key), Some(second)) = (first, cells.next()) {
            rows.push((
                table.clone(),
                key.trim_end_matches('`').to_owned(),
                second.to_owned(),
            ));
        }
    }
    rows
}

#[test]
fn the_reference_page_has_each_key_once_in_the_order_of_the_code() {
    let rows = rows(&text("docs/configuration.md"));
    for (table, keys) in all_keys() {
        let here = rows.iter().filter(|(heading, ..)| heading == table);
        let described: Vec<&str> = here.map(|(_, key, _)| key.as_str()).collect();
        assert_eq!(described, keys, "{table} of docs/configuration.md");
    }
}

#[test]
fn the_reference_page_says_the_defaults_of_the_code() {
    let rows = rows(&text("docs/configuration.md"));
    let defaults = entries(&Policy {
        balance: None,
        ..one_of_each()
    });
    for Entry {
        section,
        key,
        value,
    } in defaults
    {
        if matches!(section, Section::Rule(_)) || matches!(key, "name" | "mac") {
            continue;
        }
        let heading = section.heading();
        let row = rows
            .iter()
            .find(|row| (row.0.as_str(), row.1.as_str()) == (heading, key));
        let written = row.map(|row| row.2.as_str());
        let default = match value {
            Some(value) => format!("`{value}`"),
            None => "not set".to_owned(),
        };
        assert_eq!(written, Some(default.as_str()), "{heading} {key}");
    }
}

#[test]
fn the_readme_leads_to_the_reference_page_and_the_example() {
    let readme = text("README.md");
    for path in ["docs/configuration.md", "contrib/config.toml"] {
        assert!(readme.contains(&format!("({path})")), "no link to {path}");
        assert!(!text(path).is_empty());
    }
}
