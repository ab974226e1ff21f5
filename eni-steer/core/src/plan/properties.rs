//! What is true of every plan, for any host under any policy, on a model of the kernel.

use crate::desired::Absence;
use crate::fake::FakeExecutor;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{Plan, Step};
use crate::{
    apply::{Executor, apply},
    desired::Desired,
    fake::generate,
    model::{Family, Host, Owner, Route, Rule, RuleAction, TunableKind, covers, host_prefix},
    ownership::PROTOCOL,
    policy::Policy,
};

const BUILD: u64 = 1;

fn lines(plan: &Plan, host: &Host) -> String {
    plan.steps
        .iter()
        .map(|step| step.describe(host) + "\n")
        .collect()
}

/// The host after a plan that has to succeed.
fn after(plan: &Plan, host: &Host) -> Result<Host, TestCaseError> {
    let mut kernel = FakeExecutor { host: host.clone() };
    let report = apply(plan, &mut kernel);
    if let Some((step, why)) = report.failed {
        let all = lines(plan, host);
        let text = step.describe(host);
        return Err(TestCaseError::fail(format!(
            "{why}: {text}\n{step:?}\nof\n{all}"
        )));
    }
    Ok(kernel.host)
}

/// A policy, and what to do about a missing ENI.
type Request = (Policy, Absence);

/// The desired state. A host that does not allow the policy does not count as a case.
fn desired(host: &Host, policy: &Request) -> Result<Desired, TestCaseError> {
    Desired::for_host(host, &policy.0, policy.1, BUILD)
        .map_err(|error| TestCaseError::reject(error.to_string()))
}

/// The host without differences that do not matter: the order of routes, the order of eni-steer's
/// rules of one priority, and a second copy of one of its rules.
fn normalized(host: &Host) -> Host {
    let mut host = host.clone();
    host.routes.sort();
    let ours: BTreeSet<Rule> = host
        .rules
        .iter()
        .filter(|rule| rule.protocol == PROTOCOL)
        .cloned()
        .collect();
    host.rules.retain(|rule| rule.protocol != PROTOCOL);
    host.rules.extend(ours);
    host
}

fn foreign_routes(host: &Host) -> Vec<Route> {
    host.routes
        .iter()
        .filter(|route| route.protocol != PROTOCOL)
        .cloned()
        .collect()
}

fn foreign_rules(host: &Host) -> Vec<Rule> {
    host.rules
        .iter()
        .filter(|rule| rule.protocol != PROTOCOL)
        .cloned()
        .collect()
}

/// Refuses one step, and carries out all steps after it, so that undoing succeeds.
struct FailsAt {
    model: FakeExecutor,
    step: Option<usize>,
}

impl Executor for FailsAt {
    type Error = String;

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match self.step {
            Some(0) => {
                self.step = None;
                return Err("as the test wants it".to_owned());
            }
            Some(n) => self.step = Some(n - 1),
            None => {}
        }
        self.model.step(step).map_err(|refused| refused.to_string())
    }
}

/// Fails unless additions come before removals, and each route and rule after what it needs.
fn assert_order(plan: &Plan, host: &Host) -> Result<(), TestCaseError> {
    let mut routes: BTreeSet<Route> = host.routes.iter().cloned().collect();
    let mut removals = false;
    for step in &plan.steps {
        match step {
            Step::Route { change } => {
                if let Some(from) = &change.from {
                    routes.remove(from);
                }
                let Some(to) = &change.to else {
                    removals = true;
                    continue;
                };
                prop_assert!(!removals, "an addition behind a removal: {step:?}");
                for hop in to.hops.iter().filter(|hop| !hop.onlink) {
                    let Some(gateway) = hop.gateway.filter(|g| !crate::model::link_local(*g))
                    else {
                        continue;
                    };
                    let linked = routes.iter().any(|route| {
                        route.table == to.table
                            && route
                                .hop_by(hop.out)
                                .is_some_and(|leg| leg.gateway.is_none())
                            && covers(route.destination, host_prefix(gateway))
                    });
                    prop_assert!(linked, "a gateway before its link: {step:?}");
                }
                routes.insert(to.clone());
            }
            Step::Rule { change } => {
                let Some(to) = &change.to else {
                    removals = true;
                    continue;
                };
                prop_assert!(!removals, "an addition behind a removal: {step:?}");
                prop_assert!(!host.rules.contains(to), "the rule is there: {step:?}");
                let wanted = plan.steps.iter().filter_map(|step| match step {
                    Step::Route { change } => change.to.as_ref(),
                    _ => None,
                });
                for route in wanted {
                    let leads = to.action == RuleAction::Table(route.table);
                    prop_assert!(
                        !leads || routes.contains(route),
                        "a rule before its route: {step:?}"
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512, max_global_rejects: 1 << 16, failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_apply_reaches_the_empty_plan(host in generate::observed(), policy in (generate::policy(), generate::absence())) {
        let desired = desired(&host, &policy)?;
        let plan = Plan::between(&desired, &host);
        let now = after(&plan, &host)?;
        let again = match Desired::for_host(&now, &policy.0, policy.1, BUILD) {
            Ok(again) => again,
            Err(error) => return Err(TestCaseError::fail(format!("afterwards: {error}"))),
        };
        let left = Plan::between(&again, &now);
        prop_assert!(left.is_empty(), "left:\n{}after:\n{}", lines(&left, &now), lines(&plan, &host));
    }

    #[test]
    fn removal_leaves_nothing_of_ours_and_restores_every_tunable(
        host in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let plan = Plan::between(&desired(&host, &policy)?, &host);
        let applied = after(&plan, &host)?;
        let nothing = Desired::empty(policy.0.ownership.clone());
        let removed = after(&Plan::between(&nothing, &applied), &applied)?;

        prop_assert!(!removed.routes.iter().any(|route| route.protocol == PROTOCOL));
        prop_assert!(!removed.rules.iter().any(|rule| rule.protocol == PROTOCOL));
        prop_assert_eq!(&removed.datapath, &crate::model::Datapath::default());
        prop_assert!(removed.saved.is_empty());
        for (tunable, now) in &removed.tunables {
            prop_assert_eq!(Some(*now), host.baseline(*tunable), "{:?}", tunable);
        }
        for applied in [&applied, &removed] {
            prop_assert_eq!(foreign_routes(applied), foreign_routes(&host));
            prop_assert_eq!(foreign_rules(applied), foreign_rules(&host));
            prop_assert_eq!(&applied.addresses, &host.addresses);
        }
    }

    #[test]
    fn a_failure_at_any_step_leaves_the_host_as_it_was(
        host in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let plan = Plan::between(&desired(&host, &policy)?, &host);
        for n in 0..plan.steps.len() {
            let model = FakeExecutor { host: host.clone() };
            let mut kernel = FailsAt { model, step: Some(n) };
            let report = apply(&plan, &mut kernel);
            prop_assert_eq!(report.failed.map(|(step, _)| step), Some(plan.steps[n].clone()));
            prop_assert!(report.done.is_empty());
            prop_assert!(report.left.is_empty(), "left: {:?}", report.left);
            prop_assert_eq!(report.undone.len(), n);
            prop_assert_eq!(normalized(&kernel.model.host), normalized(&host));
        }
    }

    #[test]
    fn a_plan_and_its_revert_cancel_out(host in generate::observed(), policy in (generate::policy(), generate::absence())) {
        let plan = Plan::between(&desired(&host, &policy)?, &host);
        let back = after(&plan.revert(), &after(&plan, &host)?)?;
        prop_assert_eq!(normalized(&back), normalized(&host));
        prop_assert_eq!(plan.revert().revert(), plan);
    }

    #[test]
    fn a_plan_can_restore_what_eni_steer_had_before(host in generate::observed(), policy in (generate::policy(), generate::absence())) {
        let ours = &policy.0.ownership;
        let now = after(&Plan::between(&desired(&host, &policy)?, &host), &host)?;
        let before = Desired::from_host(&host, ours);
        let back = after(&Plan::between(&before, &now), &now)?;
        let (mut back, mut host) = (normalized(&back), normalized(&host));
        // A saved value whose tunable another program has changed since no longer matters.
        back.saved.retain(|tunable, saved| back.tunables.get(tunable) == Some(&saved.ours));
        host.saved.retain(|tunable, saved| host.tunables.get(tunable) == Some(&saved.ours));
        prop_assert_eq!(back, host);
    }

    #[test]
    fn additions_come_before_removals_and_what_is_needed_before_what_needs_it(
        host in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let plan = Plan::between(&desired(&host, &policy)?, &host);
        assert_order(&plan, &host)?;
    }

    /// The programs and the rules agree on the owner of each source, also at the edges of the
    /// prefixes that an ENI owns.
    #[test]
    fn the_first_rule_that_matches_a_source_leads_to_its_owner(
        host in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let desired = desired(&host, &policy)?;
        let Some(datapath) = &desired.datapath else { return Ok(()) };
        if !policy.0.rules {
            return Ok(());
        }
        // Rules for on-link prefixes only leave all other packets to these.
        let on_link = desired.ownership.on_link_priority();
        let is_source = |rule: &&Rule| rule.from.is_some() && rule.priority != on_link;
        let mut rules: Vec<&Rule> = desired.rules.iter().filter(is_source).collect();
        rules.sort_by_key(|rule| rule.priority);
        // Also the sibling prefix, which would be joined with this one if the ENI owned both.
        let sibling = |net: &IpNet| {
            let mut halves = net.supernet()?.subnets(net.prefix_len()).ok()?;
            halves.find(|half| *half != net.trunc())
        };
        let nets = datapath.owners.keys().flat_map(|net| [Some(*net), sibling(net)]);
        for source in nets.flatten().flat_map(|net| [net.network(), net.broadcast()]) {
            let owner = datapath
                .owners
                .iter()
                .filter(|(net, _)| covers(**net, host_prefix(source)))
                .max_by_key(|(net, _)| net.prefix_len())
                .map(|(_, owner)| *owner);
            let wanted = desired.enis.iter().find(|eni| Some(Owner::Eni(eni.index)) == owner);
            let table = wanted
                .filter(|eni| eni.has_table(Family::of(source)))
                .map(|eni| eni.table);
            let matching = |rule: &&&Rule| rule.from.is_some_and(|from| covers(from, host_prefix(source)));
            let looked_up = rules.iter().find(matching).and_then(|rule| match rule.action {
                RuleAction::Table(table) => Some(table),
                _ => None,
            });
            let own_table = looked_up.filter(|table| *table != crate::model::TableId::MAIN);
            prop_assert_eq!(own_table, table, "{}", source);
        }
    }

    #[test]
    fn observations_plans_and_what_is_desired_survive_json(
        host in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let read: Host = serde_json::from_str(&serde_json::to_string(&host).unwrap()).unwrap();
        prop_assert_eq!(&read, &host);
        let read: Policy = serde_json::from_str(&serde_json::to_string(&policy.0).unwrap()).unwrap();
        prop_assert_eq!(&read, &policy.0);
        let desired = desired(&host, &policy)?;
        let read: Desired = serde_json::from_str(&serde_json::to_string(&desired).unwrap()).unwrap();
        prop_assert_eq!(&read, &desired);
        let plan = Plan::between(&desired, &host);
        let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        prop_assert_eq!(read, plan);
    }
}

/// Properties mean nothing if the generated hosts never reach them.
#[test]
fn the_generated_hosts_are_served_refused_and_varied() {
    let mut runner = TestRunner::deterministic();
    let strategy = (
        generate::observed(),
        (generate::policy(), generate::absence()),
    );
    let mut covered: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..400 {
        let (host, policy) = strategy.new_tree(&mut runner).expect("a host").current();
        let Ok(desired) = Desired::for_host(&host, &policy.0, policy.1, BUILD) else {
            continue;
        };
        let plan = Plan::between(&desired, &host);
        let kinds: BTreeSet<&str> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::SavedValue { .. } => "saved value",
                Step::Tunable { tunable, .. } if tunable.kind == TunableKind::Group => "group",
                Step::Tunable { restores: true, .. } => "restore",
                Step::Tunable { .. } => "sysctl",
                Step::Route { change } => match (&change.from, &change.to) {
                    (Some(_), Some(_)) => "replace route",
                    (_, Some(_)) => "add route",
                    _ => "delete route",
                },
                Step::Rule { change } if change.to.is_some() => "add rule",
                Step::Rule { .. } => "delete rule",
                Step::Settings { .. } => "settings",
                Step::Eni { .. } => "eni",
                Step::Owner { .. } => "owner",
                Step::NextHop { .. } => "next hop",
                Step::Exempt { .. } => "exempt",
                Step::Program { .. } => "program",
                Step::RemoveOldLayout { .. } => "remove old layout",
            })
            .collect();
        for kind in kinds.into_iter().chain(["served"]) {
            *covered.entry(kind).or_default() += 1;
        }
    }
    assert!(
        covered.len() == 16 && covered.values().all(|times| *times >= 3),
        "{covered:?}"
    );
    assert!(covered["served"] >= 100, "{covered:?}");
}
