//! Access rules: those that refuse come before the source rules, those that lead to an ENI
//! behind them.
//!
//! A rule that leads elsewhere never takes a packet whose source is owned: its answer would
//! come back by another ENI than it left by, which is what the source rules are there to
//! prevent. It chooses for what no ENI owns yet: connections that have no source before
//! their route is chosen, and forwarded traffic.

use super::{Absence, Context, Eni, PolicyError, discover::by_selector};
use crate::{
    model::{Family, Rule, RuleAction, TableId},
    policy::{AccessAction, AccessRule},
};

/// The rules, of the families the kernel has rules of.
pub(super) fn rules(cx: &Context<'_>, enis: &[Eni]) -> Result<Vec<Rule>, PolicyError> {
    let numbers = &cx.policy.ownership;
    let (mut refusals, mut pins) = (0, 0);
    let mut rules = Vec::new();
    for (n, access) in cx.policy.access.iter().enumerate() {
        let next = |count: &mut u32| {
            *count += 1;
            *count - 1
        };
        let refuse = |action, priority| Some((priority, action, None));
        let place = match &access.then {
            AccessAction::Prohibit => refuse(
                RuleAction::Prohibit,
                numbers.refusal_priority(next(&mut refusals)),
            ),
            AccessAction::Unreachable => refuse(
                RuleAction::Unreachable,
                numbers.refusal_priority(next(&mut refusals)),
            ),
            AccessAction::Blackhole => refuse(
                RuleAction::Blackhole,
                numbers.refusal_priority(next(&mut refusals)),
            ),
            AccessAction::Eni(select) => {
                let priority = numbers.steer_rule_priority(next(&mut pins));
                match by_selector(cx, enis, select) {
                    Some(eni) => Some((priority, RuleAction::Table(way_out(eni)), Some(eni))),
                    // It is waited for.
                    None if cx.absence == Absence::Wait => None,
                    None => {
                        return Err(PolicyError::NotAnEni {
                            what: format!("rule {}", n + 1),
                            eni: select.to_string(),
                        });
                    }
                }
            }
        };
        let Some((priority, action, eni)) = place else {
            continue;
        };
        for family in access.families() {
            let served = eni.is_none_or(|eni| eni.has(family) && eni.gateway(family).is_some());
            if served && cx.host.rules_of(family).next().is_some() {
                rules.push(rule(cx, access, family, priority, action));
            }
        }
    }
    Ok(rules)
}

fn rule(
    cx: &Context<'_>,
    access: &AccessRule,
    family: Family,
    priority: crate::model::Priority,
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

/// The table by which traffic leaves through an ENI. One without a table of its own is the
/// primary, which main serves.
fn way_out(eni: &Eni) -> TableId {
    if eni.has_source_rules {
        eni.table
    } else {
        TableId::MAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    pub(crate) fn policy(text: &str) -> Policy {
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
        let desired = Desired::for_host(&two_enis(), &policy(&text), Absence::Error, 1);
        let desired = desired.unwrap_or_else(|refusal| panic!("{refusal}"));
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
    fn what_refuses_comes_before_the_source_rules_in_the_order_of_the_file() {
        let lines = lines(
            "[[rule]]\nuid = '1000-1999'\nto = '10.0.0.0/8'\naction = 'prohibit'\n\
             [[rule]]\nproto = 'tcp'\ndport = 25\naction = 'unreachable'\n\
             [[rule]]\nmark = '0x7/0xff'\niif = 'docker0'\naction = 'blackhole'",
        );
        let first = "-4 pref 20010 from all to 10.0.0.0/8 uidrange 1000-1999 prohibit";
        let second = "-4 pref 20011 from all ipproto tcp dport 25 unreachable";
        let third = "-4 pref 20012 from all fwmark 0x7/0xff iif docker0 blackhole";
        assert!(at(&lines, "lookup main suppress_ifgroup") < at(&lines, first));
        assert!(at(&lines, first) < at(&lines, second));
        assert!(at(&lines, second) < at(&lines, third));
        assert!(at(&lines, third) < at(&lines, "from 172.16.20.177 lookup"));
        // Both families where nothing says which; one where an address does.
        at(
            &lines,
            "-6 pref 20011 from all ipproto tcp dport 25 unreachable",
        );
        assert!(!lines.iter().any(|line| line.starts_with("-6 pref 20010")));
    }

    #[test]
    fn what_leads_to_an_eni_never_takes_a_packet_whose_source_is_owned() {
        let lines = lines("[[rule]]\nto = '10.0.0.0/8'\neni = 'eth1'");
        let pin = at(&lines, "-4 pref 20500 from all to 10.0.0.0/8 lookup 21001");
        assert!(at(&lines, "from 172.16.20.177 lookup 21001") < pin);
        // The primary has no source rules of its own: its sources stay with main.
        assert!(at(&lines, "from 172.16.20.176 lookup main") < pin);
    }

    #[test]
    fn a_rule_that_leads_to_the_primary_leads_to_main() {
        let lines = lines("[[rule]]\nuid = 5\neni = 'eth0'");
        at(&lines, "-4 pref 20500 from all uidrange 5-5 lookup main");
        at(&lines, "-6 pref 20500 from all uidrange 5-5 lookup main");
    }

    #[test]
    fn a_rule_that_speaks_of_no_eni_is_refused_or_waited_for() {
        let policy = policy("[[rule]]\nuid = 5\neni = 'eth7'");
        let refusal = Desired::for_host(&two_enis(), &policy, Absence::Error, 1)
            .expect_err("there is no eth7");
        assert_eq!(
            refusal.to_string(),
            "rule 1 speaks of eth7, which is no managed ENI"
        );
        let desired =
            Desired::for_host(&two_enis(), &policy, Absence::Wait, 1).expect("it is waited for");
        assert!(!desired.rules.iter().any(|rule| rule.uids.is_some()));
        assert_eq!(Selector::from("eth7").to_string(), "eth7");
    }

    #[test]
    fn a_kernel_without_ipv6_gets_no_ipv6_rules() {
        let mut seen = two_enis();
        seen.rules.retain(|rule| rule.family == Family::V4);
        seen.routes.retain(|route| route.family() == Family::V4);
        seen.addresses
            .retain(|address| address.family() == Family::V4);
        let policy = policy("[[rule]]\nuid = 5\naction = 'prohibit'");
        let desired =
            Desired::for_host(&seen, &policy, Absence::Error, 1).expect("it can be served");
        assert!(desired.rules.iter().all(|rule| rule.family == Family::V4));
    }
}
