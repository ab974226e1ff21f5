//! Rules: which win, which do nothing, which stand at a place nobody chose.

use std::collections::BTreeSet;

use super::{codes, found::Found};
use crate::{
    desired::Desired,
    known_tools::probable_owner,
    model::{Family, Host, Priority, Rule, RuleAction, TableId},
    policy::Policy,
    verify::{Cause, CauseKind},
};

pub(super) fn check(
    host: &Host,
    policy: &Policy,
    desired: &Desired,
    causes: &[Cause],
    probes: usize,
    found: &mut Found,
) {
    for cause in causes {
        let (text, fix) = match cause.kind {
            // The gateways have a line of their own.
            CauseKind::GatewaySilent => continue,
            _ => (
                format!("{}: {}", cause.what, cause.effect),
                cause.fix.clone(),
            ),
        };
        found.add(codes::WRONG_WAY, &cause.what, text, Some(fix));
    }
    if probes > 0 {
        found.fine("routing", "every test lookup uses the right interface");
    }
    for family in Family::BOTH {
        if !host.has_main_rule(family) {
            let fix = format!("ip {family} rule add pref 32766 lookup main");
            found.add(
                codes::MAIN_RULE_MISSING,
                &format!("ip {family} rule pref 32766"),
                format!(
                    "the kernel's {} rule for the main table is gone",
                    version(family)
                ),
                Some(fix),
            );
        }
        let filled: BTreeSet<TableId> = host
            .routes
            .iter()
            .filter(|route| route.family() == family)
            .map(|route| route.table)
            .collect();
        let without_priority = without_priority(host, policy, desired, family);
        for rule in foreign(host, desired, family) {
            let command = format!("ip {family} rule del {rule}");
            let object = format!("ip {family} rule {rule}");
            if let RuleAction::Table(table) = rule.action
                && !table.is_kernel_own()
                && !filled.contains(&table)
            {
                let text = format!("'{rule}' does nothing: table {table} is empty");
                found.add(codes::DEAD_RULE, &object, text, Some(command));
            } else if without_priority.contains(&rule.priority) {
                let text = format!("'{rule}' has a priority that nobody chose");
                let again = rule_with(rule, free_priority(host, desired, family));
                let fix = format!("ip {family} rule add {again} && {command}");
                found.add(codes::NO_PRIORITY, &object, text, Some(fix));
            }
        }
    }
    for redundant in desired.redundant_rules(host) {
        let rule = &redundant.rule;
        found.add(
            codes::REDUNDANT_RULE,
            &format!("ip {} rule {rule}", rule.family),
            format!(
                "'{rule}' does the same for {} as eni-steer's rule",
                redundant.eni
            ),
            redundant.commands.first().cloned(),
        );
    }
    found.fine("rules", "no dead ones, none at a place that nobody chose");
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Rules that neither eni-steer nor the kernel made.
fn foreign<'a>(host: &'a Host, desired: &'a Desired, family: Family) -> Vec<&'a Rule> {
    let all = host.rules_of(family);
    all.filter(|rule| {
        !desired.ownership.rule(rule) && probable_owner(rule) != Some(crate::known_tools::KERNEL)
    })
    .collect()
}

/// Priorities at which the kernel put rules that named none: right before the rule that was second
/// (`fib_default_rule_pref` in net/core/fib_rules.c). That is the main table's, or the first rule
/// of eni-steer; then each one right before the last.
fn without_priority(
    host: &Host,
    policy: &Policy,
    desired: &Desired,
    family: Family,
) -> BTreeSet<Priority> {
    let foreign = foreign(host, desired, family);
    let by_hand = |priority: u32| {
        foreign.iter().any(|rule| {
            rule.priority.0 == priority
                && matches!(rule.protocol.0, 0 | 3)
                && probable_owner(rule).is_none()
        })
    };
    let main = 32766;
    // The band of eni-steer may have moved in front of such rules.
    let starts = [main, desired.ownership.first.0, policy.ownership.first.0];
    let mut found = BTreeSet::new();
    for start in starts {
        let mut at = start;
        while at > 0 && by_hand(at - 1) {
            at -= 1;
            found.insert(Priority(at));
        }
    }
    found
}

/// A priority behind eni-steer's rules that no rule has.
fn free_priority(host: &Host, desired: &Desired, family: Family) -> Priority {
    let taken: BTreeSet<Priority> = host.rules_of(family).map(|rule| rule.priority).collect();
    let mut behind = (desired.ownership.last.0 + 1..32766)
        .step_by(10)
        .map(Priority);
    let free = behind.find(|priority| !taken.contains(priority));
    free.unwrap_or(Priority(32765))
}

fn rule_with(rule: &Rule, priority: Priority) -> Rule {
    Rule {
        priority,
        ..rule.clone()
    }
}
