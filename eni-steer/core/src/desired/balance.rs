//! Balance spreads new connections of this host over several ENIs, by a multipath default route in
//! a table of its own.
//!
//! It applies to connections whose program chose no source address. The kernel picks a next hop of
//! the multipath route and a source of that ENI. From then on, the ENI's source rule, which comes
//! before the balance rule, keeps the connection on that ENI. For example, with `weights = { eth0 =
//! 3, eth1 = 1 }` three of four new connections leave by eth0.
//!
//! The table also has copies of the main table's other routes through the ENIs, so balance spreads
//! only what the main table would send by its default route through an ENI. A rule for the main
//! table with `suppress_prefixlength 0` before the balance rule would do the same, but `wg-quick
//! down` deletes every rule of that form. If main's default route leaves by another interface, such
//! as a VPN, nothing is spread.

use std::collections::BTreeMap;

use super::{
    context::Context, eni::Eni, error::PolicyError, mirror, routes, selector::managed_eni,
    tables::balance_table,
};
use crate::{
    model::{Family, Hop, IfIndex, Route, Rule, RuleAction, TableId},
    policy::PrimaryPolicy,
};

/// What eni-steer installs for balance; empty if the policy has none.
#[derive(Default)]
pub(super) struct BalancePlan {
    pub(super) rules: Vec<Rule>,
    pub(super) routes: Vec<Route>,
}

/// The rules and routes of balance. `main` is the result of [`routes::main_routes`].
pub(super) fn plan(
    cx: &Context<'_>,
    main: &[&Route],
    enis: &[Eni],
    unserved: &mut Vec<PolicyError>,
) -> Result<BalancePlan, PolicyError> {
    let Some(balance) = &cx.policy.balance else {
        return Ok(BalancePlan::default());
    };
    if cx.policy.primary != PrimaryPolicy::Full {
        return Err(PolicyError::BalanceNeedsFull);
    }
    let mut weights: BTreeMap<IfIndex, u16> = BTreeMap::new();
    for (select, weight) in &balance.weights {
        match managed_eni(cx, enis, select) {
            Some(eni) => drop(weights.insert(eni.index, *weight)),
            None => {
                let absent = PolicyError::NotAnEni {
                    what: "balance".to_owned(),
                    eni: select.to_string(),
                };
                cx.leave_out(absent, unserved)?;
            }
        }
    }
    let table = balance_table(cx, balance);
    let mut plan = BalancePlan::default();
    for family in Family::BOTH {
        let hops = nexthops(enis, &weights, family);
        if hops.is_empty() {
            continue;
        }
        let mut routes = routes::copied_from_main(cx, main, enis, table, family);
        routes.push(Route {
            hops,
            ..routes::default_route_to(cx, table, family)
        });
        mirror::link_gateways(&mut routes);
        plan.routes.append(&mut routes);
        let numbers = &cx.policy.ownership;
        let rule = |priority, table| {
            Rule::new(family, priority, numbers.protocol, RuleAction::Table(table))
        };
        // The first rule ignores default routes. A default route by another interface, such as a
        // VPN, still comes before balance: packets without a source go into the tunnel.
        let mut main = rule(numbers.before_balance_priority(), TableId::MAIN);
        main.iif = Some("lo".to_owned());
        main.suppress_group = Some(numbers.group);
        plan.rules.push(main);
        let mut rule = rule(numbers.balance_priority(), table);
        // Only packets that this host makes, not those that it forwards.
        rule.iif = Some("lo".to_owned());
        plan.rules.push(rule);
    }
    Ok(plan)
}

/// The next hops of the multipath route: ENIs with a weight that are up and have a gateway.
fn nexthops(enis: &[Eni], weights: &BTreeMap<IfIndex, u16>, family: Family) -> Vec<Hop> {
    let mut nexthops: Vec<Hop> = enis
        .iter()
        .filter(|eni| eni.up && eni.has(family))
        .filter_map(|eni| {
            let weight = *weights.get(&eni.index)?;
            let gateway = eni.gateway(family)?.address;
            Some(Hop {
                // ENIs on one subnet share its on-link route in this table. It leads to one of
                // them, so for the others the next hop must say that the gateway is on the link.
                onlink: gateway.is_ipv4(),
                weight,
                ..Hop::new(eni.index, Some(gateway))
            })
        })
        .collect();
    routes::set_single_weight(&mut nexthops);
    nexthops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Absence, Desired},
        fake::fake_host,
        model::Host,
        policy::{Policy, Selector, config::LoadedConfig, config::SourceFile},
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

    fn table_of(host: &Host, policy: &Policy, table: u32) -> Vec<String> {
        table_when(host, policy, Absence::Error, table)
    }

    fn table_when(host: &Host, policy: &Policy, absence: Absence, table: u32) -> Vec<String> {
        let desired = Desired::for_host(host, policy, absence, 1).unwrap_or_else(|e| panic!("{e}"));
        let routes = desired.routes.iter();
        routes
            .filter(|route| route.table == TableId(table))
            .map(|route| route.describe(host))
            .collect()
    }

    const WEIGHTS: &str = "[balance]\nweights = { eth0 = 3, eth1 = 1 }";

    #[test]
    fn only_packets_for_mains_default_route_are_spread() {
        let table = table_of(&two_enis(), &policy(WEIGHTS), 21999);
        assert_eq!(
            table,
            [
                "default table 21999 proto 229 nexthop via 172.16.20.253 dev eth0 weight 3 onlink \
                 nexthop via 172.16.30.253 dev eth1 weight 1 onlink",
                "10.9.0.0/16 via 172.16.20.9 dev eth0 onlink table 21999 proto 229",
                "172.16.20.0/24 dev eth0 table 21999 scope link proto 229",
                "172.16.30.0/24 dev eth1 table 21999 scope link proto 229",
            ]
        );
    }

    #[test]
    fn the_balance_rule_comes_after_all_source_rules_and_takes_local_traffic_only() {
        let desired = Desired::for_host(&two_enis(), &policy(WEIGHTS), Absence::Error, 1)
            .expect("the host allows the policy");
        let last = desired.rules.iter().max_by_key(|rule| rule.priority);
        let text = last.map(ToString::to_string).unwrap_or_default();
        assert_eq!(text, "pref 20900 from all iif lo lookup 21999 protocol 229");
        // A VPN's default route in main comes before balance.
        let before = desired.rules.iter().find(|rule| rule.priority.0 == 20899);
        assert_eq!(
            before.map(ToString::to_string).unwrap_or_default(),
            "pref 20899 from all iif lo lookup main suppress_ifgroup 20229 protocol 229"
        );
        let sources: Vec<_> = desired.rules.iter().filter_map(|rule| rule.from).collect();
        assert_eq!(sources.len(), 2);
    }

    #[test]
    fn an_eni_that_is_down_takes_no_share() {
        let host = two_enis().down("eth1");
        let table = table_when(&host, &policy(WEIGHTS), Absence::Wait, 21999);
        let only = "default via 172.16.20.253 dev eth0 onlink table 21999 proto 229";
        assert_eq!(table.first().map(String::as_str), Some(only));
    }

    #[test]
    fn without_source_rules_for_the_primary_there_is_no_balance() {
        let mut policy = policy(WEIGHTS);
        policy.primary = PrimaryPolicy::Observe;
        let error =
            Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect_err("observe");
        assert_eq!(error, PolicyError::BalanceNeedsFull);
    }

    #[test]
    fn a_weight_for_an_interface_that_is_not_managed_is_refused() {
        let mut policy = policy(WEIGHTS);
        if let Some(balance) = &mut policy.balance {
            balance.weights.push((Selector::from("docker0"), 1));
        }
        let error =
            Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect_err("docker0");
        assert_eq!(
            error.to_string(),
            "balance names docker0, which eni-steer does not manage"
        );
    }

    #[test]
    fn no_eni_gets_the_table_of_balance() {
        let policy = policy("[balance]\nweights = { eth0 = 1, eth1 = 1 }\ntable = 21001");
        let desired = Desired::for_host(&two_enis(), &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        assert!(desired.enis.iter().all(|eni| eni.table != TableId(21001)));
    }
}
