//! All keys of a policy with their values.

use super::{Policy, Section, keys, literal::Value, registry::Key};

/// One key with its value in a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The table it stands in.
    pub section: Section,
    /// Its name.
    pub key: &'static str,
    /// Its value; `None`: it is not set.
    pub value: Option<Value>,
}

/// Every key of a policy, in the order of the reference page, each with its value. The keys of
/// `[[eni]]` and `[[rule]]` come once for each ENI and each rule.
pub fn entries(policy: &Policy) -> Vec<Entry> {
    let mut entries = Vec::new();
    add(&mut entries, Section::Policy, keys::POLICY, policy);
    add(&mut entries, Section::Limits, keys::LIMITS, policy);
    for eni in &policy.enis {
        let section = Section::Eni(eni.select.clone());
        add(&mut entries, section, keys::ENI, eni);
    }
    for (n, rule) in policy.access.iter().enumerate() {
        add(&mut entries, Section::Rule(n), keys::RULE, rule);
    }
    add(&mut entries, Section::Balance, keys::BALANCE, policy);
    entries
}

fn add<T>(entries: &mut Vec<Entry>, section: Section, keys: &[Key<T>], of: &T) {
    entries.extend(keys.iter().map(|key| Entry {
        section: section.clone(),
        key: key.name,
        value: (key.get)(of),
    }));
}
