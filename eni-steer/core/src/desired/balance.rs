//! Balance: new connections of this host that name no source are spread over ENIs by a
//! multipath default. Once a source is chosen, its source rule, which stands before, keeps
//! the connection where it is.
//!
//! The table also holds main's other routes through the ENIs, as main has them: only what
//! main would send by its default is spread. (A rule with `suppress_prefixlength 0` would do
//! the same, but `wg-quick down` deletes such rules by pattern.)

use std::collections::BTreeMap;

use super::{Absence, Context, Eni, PolicyError, discover::by_selector, routes};
use crate::{
    model::{Family, Hop, IfIndex, Route, Rule, RuleAction, TableId},
    ownership::TABLES,
    policy::{Balance, PrimaryPolicy},
};

/// What is installed for balance.
#[derive(Default)]
pub(super) struct BalancePlan {
    pub rules: Vec<Rule>,
    pub routes: Vec<Route>,
}

/// The table of balance.
pub(super) fn table(cx: &Context<'_>, balance: &Balance) -> TableId {
    let last = cx.policy.table_base.0.saturating_add(TABLES - 1);
    balance.table.unwrap_or(TableId(last))
}

/// `main`: what [`routes::main_routes`] has found.
pub(super) fn plan(
    cx: &Context<'_>,
    main: &[&Route],
    enis: &[Eni],
) -> Result<BalancePlan, PolicyError> {
    let Some(balance) = &cx.policy.balance else {
        return Ok(BalancePlan::default());
    };
    if cx.policy.primary != PrimaryPolicy::Full {
        return Err(PolicyError::BalanceNeedsFull);
    }
    let mut weights: BTreeMap<IfIndex, u16> = BTreeMap::new();
    for (select, weight) in &balance.weights {
        match by_selector(cx, enis, select) {
            Some(eni) => drop(weights.insert(eni.index, *weight)),
            None if cx.absence == Absence::Wait => {}
            None => {
                return Err(PolicyError::NotAnEni {
                    what: "balance".to_owned(),
                    eni: select.to_string(),
                });
            }
        }
    }
    let table = table(cx, balance);
    let mut plan = BalancePlan::default();
    for family in Family::BOTH {
        let hops = nexthops(enis, &weights, family);
        if hops.is_empty() {
            continue;
        }
        plan.routes
            .extend(routes::copied_from_main(cx, main, enis, table, family));
        plan.routes.push(Route {
            hops,
            ..routes::default_route_to(cx, table, family)
        });
        let mut rule = Rule::new(
            family,
            cx.policy.ownership.balance_priority(),
            cx.policy.ownership.protocol,
            RuleAction::Table(table),
        );
        // Only what is made on this host.
        rule.iif = Some("lo".to_owned());
        plan.rules.push(rule);
    }
    Ok(plan)
}

fn nexthops(enis: &[Eni], weights: &BTreeMap<IfIndex, u16>, family: Family) -> Vec<Hop> {
    let mut nexthops: Vec<Hop> = enis
        .iter()
        .filter(|eni| eni.up && eni.has(family))
        .filter_map(|eni| {
            let weight = *weights.get(&eni.index)?;
            let gateway = eni.gateway(family)?.address;
            Some(Hop {
                // ENIs of one subnet share its route in this table, which is by one of them.
                onlink: true,
                weight,
                ..Hop::new(eni.index, Some(gateway))
            })
        })
        .collect();
    if let [only] = nexthops.as_mut_slice() {
        only.weight = 1;
    }
    nexthops
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
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.30.177/24"])
            .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
            .route("default via 172.16.20.253 dev eth0")
            .route("10.9.0.0/16 via 172.16.20.9 dev eth0")
    }

    fn policy(text: &str) -> Policy {
        let text = format!(
            "[policy]\nprimary = 'full'\n[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n\
             gateway = 'last'\n{text}"
        );
        let path = "config.toml".into();
        LoadedConfig::from_files(&[SourceFile { path, text }])
            .unwrap_or_else(|error| panic!("{error}"))
            .policy
    }

    fn table_of(seen: &Host, policy: &Policy, table: u32) -> Vec<String> {
        table_when(seen, policy, Absence::Error, table)
    }

    fn table_when(seen: &Host, policy: &Policy, absence: Absence, table: u32) -> Vec<String> {
        let desired = Desired::for_host(seen, policy, absence, 1).unwrap_or_else(|e| panic!("{e}"));
        let routes = desired.routes.iter();
        routes
            .filter(|route| route.table == TableId(table))
            .map(|route| route.describe(seen))
            .collect()
    }

    const WEIGHTS: &str = "[balance]\nweights = { eth0 = 3, eth1 = 1 }";

    #[test]
    fn only_what_main_would_send_by_its_default_is_spread() {
        let table = table_of(&two_enis(), &policy(WEIGHTS), 21999);
        assert_eq!(
            table,
            [
                "default nexthop via 172.16.20.253 dev eth0 weight 3 onlink nexthop via \
                 172.16.30.253 dev eth1 weight 1 onlink table 21999 proto 229",
                "10.9.0.0/16 via 172.16.20.9 dev eth0 onlink table 21999 proto 229",
                "172.16.20.0/24 dev eth0 table 21999 scope link proto 229",
                "172.16.30.0/24 dev eth1 table 21999 scope link proto 229",
            ]
        );
    }

    #[test]
    fn the_balance_rule_is_behind_the_source_rules_of_all_enis_and_for_local_traffic_only() {
        let desired = Desired::for_host(&two_enis(), &policy(WEIGHTS), Absence::Error, 1)
            .expect("it is served");
        let last = desired.rules.iter().max_by_key(|rule| rule.priority);
        let text = last.map(ToString::to_string).unwrap_or_default();
        assert_eq!(text, "pref 20900 from all iif lo lookup 21999 protocol 229");
        let sources: Vec<_> = desired.rules.iter().filter_map(|rule| rule.from).collect();
        assert_eq!(sources.len(), 2);
    }

    #[test]
    fn an_eni_that_is_down_takes_no_share() {
        let seen = two_enis().down("eth1");
        let table = table_when(&seen, &policy(WEIGHTS), Absence::Wait, 21999);
        let only = "default via 172.16.20.253 dev eth0 onlink table 21999 proto 229";
        assert_eq!(table.first().map(String::as_str), Some(only));
    }

    #[test]
    fn without_source_rules_for_the_primary_there_is_no_balance() {
        let mut policy = policy(WEIGHTS);
        policy.primary = PrimaryPolicy::Observe;
        let refusal =
            Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect_err("observe");
        assert_eq!(refusal, PolicyError::BalanceNeedsFull);
    }

    #[test]
    fn a_share_for_what_is_no_eni_is_refused() {
        let mut policy = policy(WEIGHTS);
        if let Some(balance) = &mut policy.balance {
            balance.weights.push((Selector::from("docker0"), 1));
        }
        let refusal =
            Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect_err("docker0");
        assert_eq!(
            refusal.to_string(),
            "balance speaks of docker0, which is no managed ENI"
        );
    }

    #[test]
    fn the_table_of_balance_is_no_enis() {
        let policy = policy("[balance]\nweights = { eth0 = 1, eth1 = 1 }\ntable = 21001");
        let desired =
            Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect("it is served");
        assert!(desired.enis.iter().all(|eni| eni.table != TableId(21001)));
    }
}
