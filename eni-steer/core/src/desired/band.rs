//! Where eni-steer's band of priorities stands: where the policy says, or in front of rules that the
//! kernel placed before it.
//!
//! A rule that names no priority gets one less than the second rule of the list
//! (`fib_default_rule_pref` in net/core/fib_rules.c). The second rule is usually eni-steer's first,
//! so such a rule stands directly before the band and decides before it: `ip rule add from
//! 172.16.20.177 table 1001` in an ifupdown script, or the rules of `wg-quick up`. If the same
//! program starts before eni-steer, its rules stand behind. So that the order does not matter, the
//! band moves in front of them:
//!
//! ```text
//! 19998  lookup main suppress_prefixlength 0         18988 .. 19987  eni-steer's rules
//! 19999  not fwmark 0xca6c lookup 51820        ->    19998  lookup main suppress_prefixlength 0
//! 20000 .. 20999  eni-steer's rules                  19999  not fwmark 0xca6c lookup 51820
//! ```
//!
//! Where the band stands now is read from the host, so nothing has to be remembered. It returns when
//! those rules are gone.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    model::{Host, Priority, Rule, RuleAction, TableId},
    ownership::Ownership,
};

/// How many priorities stay free between the band and the rules it moves in front of: a program that
/// adds several rules may add the next one while the band is on its way, and it must not land inside.
const GAP: u32 = 10;
/// How often the band may move in one step, if rules stand before its new place too.
const MOVES: usize = 4;

/// The numbers of the policy, with the band where it should stand on this host.
pub(super) fn place(host: &Host, configured: &Ownership) -> Ownership {
    let span = configured.last.0.saturating_sub(configured.first.0);
    let at = |first: u32| Ownership {
        first: Priority(first),
        last: Priority(first + span),
        ..configured.clone()
    };
    if configured.stays || configured.first > configured.last {
        return configured.clone();
    }
    let placed: BTreeSet<u32> = without_priority(host, configured)
        .map(|rule| rule.priority.0)
        .collect();
    let mut first = match current(host, configured) {
        // In front of rules that are still there.
        Some(now) if now < configured.first && holds(host, configured, &placed, now.0, span) => {
            now.0
        }
        _ => configured.first.0,
    };
    // Rules that came late have no band directly behind them any more.
    let late = placed
        .iter()
        .copied()
        .find(|priority| *priority < first && came_late(configured, span, *priority));
    if let Some(late) = late
        && let Some(begin) = late.checked_sub(GAP + span + 1)
        && begin > 0
        && !is_taken(host, configured, begin..late)
    {
        first = begin;
    }
    for _ in 0..MOVES {
        match in_front(host, configured, &placed, first, span) {
            Some(better) => first = better,
            None => break,
        }
    }
    at(first)
}

/// How many rules may stand before the band where it stood before.
const LATE: u32 = 6;

/// Whether the kernel placed a rule with this priority before the band when the band stood further
/// in front: the rule came while eni-steer moved it back. No other rule is directly before such a
/// place.
fn came_late(configured: &Ownership, span: u32, priority: u32) -> bool {
    // In front of one rule, then in front of one more; before each place a few rules have room.
    (1..=2).any(|moves| {
        let place = configured.first.0.checked_sub(moves * (span + GAP + 2));
        place.is_some_and(|place| (place.saturating_sub(LATE)..place).contains(&priority))
    })
}

/// The first priority of the band in front of the rules that stand directly before `first`; `None`:
/// there are none, or another program's rules leave no room.
fn in_front(
    host: &Host,
    ours: &Ownership,
    placed: &BTreeSet<u32>,
    first: u32,
    span: u32,
) -> Option<u32> {
    let run = (0..first)
        .rev()
        .take_while(|priority| placed.contains(priority));
    let run_begins = run.last()?;
    let begin = run_begins.checked_sub(GAP + span + 1)?;
    (begin > 0 && !is_taken(host, ours, begin..run_begins)).then_some(begin)
}

/// Whether another program's rule has one of these priorities.
fn is_taken(host: &Host, ours: &Ownership, priorities: Range<u32>) -> bool {
    let mut foreign = host.rules.iter().filter(|rule| !ours.rule(rule));
    foreign.any(|rule| priorities.contains(&rule.priority.0))
}

/// Whether a band that has moved is right where it is: directly behind it stand rules that the
/// kernel placed, and none inside.
fn holds(host: &Host, ours: &Ownership, placed: &BTreeSet<u32>, first: u32, span: u32) -> bool {
    let behind = first + span + 1;
    let stand_behind = placed.range(behind..=behind + GAP).next().is_some();
    stand_behind && !is_taken(host, ours, first..behind)
}

/// Where the band stands now: the priority of eni-steer's first rule.
pub(crate) fn current(host: &Host, ours: &Ownership) -> Option<Priority> {
    let is_first = |rule: &&Rule| {
        ours.rule(rule)
            && rule.action == RuleAction::Table(TableId::MAIN)
            && rule.suppress_group.is_some()
            && rule.iif.is_none()
    };
    let first = host.rules.iter().filter(is_first);
    first.map(|rule| rule.priority).min()
}

/// Other programs' rules whose priority the kernel may have chosen: their maker gave no protocol
/// number of its own either.
fn without_priority<'a>(host: &'a Host, ours: &'a Ownership) -> impl Iterator<Item = &'a Rule> {
    host.rules.iter().filter(|rule| {
        let is_unspecified = matches!(rule.protocol.0, 0 | 3);
        is_unspecified && !ours.rule(rule) && rule.priority.0 > 0
    })
}

/// Other programs' rules that the kernel placed directly before a band that begins here, or before a
/// place where it stood.
pub(crate) fn placed_before<'a>(
    host: &'a Host,
    ours: &'a Ownership,
    first: Priority,
) -> Vec<&'a Rule> {
    let placed: BTreeSet<u32> = without_priority(host, ours)
        .map(|rule| rule.priority.0)
        .collect();
    let run = (0..first.0)
        .rev()
        .take_while(|priority| placed.contains(priority));
    let begin = run.last().unwrap_or(first.0);
    let span = ours.last.0.saturating_sub(ours.first.0);
    let rules = without_priority(host, ours);
    rules
        .filter(|rule| {
            let priority = rule.priority.0;
            (begin..first.0).contains(&priority)
                || priority < first.0 && came_late(ours, span, priority)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apply::apply,
        desired::{Absence, Desired},
        fake::{FakeExecutor, fake_host},
        plan::Plan,
        policy::Policy,
    };

    fn host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.21.177/24"])
            .virtual_link(9, "wg0", "wireguard", &["10.8.0.6/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.21.253 dev eth1 metric 200")
            .route("default dev wg0 table 51820")
    }

    fn first(host: &Host) -> u32 {
        place(host, &Ownership::default()).first.0
    }

    /// The host after `apply`, and where its band begins.
    fn applied(host: Host) -> (Host, u32) {
        let desired = Desired::for_host(&host, &Policy::default(), Absence::Error, 1);
        let plan = Plan::between(&desired.unwrap_or_else(|e| panic!("{e}")), &host);
        let mut kernel = FakeExecutor { host };
        assert!(apply(&plan, &mut kernel).is_complete());
        let host = kernel.host;
        let again = Desired::for_host(&host, &Policy::default(), Absence::Error, 1);
        let again = again.unwrap_or_else(|e| panic!("{e}"));
        assert!(Plan::between(&again, &host).is_empty(), "once is enough");
        let first = current(&host, &Ownership::default()).expect("the first rule");
        (host, first.0)
    }

    fn without(mut host: Host, priority: u32) -> Host {
        host.rules.retain(|rule| rule.priority.0 != priority);
        host
    }

    #[test]
    fn the_band_moves_in_front_of_rules_that_name_no_priority_and_returns() {
        let (host, at) = applied(host());
        assert_eq!(at, 20000);
        let host = host
            .rule("pref 19999 lookup 51820 protocol 0")
            .rule("pref 19998 lookup 254 suppress_prefixlength 0 protocol 0");
        let (host, at) = applied(host);
        assert_eq!(at, 18988);
        assert!(
            host.rules
                .iter()
                .all(|rule| rule.protocol.0 != 229 || rule.priority.0 < 19998)
        );
        // One more, which the kernel places before the band's new place.
        let (host, at) = applied(host.rule("pref 18987 from 10.9.0.0/16 lookup 51820 protocol 3"));
        assert_eq!(at, 17977);
        // The first two go: the last one still stands behind.
        let host = without(without(host, 19999), 19998);
        let (host, at) = applied(host);
        assert_eq!(at, 17977);
        let (_, at) = applied(without(host, 18987));
        assert_eq!(at, 20000);
    }

    #[test]
    fn a_rule_that_comes_while_the_band_moves_lands_behind_it() {
        let (host, at) = applied(host().rule("pref 19999 lookup 51820 protocol 0"));
        assert_eq!(at, 18989);
        // Added after the host was read, and before eni-steer's first rule was there.
        let host = host.rule("pref 19998 lookup 254 suppress_prefixlength 0 protocol 0");
        let (_, at) = applied(host);
        assert_eq!(at, 18989);
    }

    /// An ifupdown script deletes its rule and adds it again; in between the band goes back.
    #[test]
    fn a_rule_that_comes_while_the_band_goes_back_does_not_stay_before_it() {
        let rule = "pref 18988 from 172.16.21.177 lookup 1001 protocol 3";
        let (host, at) = applied(host().rule(rule));
        assert_eq!(at, 17978);
        let ours = Ownership::default();
        assert_eq!(placed_before(&host, &ours, Priority(20000)).len(), 1);
        let (_, at) = applied(without(host, 18988));
        assert_eq!(at, 20000);
    }

    #[test]
    fn rules_that_somebody_placed_stay_before_the_band() {
        for rule in [
            "pref 19998 lookup 51820 protocol 0",
            "pref 19999 lookup 51820 protocol 4",
            "pref 100 lookup 51820 protocol 0",
            "pref 19000 lookup 51820 protocol 0",
            "pref 18989 lookup 51820 protocol 0",
            "pref 18988 lookup 51820 protocol 4",
            "pref 19999 lookup 51820 protocol 229",
        ] {
            assert_eq!(first(&host().rule(rule)), 20000, "{rule}");
        }
        // Another program's rules leave no room, or the list is at its end.
        let taken = host()
            .rule("pref 19999 lookup 51820 protocol 0")
            .rule("pref 19500 from 10.9.0.0/16 lookup 100 protocol 4");
        assert_eq!(first(&taken), 20000);
        let low = Ownership {
            first: Priority(900),
            last: Priority(1899),
            ..Ownership::default()
        };
        let host = host().rule("pref 899 lookup 51820 protocol 0");
        assert_eq!(place(&host, &low).first.0, 900);
        let stays = Ownership {
            stays: true,
            ..Ownership::default()
        };
        let host = host.rule("pref 19999 lookup 51820 protocol 0");
        assert_eq!(first(&host), 18989);
        assert_eq!(place(&host, &stays).first.0, 20000);
    }

    #[test]
    fn the_rules_before_the_band_are_known() {
        let host = host()
            .rule("pref 19999 lookup 51820 protocol 0")
            .rule("pref 19998 lookup 254 suppress_prefixlength 0 protocol 0")
            .rule("pref 19996 lookup 51820 protocol 0");
        let ours = Ownership::default();
        let before = placed_before(&host, &ours, ours.first);
        let before: Vec<u32> = before.iter().map(|rule| rule.priority.0).collect();
        assert_eq!(before, [19998, 19999]);
    }
}
