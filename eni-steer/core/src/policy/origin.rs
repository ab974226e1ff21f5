//! Where each value of a policy comes from, and the list of all keys: what `config show`
//! prints, and what the example and the reference page are checked against.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    AccessAction, AccessRule, Discover, EniPolicy, GatewayChoice, Policy, PrimaryPolicy, Selector,
    written,
};
use crate::model::Family;

/// A table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `[policy]`
    Policy,
    /// `[limits]`
    Limits,
    /// One `[[eni]]`.
    Eni(Selector),
    /// One `[[rule]]`, by its place among all of them.
    Rule(usize),
    /// `[balance]`
    Balance,
}

impl Section {
    /// Its heading.
    pub fn heading(&self) -> &'static str {
        match self {
            Self::Policy => "[policy]",
            Self::Limits => "[limits]",
            Self::Eni(_) => "[[eni]]",
            Self::Rule(_) => "[[rule]]",
            Self::Balance => "[balance]",
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// It was in force when eni-steer was applied last.
    AppliedLast,
    /// A file, with line and column.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
    },
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::AppliedLast => f.write_str("applied last"),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Origins of values; what is not in it is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<(Section, &'static str), Origin>);

impl Origins {
    /// Where a value comes from.
    pub fn of(&self, section: &Section, key: &'static str) -> Origin {
        self.0
            .get(&(section.clone(), key))
            .cloned()
            .unwrap_or_default()
    }

    /// Says where a value comes from.
    pub fn say(&mut self, section: Section, key: &'static str, origin: Origin) {
        self.0.insert((section, key), origin);
    }

    /// Says that whatever differs between two policies comes from here.
    pub fn say_changes(&mut self, before: &Policy, after: &Policy, origin: &Origin) {
        let before: BTreeMap<_, _> = entries(before)
            .into_iter()
            .map(|entry| ((entry.section, entry.key), entry.value))
            .collect();
        for entry in entries(after) {
            let at = (entry.section, entry.key);
            if before.get(&at) != Some(&entry.value) {
                self.0.insert(at, origin.clone());
            }
        }
    }
}

/// One key of the configuration, with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its table.
    pub section: Section,
    /// Its name.
    pub key: &'static str,
    /// Its value; `None`: it is left out.
    pub value: Option<Value>,
}

/// Every key of a policy, in the order of the example. Tables that repeat or can be absent
/// come as often as they are there.
pub fn entries(policy: &Policy) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut add = |section: Section, keys: Vec<(&'static str, Option<Value>)>| {
        entries.extend(keys.into_iter().map(|(key, value)| Entry {
            section: section.clone(),
            key,
            value,
        }));
    };
    add(Section::Policy, policy_keys(policy));
    add(Section::Limits, limit_keys(policy));
    for eni in &policy.enis {
        add(Section::Eni(eni.select.clone()), eni_keys(eni));
    }
    for (n, rule) in policy.access.iter().enumerate() {
        add(Section::Rule(n), rule_keys(rule));
    }
    add(Section::Balance, balance_keys(policy));
    entries
}

fn texts<T>(items: &[T], text: impl Fn(&T) -> String) -> Option<Value> {
    Some(items.iter().map(text).collect())
}

fn policy_keys(policy: &Policy) -> Vec<(&'static str, Option<Value>)> {
    let Policy {
        ownership,
        settings,
        ..
    } = policy;
    let discover = match policy.discover {
        Discover::IfNoneNamed => "if-none-named",
        Discover::Always => "always",
    };
    let primary = match policy.primary {
        PrimaryPolicy::Observe => "observe",
        PrimaryPolicy::Full => "full",
    };
    let attach = policy
        .attach
        .map_or_else(|| "auto".to_owned(), |kind| kind.to_string());
    vec![
        ("mode", Some(json!(written::mode_text(policy.mode)))),
        ("discover", Some(json!(discover))),
        ("primary", Some(json!(primary))),
        ("rules", Some(json!(policy.rules))),
        ("programs", Some(json!(policy.programs))),
        ("sysctls", Some(json!(policy.sysctls))),
        ("attach", Some(json!(attach))),
        ("table-base", Some(json!(policy.table_base))),
        (
            "priorities",
            Some(json!(format!("{}-{}", ownership.first, ownership.last))),
        ),
        ("protocol", Some(json!(ownership.protocol))),
        ("group", Some(json!(ownership.group))),
        (
            "exempt",
            texts(&policy.exempt, |net| written::prefix_text(*net)),
        ),
        (
            "exempt-mark",
            settings
                .exempt_mark
                .map(|pair| json!(written::mark_text(pair))),
        ),
        ("source-length4", Some(json!(settings.source_length4))),
        ("source-length6", Some(json!(settings.source_length6))),
        ("events-per-second", Some(json!(settings.events_per_second))),
        (
            "restore-default-rules",
            Some(json!(policy.restore_default_rules)),
        ),
    ]
}

fn limit_keys(policy: &Policy) -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("addresses", Some(json!(policy.sizes.addresses))),
        (
            "sources",
            Some(json!(written::size_text(policy.sizes.sources_bytes))),
        ),
    ]
}

fn eni_keys(eni: &EniPolicy) -> Vec<(&'static str, Option<Value>)> {
    let (name, mac) = match &eni.select {
        Selector::Name(name) => (Some(json!(name)), None),
        Selector::Mac(mac) => (None, Some(json!(mac))),
    };
    let gateway = |family| {
        let word = match eni.gateways.iter().find(|choice| choice.family() == family) {
            None => "auto".to_owned(),
            Some(GatewayChoice::First) => "first".to_owned(),
            Some(GatewayChoice::Last) => "last".to_owned(),
            Some(GatewayChoice::Address(address)) => address.to_string(),
        };
        Some(json!(word))
    };
    vec![
        ("name", name),
        ("mac", mac),
        ("managed", Some(json!(eni.managed))),
        ("table", eni.table.map(|table| json!(table))),
        ("gateway", gateway(Family::V4)),
        ("gateway6", gateway(Family::V6)),
        ("addresses", texts(&eni.addresses, ToString::to_string)),
        (
            "prefixes",
            texts(&eni.prefixes, |net| written::prefix_text(*net)),
        ),
        ("mode", eni.mode.map(|mode| json!(written::mode_text(mode)))),
        (
            "default-metric",
            eni.default_metric.map(|metric| json!(metric)),
        ),
    ]
}

fn rule_keys(rule: &AccessRule) -> Vec<(&'static str, Option<Value>)> {
    let (eni, action) = match &rule.then {
        AccessAction::Eni(select) => (Some(json!(select.to_string())), None),
        AccessAction::Prohibit => (None, Some(json!("prohibit"))),
        AccessAction::Unreachable => (None, Some(json!("unreachable"))),
        AccessAction::Blackhole => (None, Some(json!("blackhole"))),
    };
    let net = |net: Option<ipnet::IpNet>| net.map(|net| json!(written::prefix_text(net)));
    let ports = |range: Option<_>| range.map(|range| json!(written::ports_text(range)));
    let protocol = rule.ip_protocol.map(written::ip_protocol_text);
    vec![
        ("from", net(rule.from)),
        ("to", net(rule.to)),
        ("proto", protocol.map(|text| json!(text))),
        ("sport", ports(rule.sport)),
        ("dport", ports(rule.dport)),
        ("uid", rule.uids.map(|uids| json!(written::uids_text(uids)))),
        (
            "mark",
            rule.mark.map(|pair| json!(written::mark_text(pair))),
        ),
        ("iif", rule.iif.as_ref().map(|iif| json!(iif))),
        ("eni", eni),
        ("action", action),
    ]
}

fn balance_keys(policy: &Policy) -> Vec<(&'static str, Option<Value>)> {
    let balance = policy.balance.as_ref();
    let weights = balance.map(|balance| {
        let pairs = balance.weights.iter();
        pairs
            .map(|(select, weight)| (select.to_string(), json!(weight)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    });
    let table = balance.and_then(|balance| balance.table);
    vec![
        ("weights", weights),
        ("table", table.map(|table| json!(table))),
    ]
}
