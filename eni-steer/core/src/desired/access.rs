//! Access rules. Rules that refuse packets come before the source rules; rules that lead to an ENI
//! come after them.
//!
//! A rule that leads to an ENI therefore never takes a packet whose source another ENI owns.
//! Otherwise the packet would leave by one ENI and its reply would arrive on another, which the
//! source rules prevent. Such a rule decides about packets without an owned source: connections
//! whose source the kernel chooses together with the route, and forwarded traffic.

use super::{context::Context, eni::Eni, error::PolicyError, selector::managed_eni};
use crate::{
    model::{Family, Priority, Rule, RuleAction, TableId},
    policy::{AccessAction, AccessRule},
};

/// The access rules of the families that this kernel has.
pub(super) fn rules(
    cx: &Context<'_>,
    enis: &[Eni],
    unserved: &mut Vec<PolicyError>,
) -> Result<Vec<Rule>, PolicyError> {
    let numbers = &cx.policy.ownership;
    // How many rules of each kind there are so far.
    let (mut refusing, mut leading) = (0, 0);
    let mut rules = Vec::new();
    for (n, access) in cx.policy.access.iter().enumerate() {
        let next = |count: &mut u32| {
            *count += 1;
            *count - 1
        };
        let mut refuse = |action| {
            let priority = numbers.refusal_priority(next(&mut refusing));
            Some((priority, Some(action), None))
        };
        let decision = match &access.then {
            AccessAction::Prohibit => refuse(RuleAction::Prohibit),
            AccessAction::Unreachable => refuse(RuleAction::Unreachable),
            AccessAction::Blackhole => refuse(RuleAction::Blackhole),
            AccessAction::Eni(select) => {
                let priority = numbers.steer_rule_priority(next(&mut leading));
                match managed_eni(cx, enis, select) {
                    Some(eni) => Some((priority, None, Some(eni))),
                    // The rule waits for its ENI, and keeps its priority.
                    None => {
                        let absent = PolicyError::NotAnEni {
                            what: format!("rule {}", n + 1),
                            eni: select.to_string(),
                        };
                        cx.leave_out(absent, unserved)?;
                        None
                    }
                }
            }
        };
        let Some((priority, action, eni)) = decision else {
            continue;
        };
        for family in access.families() {
            let has_route = |eni: &&Eni| eni.has(family) && eni.gateway(family).is_some();
            let to_eni = eni
                .filter(has_route)
                .map(|eni| RuleAction::Table(table_of(eni, family)));
            if let Some(action) = action.or(to_eni)
                && cx.host.rules_of(family).next().is_some()
            {
                rules.push(rule(cx, access, family, priority, action));
            }
        }
    }
    Ok(rules)
}

/// One access rule as a rule of one family.
fn rule(
    cx: &Context<'_>,
    access: &AccessRule,
    family: Family,
    priority: Priority,
    action: RuleAction,
) -> Rule {
    Rule {
        from: access.from,
        to: access.to,
        ip_protocol: access.ip_protocol,
        sport: access.sport,
        dport: access.dport,
        uids: access.uids,
        mark: access.mark,
        iif: access.iif.clone(),
        ..Rule::new(family, priority, cx.policy.ownership.protocol, action)
    }
}

/// The table whose routes leave through an ENI. An ENI that has none of its own is the primary,
/// whose routes are in the main table.
fn table_of(eni: &Eni, family: Family) -> TableId {
    match eni.has_table(family) {
        true => eni.table,
        false => TableId::MAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Absence;
    use crate::model::Host;
    use crate::policy::Policy;
    use crate::{
        desired::Desired,
        fake::fake_host,
        policy::{Selector, config::LoadedConfig, config::SourceFile},
    };

    fn two_enis() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24", "2001:db8::176/64"])
            .eni(3, "eth1", &["172.16.20.177/24", "2001:db8::177/64"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default6 via 2001:db8::1 dev eth0")
    }

    fn policy(text: &str) -> Policy {
        let file = SourceFile {
            path: "config.toml".into(),
            text: text.to_owned(),
        };
        LoadedConfig::from_files(&[file])
            .unwrap_or_else(|error| panic!("{error}"))
            .policy
    }

    fn lines(text: &str) -> Vec<String> {
        let text = format!("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n{text}");
        let desired = Desired::for_host(&two_enis(), &policy(&text), Absence::Error, 1)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut rules: Vec<&Rule> = desired.rules.iter().collect();
        rules.sort_by_key(|rule| (rule.family, rule.priority));
        let text = |rule: &&Rule| format!("{} {rule}", rule.family);
        rules.iter().map(text).collect()
    }

    fn at(lines: &[String], needle: &str) -> usize {
        let found = lines.iter().position(|line| line.contains(needle));
        found.unwrap_or_else(|| panic!("no {needle} in {lines:#?}"))
    }

    #[test]
    fn rules_that_refuse_come_before_the_source_rules_in_the_order_of_the_file() {
        let lines = lines(
            "[[rule]]\nuid = '1000-1999'\nto = '10.0.0.0/8'\naction = 'prohibit'\n\
             [[rule]]\nproto = 'tcp'\ndport = 25\naction = 'unreachable'\n\
             [[rule]]\nmark = '0x7/0xff'\niif = 'docker0'\naction = 'blackhole'",
        );
        let first = "-4 pref 20010 from all to 10.0.0.0/8 uidrange 1000-1999 prohibit";
        let second = "-4 pref 20011 from all ipproto tcp dport 25 unreachable";
        let third = "-4 pref 20012 from all fwmark 0x7/0xff iif docker0 blackhole";
        assert!(at(&lines, "lookup main suppress_prefixlength") < at(&lines, first));
        assert!(at(&lines, first) < at(&lines, second));
        assert!(at(&lines, second) < at(&lines, third));
        assert!(at(&lines, third) < at(&lines, "from 172.16.20.177 lookup"));
        // A rule without addresses is for both families, a rule with one for that family only.
        at(
            &lines,
            "-6 pref 20011 from all ipproto tcp dport 25 unreachable",
        );
        assert!(!lines.iter().any(|line| line.starts_with("-6 pref 20010")));
    }

    #[test]
    fn a_rule_that_leads_to_an_eni_never_takes_a_packet_whose_source_is_owned() {
        let lines = lines("[[rule]]\nto = '10.0.0.0/8'\neni = 'eth1'");
        let access = at(&lines, "-4 pref 20500 from all to 10.0.0.0/8 lookup 21001");
        assert!(at(&lines, "from 172.16.20.177 lookup 21001") < access);
        // The primary has no source rules of its own: its sources stay with main.
        assert!(at(&lines, "from 172.16.20.176 lookup main") < access);
    }

    #[test]
    fn every_condition_of_a_rule_is_in_the_kernels_rule() {
        let lines = lines(
            "[[rule]]\nfrom = '172.17.0.0/16'\nto = '10.0.0.0/8'\nproto = 'udp'\nsport = 53\n\
             dport = '1000-1999'\nmark = '0x7'\niif = 'docker0'\naction = 'prohibit'",
        );
        at(
            &lines,
            "-4 pref 20010 from 172.17.0.0/16 to 10.0.0.0/8 fwmark 0x7 iif docker0 ipproto udp \
             sport 53 dport 1000-1999 prohibit",
        );
    }

    #[test]
    fn a_rule_is_made_only_for_families_in_which_its_eni_has_a_way_out() {
        let text =
            "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n[[rule]]\nuid = 5\neni = 'eth1'";
        // Without any IPv6 default route, eth1 has IPv6 addresses and no IPv6 gateway.
        let mut host = two_enis();
        host.routes.retain(|route| route.family() == Family::V4);
        let desired = Desired::for_host(&host, &policy(text), Absence::Error, 1);
        let rules = desired.unwrap_or_else(|error| panic!("{error}")).rules;
        let of = |family| {
            let mut rules = rules.iter();
            rules.any(|rule| rule.family == family && rule.uids.is_some())
        };
        assert!(of(Family::V4));
        assert!(!of(Family::V6), "{rules:?}");
        // A kernel without IPv6 rules has no list of them.
        let mut host = two_enis();
        host.rules.retain(|rule| rule.family == Family::V4);
        let desired = Desired::for_host(&host, &policy(text), Absence::Error, 1);
        let rules = desired.unwrap_or_else(|error| panic!("{error}")).rules;
        let mut access = rules.iter().filter(|rule| rule.uids.is_some());
        assert!(access.all(|rule| rule.family == Family::V4));
    }

    #[test]
    fn a_rule_that_leads_to_the_primary_leads_to_main() {
        let lines = lines("[[rule]]\nuid = 5\neni = 'eth0'");
        at(&lines, "-4 pref 20500 from all uidrange 5-5 lookup main");
        at(&lines, "-6 pref 20500 from all uidrange 5-5 lookup main");
    }

    #[test]
    fn a_rule_that_names_no_eni_is_refused_by_a_command_and_waits_in_a_daemon() {
        let policy = policy("[[rule]]\nuid = 5\neni = 'eth7'");
        let error = Desired::for_host(&two_enis(), &policy, Absence::Error, 1)
            .expect_err("there is no eth7");
        assert_eq!(
            error.to_string(),
            "rule 1 names eth7, which eni-steer does not manage"
        );
        let desired =
            Desired::for_host(&two_enis(), &policy, Absence::Wait, 1).expect("the rule waits");
        assert!(!desired.rules.iter().any(|rule| rule.uids.is_some()));
        assert_eq!(Selector::from("eth7").to_string(), "eth7");
    }

    #[test]
    fn a_kernel_without_ipv6_gets_no_ipv6_rules() {
        let mut host = two_enis();
        host.rules.retain(|rule| rule.family == Family::V4);
        host.routes.retain(|route| route.family() == Family::V4);
        host.addresses
            .retain(|address| address.family() == Family::V4);
        let policy = policy("[[rule]]\nuid = 5\naction = 'prohibit'");
        let desired = Desired::for_host(&host, &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        assert!(desired.rules.iter().all(|rule| rule.family == Family::V4));
    }
}
