//! Writes a policy into a configuration file: only the keys that differ change; comments, order and
//! everything else stay as they are.

use std::fmt;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use crate::policy::{
    EniPolicy, Policy, Section, Selector, entries, keys::SELECTORS, literal::Value,
};

/// A key that a file must change to hold a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table it stands in.
    pub section: Section,
    /// Its name.
    pub key: &'static str,
    /// Its value in the files now; `None`: it is not set.
    pub before: Option<Value>,
    /// Its new value; `None`: it must not be set.
    pub after: Option<Value>,
}

impl Change {
    /// The key with its new value, for a sentence.
    pub fn wanted(&self) -> String {
        let heading = self.section.heading();
        let table = match &self.section {
            Section::Eni(select) => format!("{heading} {select}:"),
            _ => heading.to_owned(),
        };
        match &self.after {
            Some(value) => format!("{table} {} = {value}", self.key),
            None => format!("{table} {} is not set", self.key),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wanted())?;
        match &self.before {
            Some(value) => write!(f, "  # was {value}"),
            None => Ok(()),
        }
    }
}

/// Why a policy cannot be written into a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The file is not TOML.
    #[error("the configuration cannot be changed, because it has a mistake: {0}")]
    Unreadable(String),
    /// A table is written in a form that eni-steer does not change.
    #[error("{0} is written as an inline table or list, which eni-steer does not change")]
    Inline(&'static str),
}

/// The keys in which two policies differ, `configured` being what the files say. An ENI that
/// `wanted` does not have is one that is not managed.
pub fn changes(configured: &Policy, wanted: &Policy) -> Vec<Change> {
    let wanted = with_unmanaged(configured, wanted);
    let before = entries(configured);
    let of_new = |section: &Section| match section {
        Section::Eni(select) => entries_of_new(select),
        _ => Vec::new(),
    };
    entries(&wanted)
        .into_iter()
        // No flag changes an access rule.
        .filter(|entry| !matches!(entry.section, Section::Rule(_)))
        .filter_map(|entry| {
            let is_same = |other: &&crate::policy::Entry| {
                other.section == entry.section && other.key == entry.key
            };
            let known = before.iter().find(is_same);
            let fresh = of_new(&entry.section);
            let old = match known {
                Some(known) => known.value.clone(),
                None => {
                    let default = fresh.iter().find(is_same);
                    let selects = SELECTORS.contains(&entry.key);
                    default
                        .and_then(|entry| entry.value.clone())
                        .filter(|_| !selects)
                }
            };
            (old != entry.value).then(|| Change {
                section: entry.section.clone(),
                key: entry.key,
                before: known.and_then(|known| known.value.clone()),
                after: entry.value.clone(),
            })
        })
        .collect()
}

/// The keys of an ENI about which nothing is set but its name.
fn entries_of_new(select: &Selector) -> Vec<crate::policy::Entry> {
    let policy = Policy {
        enis: vec![EniPolicy::new(select.clone())],
        ..Policy::default()
    };
    entries(&policy)
}

/// `wanted`, with the ENIs that only `configured` has as ones that are not managed.
fn with_unmanaged(configured: &Policy, wanted: &Policy) -> Policy {
    let mut wanted = wanted.clone();
    for eni in &configured.enis {
        if !wanted.enis.iter().any(|other| other.select == eni.select) {
            wanted.enis.push(EniPolicy {
                managed: false,
                ..eni.clone()
            });
        }
    }
    wanted
}

/// Whether two policies have the same effect: ENIs that are not managed, and the order of the
/// others, do not matter.
pub fn is_same(one: &Policy, other: &Policy) -> bool {
    let plain = |policy: &Policy| {
        let mut policy = policy.clone();
        let names_some = policy.enis.iter().any(|eni| eni.managed);
        if names_some && policy.discover != crate::policy::Discover::Always {
            policy.enis.retain(|eni| eni.managed);
        }
        policy.enis.sort_by_key(|eni| eni.select.to_string());
        policy
    };
    plain(one) == plain(other)
}

/// The text of a file with these changes.
///
/// # Errors
/// The file is not TOML, or a table that must change has another form.
pub fn changed(text: &str, changes: &[Change]) -> Result<String, SaveError> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| SaveError::Unreadable(error.to_string()))?;
    for change in changes {
        let heading = change.section.heading();
        let name = heading.trim_matches(['[', ']']);
        let table = match &change.section {
            Section::Eni(select) => eni_table(&mut document, select)?,
            _ => document
                .entry(name)
                .or_insert_with(|| Item::Table(Table::new()))
                .as_table_mut()
                .ok_or(SaveError::Inline(heading))?,
        };
        match &change.after {
            None => drop(table.remove(change.key)),
            Some(value) => set(table, change.key, value)?,
        }
    }
    Ok(document.to_string())
}

/// Sets a key and keeps the comment behind it.
fn set(table: &mut Table, key: &str, value: &Value) -> Result<(), SaveError> {
    let mut value: toml_edit::Value = value
        .to_string()
        .parse()
        .map_err(|error: toml_edit::TomlError| SaveError::Unreadable(error.to_string()))?;
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(there) => {
            *value.decor_mut() = there.decor().clone();
            *there = value;
        }
        None => drop(table.insert(key, Item::Value(value))),
    }
    Ok(())
}

/// The table of an ENI, which is added if there is none.
fn eni_table<'a>(
    document: &'a mut DocumentMut,
    select: &Selector,
) -> Result<&'a mut Table, SaveError> {
    let tables = document
        .entry("eni")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .ok_or(SaveError::Inline("[[eni]]"))?;
    let selects = |table: &Table| {
        SELECTORS.iter().any(|key| {
            let text = table.get(key).and_then(Item::as_str);
            text.is_some_and(|text| is_selector(select, key, text))
        })
    };
    let at = tables.iter().position(selects);
    let at = at.unwrap_or_else(|| {
        tables.push(Table::new());
        tables.len() - 1
    });
    tables.get_mut(at).ok_or(SaveError::Inline("[[eni]]"))
}

/// Whether a key of `[[eni]]` with this text selects the same interface.
fn is_selector(select: &Selector, key: &str, text: &str) -> bool {
    match select {
        Selector::Name(name) => key == "name" && name == text,
        Selector::Mac(mac) => key == "mac" && text.parse().is_ok_and(|other| *mac == other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LoadedConfig, SourceFile};
    use super::*;
    use crate::model::{Mode, TableId};

    fn read(text: &str) -> Policy {
        let file = SourceFile {
            path: "config.toml".into(),
            text: text.to_owned(),
        };
        let loaded = LoadedConfig::from_files(&[file]);
        loaded
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
            .policy
    }

    fn saved(text: &str, wanted: &Policy) -> String {
        let changes = changes(&read(text), wanted);
        changed(text, &changes).unwrap_or_else(|error| panic!("{error}"))
    }

    const FILE: &str = "# The ENIs of web-7.\n[policy]\nmode = \"count\" # until Monday\n\n\
                        [[eni]]\nname = \"eth1\"\ntable = 1001\n\n# not ours\n[[eni]]\n\
                        mac = \"02:00:5E:00:53:01\"\nmanaged = false\n";

    #[test]
    fn only_the_keys_that_differ_change_and_comments_stay() {
        let mut wanted = read(FILE);
        assert_eq!(saved(FILE, &wanted), FILE, "nothing to change");
        wanted.mode = Mode::Steer;
        wanted.enis[0].table = Some(TableId(1007));
        wanted.enis[1].managed = true;
        let text = saved(FILE, &wanted);
        let expected = FILE
            .replace("\"count\" # until", "\"steer\" # until")
            .replace("1001", "1007")
            .replace("managed = false", "managed = true");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_policy_that_is_saved_reads_back_as_the_same() {
        let mut wanted = Policy {
            mode: Mode::Drop,
            exempt: vec!["10.0.0.0/8".parse().expect("a prefix")],
            ..Policy::default()
        };
        for name in ["eth0", "eth1"] {
            wanted.enis.push(EniPolicy::new(Selector::from(name)));
        }
        wanted.enis[1].prefixes = vec!["10.1.0.0/28".parse().expect("a prefix")];
        for before in ["", "[limits]\naddresses = 100\n", FILE] {
            let text = saved(before, &wanted);
            assert!(is_same(&read(&text), &wanted), "{before}\n->\n{text}");
        }
    }

    #[test]
    fn an_eni_that_the_policy_leaves_out_is_kept_as_one_that_is_not_managed() {
        let mut wanted = read(FILE);
        wanted.enis = vec![EniPolicy::new(Selector::from("eth5"))];
        let text = saved(FILE, &wanted);
        let again = read(&text);
        let managed: Vec<_> = again
            .enis
            .iter()
            .filter(|eni| eni.managed)
            .map(|eni| eni.select.to_string())
            .collect();
        assert_eq!(managed, ["eth5"], "{text}");
        assert!(
            text.contains("table = 1001") && text.contains("# not ours"),
            "{text}"
        );
        assert!(is_same(&again, &wanted));
    }

    #[test]
    fn a_change_is_shown_as_a_line_of_the_file_with_what_was_there() {
        let mut wanted = read(FILE);
        wanted.mode = Mode::Steer;
        wanted.enis.push(EniPolicy::new(Selector::from("eth5")));
        let lines: Vec<String> = changes(&read(FILE), &wanted)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "[policy] mode = \"steer\"  # was \"count\"",
                "[[eni]] eth5: name = \"eth5\"",
            ]
        );
    }

    #[test]
    fn a_form_that_eni_steer_does_not_change_is_named() {
        let inline = "eni = [{ name = 'eth1' }]\n";
        let mut wanted = read(inline);
        wanted.enis[0].table = Some(TableId(7));
        let changes = changes(&read(inline), &wanted);
        assert_eq!(changed(inline, &changes), Err(SaveError::Inline("[[eni]]")));
        assert!(matches!(changed("[", &[]), Err(SaveError::Unreadable(_))));
    }
}
