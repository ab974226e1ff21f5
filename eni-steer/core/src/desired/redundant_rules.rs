//! Rules that a person or a script made for an ENI and that eni-steer's own source rules make
//! redundant: the usual advice for hosts with several interfaces is a table for each ENI and a rule
//! such as `from 172.16.20.177 lookup 1001`.
//!
//! eni-steer's rules come first, so the old ones have no effect. eni-steer never deletes them; it
//! shows the commands that do.

use super::{eni::Eni, removal::removal_commands};
use crate::{
    known_tools::probable_owner,
    model::{Host, Route, Rule, RuleAction, covers},
    ownership::Ownership,
};

/// A rule of another program that does what one of eni-steer's source rules does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedundantRule {
    pub(crate) rule: Rule,
    /// Name of the ENI whose source the rule is for.
    pub(crate) eni: String,
    /// Commands that remove the rule, and the routes of its table if no other rule looks it up.
    pub(crate) commands: Vec<String>,
}

/// The redundant rules of a host. A rule is redundant if its source belongs to an ENI with source
/// rules and its table has a default route through that ENI only. Rules of known tools are left
/// out, because those tools would add them again.
pub(super) fn redundant_rules(
    host: &Host,
    ownership: &Ownership,
    enis: &[Eni],
) -> Vec<RedundantRule> {
    // A rule before eni-steer's does not only what eni-steer's does: it takes the packets for
    // containers too.
    let first = super::band::current(host, ownership).unwrap_or(ownership.first);
    let foreign_rules = || host.rules.iter().filter(|rule| !ownership.rule(rule));
    let follows = |rule: &&Rule| rule.priority > first;
    let mut redundant = Vec::new();
    for rule in foreign_rules().filter(follows) {
        let (Some(from), RuleAction::Table(table)) = (rule.from, rule.action) else {
            continue;
        };
        if table.is_kernel_own() || probable_owner(rule).is_some() {
            continue;
        }
        let owner = enis.iter().find(|eni| {
            eni.has_table(rule.family) && eni.owned.iter().any(|net| covers(*net, from))
        });
        let Some(eni) = owner else { continue };
        let routes: Vec<&Route> = host
            .routes
            .iter()
            .filter(|route| route.table == table && route.family() == rule.family)
            .collect();
        let leaves_by_eni = |route: &&Route| {
            route.is_default() && route.hop_by(eni.index).is_some() && route.hops.len() == 1
        };
        if !routes.iter().any(leaves_by_eni) {
            continue;
        }
        let looks_up_table =
            |other: &&Rule| other.family == rule.family && other.action == RuleAction::Table(table);
        let is_only_rule = foreign_rules().filter(looks_up_table).count() == 1;
        let removable_routes = routes.iter().copied().filter(|_| is_only_rule);
        redundant.push(RedundantRule {
            rule: rule.clone(),
            eni: eni.name.clone(),
            commands: removal_commands(host, [rule], removable_routes),
        });
    }
    redundant
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Absence, Desired},
        fake::fake_host,
        policy::Policy,
    };

    fn textbook() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth1 table 1001")
            .rule("pref 32765 from 172.16.20.177 lookup 1001")
    }

    fn redundant_on(host: &Host) -> Vec<RedundantRule> {
        Desired::for_host(host, &Policy::default(), Absence::Error, 1)
            .unwrap_or_else(|e| panic!("{e}"))
            .redundant_rules(host)
    }

    #[test]
    fn a_hand_made_rule_is_named_with_the_commands_that_remove_it() {
        let redundant = redundant_on(&textbook());
        let [RedundantRule { eni, commands, .. }] = redundant.as_slice() else {
            panic!("not one: {redundant:?}");
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
    fn a_table_that_another_rule_looks_up_keeps_its_routes() {
        let host = textbook().rule("pref 32764 from 10.9.0.0/16 lookup 1001");
        let redundant = redundant_on(&host);
        assert_eq!(redundant.len(), 1);
        assert_eq!(redundant[0].commands.len(), 1, "{redundant:?}");
    }

    #[test]
    fn rules_of_known_tools_and_rules_for_another_interface_are_not_redundant() {
        let tool = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth1 table 101")
            .rule("pref 32765 from 172.16.20.177 lookup 101");
        assert_eq!(redundant_on(&tool), []);
        let elsewhere = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth0 table 1001")
            .rule("pref 32765 from 172.16.20.177 lookup 1001");
        assert_eq!(redundant_on(&elsewhere), []);
    }
}
