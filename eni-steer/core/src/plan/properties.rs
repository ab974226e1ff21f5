//! What holds of the plan for any host under any policy, on a model of the kernel.

use crate::desired::Absence;
use crate::fake::FakeExecutor;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{Plan, Step};
use crate::{
    apply::{Executor, Report, apply},
    desired::Desired,
    fake::generate,
    model::{Family, Host, Owner, Route, Rule, RuleAction, TunableKind, covers, host_prefix},
    ownership::PROTOCOL,
    policy::Policy,
};

const BUILD: u64 = 1;

fn lines(plan: &Plan, seen: &Host) -> String {
    plan.steps
        .iter()
        .map(|step| step.describe(seen) + "\n")
        .collect()
}

/// Does a plan on a kernel that answers at once.
fn carry_out<K: Executor>(plan: &Plan, kernel: &mut K) -> Report<K::Error> {
    apply(plan, kernel)
}

/// Does a plan that has to succeed.
fn after(plan: &Plan, seen: &Host) -> Result<Host, TestCaseError> {
    let mut kernel = FakeExecutor { host: seen.clone() };
    let report = carry_out(plan, &mut kernel);
    if let Some((step, why)) = report.failed {
        let all = lines(plan, seen);
        let text = step.describe(seen);
        return Err(TestCaseError::fail(format!(
            "{why}: {text}\n{step:?}\nof\n{all}"
        )));
    }
    Ok(kernel.host)
}

/// A policy, and what to do about an ENI that is missing.
type Asked = (Policy, Absence);

/// What a host that can be served should have.
fn desired(seen: &Host, policy: &Asked) -> Result<Desired, TestCaseError> {
    Desired::for_host(seen, &policy.0, policy.1, BUILD)
        .map_err(|refusal| TestCaseError::reject(refusal.to_string()))
}

/// An observation without what no program can tell apart: the order of routes, the order of
/// our rules of one priority, and a second copy of a rule of ours.
fn normal(seen: &Host) -> Host {
    let mut seen = seen.clone();
    seen.routes.sort();
    let ours: BTreeSet<Rule> = seen
        .rules
        .iter()
        .filter(|rule| rule.protocol == PROTOCOL)
        .cloned()
        .collect();
    seen.rules.retain(|rule| rule.protocol != PROTOCOL);
    seen.rules.extend(ours);
    seen
}

fn foreign_routes(seen: &Host) -> Vec<Route> {
    seen.routes
        .iter()
        .filter(|route| route.protocol != PROTOCOL)
        .cloned()
        .collect()
}

fn foreign_rules(seen: &Host) -> Vec<Rule> {
    seen.rules
        .iter()
        .filter(|rule| rule.protocol != PROTOCOL)
        .cloned()
        .collect()
}

/// Fails at one step going forward, and lets the undoing pass.
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

/// Which of two changes has to come first.
fn assert_order(plan: &Plan, seen: &Host) -> Result<(), TestCaseError> {
    let mut routes: BTreeSet<Route> = seen.routes.iter().cloned().collect();
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
                prop_assert!(!seen.rules.contains(to), "the rule is there: {step:?}");
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
    fn one_apply_reaches_the_empty_plan(seen in generate::observed(), policy in (generate::policy(), generate::absence())) {
        let desired = desired(&seen, &policy)?;
        let plan = Plan::between(&desired, &seen);
        let now = after(&plan, &seen)?;
        let again = match Desired::for_host(&now, &policy.0, policy.1, BUILD) {
            Ok(again) => again,
            Err(refusal) => return Err(TestCaseError::fail(format!("afterwards: {refusal}"))),
        };
        let left = Plan::between(&again, &now);
        prop_assert!(left.is_empty(), "left:\n{}after:\n{}", lines(&left, &now), lines(&plan, &seen));
    }

    #[test]
    fn removal_leaves_nothing_of_ours_and_puts_every_knob_back(
        seen in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let plan = Plan::between(&desired(&seen, &policy)?, &seen);
        let applied = after(&plan, &seen)?;
        let nothing = Desired::empty(policy.0.ownership.clone());
        let removed = after(&Plan::between(&nothing, &applied), &applied)?;

        prop_assert!(!removed.routes.iter().any(|route| route.protocol == PROTOCOL));
        prop_assert!(!removed.rules.iter().any(|rule| rule.protocol == PROTOCOL));
        prop_assert_eq!(&removed.datapath, &crate::model::Datapath::default());
        prop_assert!(removed.saved.is_empty());
        for (tunable, now) in &removed.tunables {
            prop_assert_eq!(Some(*now), seen.baseline(*tunable), "{:?}", tunable);
        }
        for applied in [&applied, &removed] {
            prop_assert_eq!(foreign_routes(applied), foreign_routes(&seen));
            prop_assert_eq!(foreign_rules(applied), foreign_rules(&seen));
            prop_assert_eq!(&applied.addresses, &seen.addresses);
        }
    }

    #[test]
    fn a_failure_at_any_step_leaves_the_host_as_it_was(
        seen in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let plan = Plan::between(&desired(&seen, &policy)?, &seen);
        for n in 0..plan.steps.len() {
            let model = FakeExecutor { host: seen.clone() };
            let mut kernel = FailsAt { model, step: Some(n) };
            let report = carry_out(&plan, &mut kernel);
            prop_assert_eq!(report.failed.map(|(step, _)| step), Some(plan.steps[n].clone()));
            prop_assert!(report.done.is_empty());
            prop_assert!(report.left.is_empty(), "left: {:?}", report.left);
            prop_assert_eq!(report.undone.len(), n);
            prop_assert_eq!(normal(&kernel.model.host), normal(&seen));
        }
    }

    #[test]
    fn a_plan_and_its_revert_cancel_out(seen in generate::observed(), policy in (generate::policy(), generate::absence())) {
        let plan = Plan::between(&desired(&seen, &policy)?, &seen);
        let back = after(&plan.revert(), &after(&plan, &seen)?)?;
        prop_assert_eq!(normal(&back), normal(&seen));
        prop_assert_eq!(plan.revert().revert(), plan);
    }

    #[test]
    fn what_was_ours_can_be_come_back_to(seen in generate::observed(), policy in (generate::policy(), generate::absence())) {
        let ours = &policy.0.ownership;
        let now = after(&Plan::between(&desired(&seen, &policy)?, &seen), &seen)?;
        let before = Desired::from_host(&seen, ours);
        let back = after(&Plan::between(&before, &now), &now)?;
        let (mut back, mut seen) = (normal(&back), normal(&seen));
        // A note of a tunable that somebody else has turned since says nothing any more.
        back.saved.retain(|tunable, saved| back.tunables.get(tunable) == Some(&saved.ours));
        seen.saved.retain(|tunable, saved| seen.tunables.get(tunable) == Some(&saved.ours));
        prop_assert_eq!(back, seen);
    }

    #[test]
    fn additions_come_before_removals_and_what_is_needed_before_what_needs_it(
        seen in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let plan = Plan::between(&desired(&seen, &policy)?, &seen);
        assert_order(&plan, &seen)?;
    }

    /// The programs and the rules have one idea of who owns a source, and of where what is
    /// owned ends.
    #[test]
    fn the_first_rule_that_matches_a_source_leads_to_its_owner(
        seen in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let desired = desired(&seen, &policy)?;
        let Some(datapath) = &desired.datapath else { return Ok(()) };
        if !policy.0.rules {
            return Ok(());
        }
        let mut rules: Vec<&Rule> = desired.rules.iter().filter(|rule| rule.from.is_some()).collect();
        rules.sort_by_key(|rule| rule.priority);
        // And its sibling, with which it would be joined if that were owned too.
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
                .filter(|eni| eni.has_source_rules && eni.gateway(Family::of(source)).is_some())
                .map(|eni| eni.table);
            let matching = |rule: &&&Rule| rule.from.is_some_and(|from| covers(from, host_prefix(source)));
            let led = rules.iter().find(matching).and_then(|rule| match rule.action {
                RuleAction::Table(table) => Some(table),
                _ => None,
            });
            let led = led.filter(|table| *table != crate::model::TableId::MAIN);
            prop_assert_eq!(led, table, "{}", source);
        }
    }

    #[test]
    fn observations_plans_and_what_is_desired_survive_json(
        seen in generate::observed(),
        policy in (generate::policy(), generate::absence()),
    ) {
        let read: Host = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        prop_assert_eq!(&read, &seen);
        let read: Policy = serde_json::from_str(&serde_json::to_string(&policy.0).unwrap()).unwrap();
        prop_assert_eq!(&read, &policy.0);
        let desired = desired(&seen, &policy)?;
        let read: Desired = serde_json::from_str(&serde_json::to_string(&desired).unwrap()).unwrap();
        prop_assert_eq!(&read, &desired);
        let plan = Plan::between(&desired, &seen);
        let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        prop_assert_eq!(read, plan);
    }
}

/// Properties that hold because nothing is ever tried hold nothing.
#[test]
fn the_generated_hosts_are_served_refused_and_varied() {
    let mut runner = TestRunner::deterministic();
    let strategy = (
        generate::observed(),
        (generate::policy(), generate::absence()),
    );
    let mut met: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..400 {
        let (seen, policy) = strategy.new_tree(&mut runner).expect("a host").current();
        let Ok(desired) = Desired::for_host(&seen, &policy.0, policy.1, BUILD) else {
            continue;
        };
        let plan = Plan::between(&desired, &seen);
        let kinds: BTreeSet<&str> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::SavedValue { .. } => "memory",
                Step::Tunable { tunable, .. } if tunable.kind == TunableKind::Group => "group",
                Step::Tunable { restores: true, .. } => "put back",
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
                Step::RemoveOldLayout { .. } => "retire",
            })
            .collect();
        for kind in kinds.into_iter().chain(["served"]) {
            *met.entry(kind).or_default() += 1;
        }
    }
    assert!(
        met.len() == 16 && met.values().all(|times| *times >= 3),
        "{met:?}"
    );
    assert!(met["served"] >= 100, "{met:?}");
}
