//! The output of `config show`: the effective configuration as TOML that eni-steer can read back,
//! and where each value comes from.

use std::io::{self, Write};

use serde::Serialize;

use eni_steer_core::{
    policy::{Origin, Origins, Policy, Section, Value, entries},
    report::Report,
};

/// The effective configuration.
#[derive(Debug, Serialize)]
pub struct ConfigReport {
    /// Where the policy as a whole comes from.
    pub source: String,
    /// Its values.
    pub values: Vec<ConfigValue>,
}

impl Report for ConfigReport {
    const NAME: &'static str = "config-show";

    fn verdict(&self) -> &'static str {
        "ok"
    }
}

/// The configuration has no mistake.
#[derive(Debug, Serialize)]
pub struct CheckedReport {
    /// The files that were read.
    pub files: Vec<String>,
}

impl Report for CheckedReport {
    const NAME: &'static str = "config-check";

    fn verdict(&self) -> &'static str {
        "ok"
    }
}

/// The value of one key.
#[derive(Debug, Serialize)]
pub struct ConfigValue {
    /// The heading of its table.
    pub table: &'static str,
    #[serde(skip)]
    section: Section,
    /// Its position among the tables with this heading, from 0.
    pub number: usize,
    /// Its name.
    pub key: &'static str,
    /// Its value; `None`: it is not set.
    pub value: Option<Value>,
    /// Where it comes from.
    pub from: Origin,
}

impl ConfigReport {
    /// Lists the values of a policy with their origins.
    pub fn new(source: String, policy: &Policy, origins: &Origins) -> Self {
        let mut values: Vec<ConfigValue> = Vec::new();
        for entry in entries(policy) {
            let table = entry.section.heading();
            let number = match values.iter().rfind(|other| other.table == table) {
                None => 0,
                Some(other) if other.section == entry.section => other.number,
                Some(other) => other.number + 1,
            };
            values.push(ConfigValue {
                table,
                number,
                key: entry.key,
                value: entry.value,
                from: origins.of(&entry.section, entry.key),
                section: entry.section,
            });
        }
        Self { source, values }
    }
}

/// Writes the configuration as TOML. A key that is not set is a comment.
pub fn config(report: &ConfigReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# {}", report.source)?;
    let lines: Vec<(String, &Origin)> = report
        .values
        .iter()
        .map(|value| (assignment(value), &value.from))
        .collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max();
    let width = width.unwrap_or(0).min(48);
    let mut section = None;
    for (value, (line, from)) in report.values.iter().zip(&lines) {
        if section != Some(&value.section) {
            section = Some(&value.section);
            // A [balance] without keys means the same as none.
            writeln!(out, "\n{}", value.table)?;
        }
        if value.value.is_some() {
            writeln!(out, "{line:width$}  # {from}")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn assignment(value: &ConfigValue) -> String {
    match &value.value {
        Some(literal) => format!("{} = {literal}", value.key),
        None => format!("# {} is not set", value.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eni_steer_core::policy::config::{LoadedConfig, SourceFile};

    fn read(text: &str) -> LoadedConfig {
        let file = SourceFile {
            path: "config.toml".into(),
            text: text.to_owned(),
        };
        LoadedConfig::from_files(&[file]).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn shown(configured: &LoadedConfig) -> String {
        let report =
            ConfigReport::new("source".to_owned(), &configured.policy, &configured.origins);
        let mut out = Vec::new();
        config(&report, &mut out).expect("a vector takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_policy() {
        let configured = read(
            "[policy]\nprimary = 'full'\nexempt = ['10.0.0.0/8', 'fd00::1']\nexempt-mark = 7\n\
             [limits]\nsources = 1000\n[[eni]]\nname = 'eth1'\ntable = 1001\ngateway = 'last'\n\
             default-metric = 200\nmode = 'drop'\n[[eni]]\nmac = '02:00:5e:00:53:01'\n\
             prefixes = ['10.1.0.0/28']\n[[rule]]\nuid = '5-9'\nproto = 6\nmark = '1/3'\n\
             action = 'unreachable'\n[[rule]]\nto = '10.0.0.1'\niif = 'lo'\neni = 'eth1'\n\
             [balance]\nweights = { eth1 = 2, '02:00:5e:00:53:01' = 1 }",
        );
        let text = shown(&configured);
        assert_eq!(read(&text).policy, configured.policy, "{text}");
        let default = shown(&LoadedConfig::default());
        assert_eq!(read(&default).policy, Policy::default(), "{default}");
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let text = shown(&read("[[eni]]\nname = 'eth1'\ntable = 1001"));
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start));
            line.unwrap_or_else(|| panic!("{start} is not shown:\n{text}"))
        };
        assert!(line("table = 1001").ends_with("# config.toml:3"));
        assert!(line("name = \"eth1\"").ends_with("# config.toml:2"));
        assert!(line("mode = \"count\"").ends_with("# default"));
        line("# weights is not set");
    }
}
