//! The configuration as it is written: tables and keys, each value with its place. Words are
//! read as text here and understood where they are merged, so that every message can point at
//! the very word.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub policy: PolicySection,
    pub limits: LimitsSection,
    pub eni: Vec<Spanned<EniSection>>,
    pub rule: Vec<Spanned<RuleSection>>,
    pub balance: BalanceSection,
}

/// Text that is there, with its place.
pub(super) type Text = Option<Spanned<String>>;
/// A list of texts that is there.
pub(super) type Texts = Option<Spanned<Vec<Spanned<String>>>>;
/// A number or text.
pub(super) type Word = Option<Spanned<Loose>>;
/// A whole number.
pub(super) type Number = Option<Spanned<u32>>;
/// Yes or no.
pub(super) type Switch = Option<Spanned<bool>>;

/// `[policy]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct PolicySection {
    pub mode: Text,
    pub discover: Text,
    pub primary: Text,
    pub rules: Switch,
    pub programs: Switch,
    pub sysctls: Switch,
    pub attach: Text,
    pub table_base: Number,
    pub priorities: Text,
    pub protocol: Word,
    pub group: Number,
    pub exempt: Texts,
    pub exempt_mark: Word,
    #[serde(rename = "source-length4")]
    pub source_length4: Number,
    #[serde(rename = "source-length6")]
    pub source_length6: Number,
    pub events_per_second: Number,
    pub restore_default_rules: Switch,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub addresses: Number,
    pub sources: Word,
}

/// One `[[eni]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct EniSection {
    pub name: Text,
    pub mac: Text,
    pub managed: Switch,
    pub table: Number,
    pub gateway: Text,
    pub gateway6: Text,
    pub addresses: Texts,
    pub prefixes: Texts,
    pub mode: Text,
    pub default_metric: Number,
}

/// One `[[rule]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RuleSection {
    pub from: Text,
    pub to: Text,
    pub proto: Word,
    pub sport: Word,
    pub dport: Word,
    pub uid: Word,
    pub mark: Word,
    pub iif: Text,
    pub eni: Text,
    pub action: Text,
}

/// `[balance]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BalanceSection {
    pub weights: Option<Spanned<BTreeMap<Spanned<String>, Spanned<u32>>>>,
    pub table: Number,
}

/// A value that may be written as a number or as text: 80 or "80-90".
#[derive(Debug)]
pub(super) struct Loose(pub String);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Loose;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
                Ok(Loose(number.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
