//! The value of a key as `config show` prints it: as TOML that a file can hold, or as JSON.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Number(u64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An inline table.
    Table(BTreeMap<String, Value>),
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Switch(on)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<V: Into<Value>> FromIterator<V> for Value {
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Value {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => on.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => quote(text, f),
            Self::List(items) => {
                f.write_str("[")?;
                for (n, item) in items.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Table(pairs) => {
                f.write_str("{")?;
                for (n, (key, value)) in pairs.iter().enumerate() {
                    f.write_str(if n == 0 { " " } else { ", " })?;
                    if is_bare_key(key) {
                        f.write_str(key)?;
                    } else {
                        quote(key, f)?;
                    }
                    write!(f, " = {value}")?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// Whether TOML accepts a key without quotes.
fn is_bare_key(key: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !key.is_empty() && key.chars().all(bare)
}

/// A basic string of TOML.
fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_written_as_people_write_toml() {
        let text = |value: Value| value.to_string();
        assert_eq!(text(true.into()), "true");
        assert_eq!(text(21000.into()), "21000");
        assert_eq!(text("count".into()), "\"count\"");
        assert_eq!(
            text(["a", "b", "c"].into_iter().collect()),
            r#"["a", "b", "c"]"#
        );
        assert_eq!(text(Value::List(Vec::new())), "[]");
        let special = text("a\"b\\c\nd\u{7f}\u{e9}".into());
        assert_eq!(special, "\"a\\\"b\\\\c\\u000ad\\u007f\u{e9}\"");
        let table = [("eth0", 1), ("eth1.5", 3), ("ETH-2_b", 4), ("", 5)];
        let pairs = table.map(|(key, value)| (key.to_owned(), Value::from(value)));
        assert_eq!(
            text(Value::Table(pairs.into())),
            r#"{ "" = 5, ETH-2_b = 4, eth0 = 1, "eth1.5" = 3 }"#
        );
    }

    #[test]
    fn json_shows_values_without_tags() {
        let value = Value::List(vec![true.into(), 7.into(), "a".into()]);
        let json = serde_json::to_string(&value).expect("JSON");
        assert_eq!(json, r#"[true,7,"a"]"#);
    }

    proptest! {
        #[test]
        fn any_string_reads_back_as_it_was(text: String, key: String) {
            let table = Value::Table([(key.clone(), text.as_str().into())].into());
            let toml = format!("text = {}\ntable = {table}", Value::from(text.as_str()));
            let read: toml::Table = toml::from_str(&toml).expect("TOML");
            prop_assert_eq!(read["text"].as_str(), Some(text.as_str()));
            prop_assert_eq!(read["table"][key.as_str()].as_str(), Some(text.as_str()));
        }
    }
}
