//! The documents that the registry of keys writes: the tables of docs/configuration.md and the
//! whole of contrib/config.toml. The tests compare them with the files of the repository.

use std::{fmt::Write as _, fs, path::PathBuf};

use super::{
    AccessRule, EniPolicy, Policy, Selector, keys,
    registry::{Accepts, Example, Key},
};

/// A table of the configuration, in the documents.
struct Chapter<T: 'static> {
    heading: &'static str,
    keys: &'static [Key<T>],
    /// What the keys belong to, with nothing set; `None`: the keys have no default.
    unset: Option<T>,
    /// Whether contrib/config.toml has it as a comment, because the default policy has no such
    /// table.
    optional: bool,
    /// What contrib/config.toml says before it.
    about: &'static str,
}

fn policy() -> Chapter<Policy> {
    Chapter {
        heading: "[policy]",
        keys: keys::POLICY,
        unset: Some(Policy::default()),
        optional: false,
        about: "",
    }
}

fn limits() -> Chapter<Policy> {
    Chapter {
        heading: "[limits]",
        keys: keys::LIMITS,
        unset: Some(Policy::default()),
        optional: false,
        about: "Sizes of the programs' maps. A change takes effect after `eni-steer remove` and \
                `eni-steer apply`.",
    }
}

fn eni() -> Chapter<EniPolicy> {
    Chapter {
        heading: "[[eni]]",
        keys: keys::ENI,
        unset: Some(EniPolicy::new(Selector::Name(String::new()))),
        optional: true,
        about: "One [[eni]] for each interface that needs settings of its own. If an [[eni]] \
                names an interface to manage, eni-steer manages only the interfaces that are \
                named, unless discover = \"always\".",
    }
}

fn rule() -> Chapter<AccessRule> {
    Chapter {
        heading: "[[rule]]",
        keys: keys::RULE,
        unset: None,
        optional: true,
        about: "One [[rule]] for each kind of packet that eni-steer shall refuse or send out \
                through a certain ENI. A packet must match every field you set; fields you omit \
                match anything. A rule applies only to packets that would leave through an ENI.",
    }
}

fn balance() -> Chapter<Policy> {
    Chapter {
        heading: "[balance]",
        keys: keys::BALANCE,
        unset: Some(Policy::default()),
        optional: true,
        about: "Spreads new connections of this host over ENIs, if their sockets name no source \
                address. Needs primary = \"full\" in [policy].",
    }
}

/// The top of contrib/config.toml.
const HEADER: &str = "\
# /etc/eni-steer/config.toml - every key of the configuration.
#
# This file changes nothing as it stands: each value is the default. A line that starts with
# '#' and a space is a comment; a line that starts with '#' alone is an example.
# docs/configuration.md explains more.
#
# eni-steer reads the files /etc/eni-steer/conf.d/*.toml after this one, in the order of their
# names. A later file overrides an earlier one key by key. Flags override all files.
#
#   eni-steer config check     checks the files
#   eni-steer config show      shows the policy that results, and where each value comes from
";

/// How wide a comment of contrib/config.toml is.
const WIDTH: usize = 92;

/// The whole of contrib/config.toml.
fn example() -> String {
    let mut text = HEADER.to_owned();
    policy().write_example(&mut text);
    limits().write_example(&mut text);
    eni().write_example(&mut text);
    rule().write_example(&mut text);
    balance().write_example(&mut text);
    text
}

/// The page with its tables renewed. A table stands between a line `<!-- keys of HEADING -->`
/// and the next line `<!-- end of keys -->`.
fn renewed(page: &str) -> String {
    let mut text = page.to_owned();
    renew(&mut text, policy());
    renew(&mut text, limits());
    renew(&mut text, eni());
    renew(&mut text, rule());
    renew(&mut text, balance());
    text
}

fn renew<T>(page: &mut String, chapter: Chapter<T>) {
    let start = format!("<!-- keys of {} -->\n", chapter.heading);
    let missing = |line: &str| format!("docs/configuration.md has no line {line}");
    let from = page
        .find(&start)
        .unwrap_or_else(|| panic!("{}", missing(&start)));
    let from = from + start.len();
    let end = "<!-- end of keys -->";
    let to = page[from..]
        .find(end)
        .unwrap_or_else(|| panic!("{}", missing(end)));
    page.replace_range(from..from + to, &chapter.table());
}

impl<T> Chapter<T> {
    /// The default of a key, as TOML.
    fn default(&self, key: &Key<T>) -> Option<String> {
        if keys::SELECTORS.contains(&key.name) {
            return None;
        }
        let value = self.unset.as_ref().and_then(key.get)?;
        Some(value.to_string())
    }

    /// The table of the reference page. A column in which every cell would be empty is left out.
    fn table(&self) -> String {
        let flags = self.keys.iter().any(|key| key.flag.is_some());
        let row = |key: &str, accepts: &str, default: &str, flag: &str, about: &str| {
            let mut cells = vec![key, accepts];
            cells.extend(self.unset.as_ref().map(|_| default));
            cells.extend(flags.then_some(flag));
            cells.push(about);
            format!("| {} |\n", cells.join(" | "))
        };
        let mut table = row("key", "value", "default", "flag", "meaning");
        table += &row("---", "---", "---", "---", "---");
        for key in self.keys {
            let default = match self.default(key) {
                Some(value) => format!("`{value}`"),
                None if keys::SELECTORS.contains(&key.name) => "-".to_owned(),
                None => "not set".to_owned(),
            };
            let flag = key.flag.as_ref().map(|flag| format!("`--{}`", flag.name));
            table += &row(
                &format!("`{}`", key.name),
                &key.accepts.describe(),
                &default,
                flag.as_deref().unwrap_or_default(),
                key.about,
            );
        }
        table
    }

    fn write_example(&self, text: &mut String) {
        text.push('\n');
        comment(text, self.about);
        self.write_keys(text, |key| match key.example {
            Example::Default => Some(self.default(key)),
            Example::Value(value) => Some(Some(value.to_owned())),
            Example::Apart(_) => None,
        });
        if self
            .keys
            .iter()
            .any(|key| matches!(key.example, Example::Apart(_)))
        {
            text.push('\n');
            self.write_keys(text, |key| match key.example {
                Example::Apart(value) => Some(Some(value.to_owned())),
                Example::Default | Example::Value(_) => None,
            });
        }
    }

    /// One table with the keys for which `line` has a value.
    fn write_keys(&self, text: &mut String, line: impl Fn(&Key<T>) -> Option<Option<String>>) {
        let mark = if self.optional { "#" } else { "" };
        writeln!(text, "{mark}{}", self.heading).expect("a string accepts everything");
        for key in self.keys {
            let Some(value) = line(key) else { continue };
            let value = value
                .unwrap_or_else(|| panic!("{} has neither a default nor an example", key.name));
            text.push('\n');
            comment(text, key.about);
            if !matches!(key.accepts, Accepts::Switch) {
                comment(text, &format!("Value: {}.", key.accepts.describe()));
            }
            // A value that is not the default stands in a comment.
            let mark = if self.default(key).as_ref() == Some(&value) {
                mark
            } else {
                "#"
            };
            writeln!(text, "{mark}{} = {value}", key.name).expect("a string accepts everything");
        }
    }
}

/// Writes text as a comment. What Markdown marks with backquotes stands in quotes if it has
/// several words, and without any if it is one word.
fn comment(text: &mut String, about: &str) {
    let mut plain = String::new();
    for (n, part) in about.split('`').enumerate() {
        let quoted = n % 2 == 1 && part.contains(' ') && !part.contains(['"', '{']);
        plain += &if quoted {
            format!("'{part}'")
        } else {
            part.to_owned()
        };
    }
    let mut line = String::new();
    for word in plain.split_whitespace() {
        if line.len() + word.len() + 3 > WIDTH {
            writeln!(text, "#{line}").expect("a string accepts everything");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    if !line.is_empty() {
        writeln!(text, "#{line}").expect("a string accepts everything");
    }
}

/// The repository: the directory above this package whose Cargo.toml has the workspace.
fn repository() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let is_workspace = |directory: &&std::path::Path| {
        let manifest = fs::read_to_string(directory.join("Cargo.toml"));
        manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
    };
    let found = package.ancestors().find(is_workspace);
    found
        .unwrap_or_else(|| panic!("no workspace above {}", package.display()))
        .to_owned()
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a file of the repository with what it should hold, or writes it.
fn expect(path: &str, wanted: &str) {
    let text = read(path);
    if text == wanted {
        return;
    }
    if std::env::var_os("ENI_STEER_UPDATE").is_some_and(|value| value == "1") {
        fs::write(repository().join(path), wanted)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let lines = |text: &str| -> Vec<String> {
        let end = std::iter::once("(end of the file)");
        text.lines().chain(end).map(str::to_owned).collect()
    };
    let (is, should) = (lines(&text), lines(wanted));
    let n = is
        .iter()
        .zip(&should)
        .take_while(|(is, should)| is == should)
        .count();
    panic!(
        "{path} differs from the registry of keys (policy/keys.rs); ENI_STEER_UPDATE=1 in the \
         environment of this test writes it. Line {}:\n  is:        {}\n  should be: {}",
        n + 1,
        is.get(n).map_or("", String::as_str),
        should.get(n).map_or("", String::as_str),
    );
}

mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        model::Mac,
        policy::{
            Section,
            config::{LoadedConfig, SourceFile},
            entries,
        },
    };

    fn load(text: String) -> LoadedConfig {
        let path = PathBuf::from("contrib/config.toml");
        let file = SourceFile { path, text };
        LoadedConfig::from_files(&[file]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The example with its examples in force: a line that starts with '#' alone is TOML.
    fn with_examples(text: &str) -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(toml) if !toml.is_empty() && !toml.starts_with(' ') => toml.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(line).map(|line| line + "\n").collect()
    }

    #[test]
    fn the_reference_page_has_the_tables_of_the_registry() {
        expect(
            "docs/configuration.md",
            &renewed(&read("docs/configuration.md")),
        );
    }

    #[test]
    fn the_example_is_what_the_registry_writes() {
        expect("contrib/config.toml", &example());
    }

    #[test]
    fn the_example_as_it_stands_sets_every_default_and_nothing_else() {
        let loaded = load(example());
        assert_eq!(loaded.policy, Policy::default());
        for entry in entries(&Policy::default()) {
            let shown = matches!(entry.section, Section::Policy | Section::Limits);
            if shown && entry.value.is_some() {
                let origin = loaded.origins.of(&entry.section, entry.key).to_string();
                assert!(
                    origin.starts_with("contrib/config.toml:"),
                    "{}: {origin}",
                    entry.key
                );
            }
        }
    }

    #[test]
    fn the_examples_in_it_are_right_and_show_every_key() {
        let example = with_examples(&example());
        let document: toml::Table = toml::from_str(&example).unwrap_or_else(|e| panic!("{e}"));
        let mut shown = BTreeSet::new();
        for (name, value) in &document {
            let tables = match value {
                toml::Value::Array(tables) => tables.clone(),
                table => vec![table.clone()],
            };
            for key in tables.iter().filter_map(|table| table.as_table()).flatten() {
                shown.insert((name.clone(), key.0.clone()));
            }
        }
        let mut keys = BTreeSet::new();
        let mut all = |table: &str, names: Vec<&str>| {
            keys.extend(
                names
                    .iter()
                    .map(|name| (table.to_owned(), (*name).to_owned())),
            );
        };
        all("policy", keys::POLICY.iter().map(|key| key.name).collect());
        all("limits", keys::LIMITS.iter().map(|key| key.name).collect());
        all("eni", keys::ENI.iter().map(|key| key.name).collect());
        all("rule", keys::RULE.iter().map(|key| key.name).collect());
        all(
            "balance",
            keys::BALANCE.iter().map(|key| key.name).collect(),
        );
        assert_eq!(shown, keys);
        // A balance needs what the default is not.
        let policy = load(example.replace("primary = \"auto\"", "primary = \"full\"")).policy;
        let enis: Vec<String> = policy
            .enis
            .iter()
            .map(|eni| eni.select.to_string())
            .collect();
        assert_eq!(enis, ["eth1", &Mac([2, 0, 0x5e, 0, 0x53, 2]).to_string()]);
        assert_eq!(policy.access.len(), 2);
    }

    #[test]
    fn the_readme_links_to_the_reference_page_and_the_example() {
        let readme = read("README.md");
        for path in ["docs/configuration.md", "contrib/config.toml"] {
            assert!(readme.contains(&format!("({path})")), "no link to {path}");
        }
    }
}
