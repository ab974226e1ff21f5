//! The textbook's cure, made by hand: a rule for an ENI's address that leads to a table of
//! somebody else, which leads out by the same ENI. Ours comes first and does more; theirs is
//! named, with the commands that remove it, and never touched.

use super::Desired;
use crate::{
    known_tools::probable_owner,
    model::{Host, Route, Rule, RuleAction, covers},
};

/// A rule somebody made by hand for what a source rule of ours does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedundantRule {
    /// The rule.
    pub rule: Rule,
    /// The ENI it serves.
    pub eni: String,
    /// What removes it, and the routes only it leads to.
    pub commands: Vec<String>,
}

impl Desired {
    /// Hand-made rules that ours make needless.
    pub fn redundant_rules(&self, host: &Host) -> Vec<RedundantRule> {
        let theirs = || host.rules.iter().filter(|rule| !self.ownership.rule(rule));
        let mut found = Vec::new();
        for rule in theirs() {
            let (Some(from), RuleAction::Table(table)) = (rule.from, rule.action) else {
                continue;
            };
            // What a known tool made is that tool's affair.
            if table.is_kernel_own() || probable_owner(rule).is_some() {
                continue;
            }
            let owner = self
                .enis
                .iter()
                .find(|eni| eni.has_source_rules && eni.owned.iter().any(|net| covers(*net, from)));
            let Some(eni) = owner else { continue };
            let routes: Vec<&Route> = host
                .routes
                .iter()
                .filter(|route| route.table == table && route.family() == rule.family)
                .collect();
            let same_way = |route: &&Route| {
                route.is_default() && route.hop_by(eni.index).is_some() && route.hops.len() == 1
            };
            if !routes.iter().any(same_way) {
                continue;
            }
            let leads_there = |other: &&Rule| {
                other.family == rule.family && other.action == RuleAction::Table(table)
            };
            let last = theirs().filter(leads_there).count() == 1;
            found.push(RedundantRule {
                rule: rule.clone(),
                eni: eni.name.clone(),
                commands: removal(host, [rule], routes.iter().copied().filter(|_| last)),
            });
        }
        found
    }
}

/// The commands that remove rules and routes of somebody else: rules first, so that none
/// leads to an empty table.
pub(super) fn removal<'a>(
    host: &Host,
    rules: impl IntoIterator<Item = &'a Rule>,
    routes: impl IntoIterator<Item = &'a Route>,
) -> Vec<String> {
    let rule = |rule: &Rule| format!("ip {} rule del {rule}", rule.family);
    let route = |route: &Route| {
        let text = route.describe(host);
        format!("ip {} route del {text}", route.family())
    };
    let rules = rules.into_iter().map(rule);
    rules.chain(routes.into_iter().map(route)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Absence;
    use crate::{fake::fake_host, policy::Policy};

    fn textbook() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth1 table 1001")
            .rule("pref 32765 from 172.16.20.177 lookup 1001")
    }

    fn redundant_rules(seen: &Host) -> Vec<RedundantRule> {
        let desired = Desired::for_host(seen, &Policy::default(), Absence::Error, 1);
        desired
            .unwrap_or_else(|e| panic!("{e}"))
            .redundant_rules(seen)
    }

    #[test]
    fn the_textbooks_hand_made_rule_is_named_with_the_commands_that_remove_it() {
        let found = redundant_rules(&textbook());
        let [RedundantRule { eni, commands, .. }] = found.as_slice() else {
            panic!("one: {found:?}");
        };
        assert_eq!(eni, "eth1");
        assert_eq!(
            commands,
            &[
                "ip -4 rule del pref 32765 from 172.16.20.177 lookup 1001 protocol 3",
                "ip -4 route del default via 172.16.20.253 dev eth1 table 1001 proto 3",
            ]
        );
    }

    #[test]
    fn a_table_that_another_rule_leads_to_keeps_its_routes() {
        let seen = textbook().rule("pref 32764 from 10.9.0.0/16 lookup 1001");
        let found = redundant_rules(&seen);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].commands.len(), 1, "{found:?}");
    }

    #[test]
    fn rules_of_known_tools_and_rules_that_lead_elsewhere_are_not_called_needless() {
        let tool = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth1 table 101")
            .rule("pref 32765 from 172.16.20.177 lookup 101");
        assert_eq!(redundant_rules(&tool), []);
        let elsewhere = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth0 table 1001")
            .rule("pref 32765 from 172.16.20.177 lookup 1001");
        assert_eq!(redundant_rules(&elsewhere), []);
    }
}
