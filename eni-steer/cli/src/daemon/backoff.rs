//! When to pause repairs. If another program keeps deleting the same rule or route, both would work
//! against each other for ever. After ten repairs of one object within a minute eni-steer logs it
//! once and pauses the repair of that object. In mode steer the BPF programs keep traffic symmetric
//! meanwhile, so the pauses are long; where programs do not steer, they are short. A pause is over as
//! soon as the object is there again.
//!
//! Only what a process removes counts. The kernel removes routes too, with a link that goes down, but
//! never to undo a repair.
//!
//! Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Repairs of one object within [`WINDOW`] after which eni-steer pauses.
const LIMIT: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(480);
/// Where nothing else keeps traffic symmetric, a pause is at most so long.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// What to do about an object that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Restore it.
    Restore,
    /// Pause from now on, and log it.
    GiveUp,
    /// The repair is paused: leave the object alone.
    Wait,
}

/// One object's history.
#[derive(Clone, Debug, Default)]
struct History {
    restored: Vec<Instant>,
    paused_until: Option<Instant>,
    pauses: u32,
}

/// The objects that eni-steer repaired lately.
#[derive(Clone, Debug, Default)]
pub struct RepairBackoff {
    objects: BTreeMap<String, History>,
}

impl RepairBackoff {
    /// What to do about an object, named by its plan line, that was in place and is missing now,
    /// because a process removed it. `steers`: programs keep traffic symmetric without it.
    pub fn missing(&mut self, object: &str, steers: bool, now: Instant) -> Decision {
        let history = self.objects.entry(object.to_owned()).or_default();
        if history.paused_until.is_some_and(|until| now < until) {
            return Decision::Wait;
        }
        history.paused_until = None;
        history
            .restored
            .retain(|at| now.duration_since(*at) < WINDOW);
        if history.restored.len() >= LIMIT {
            let longest = if steers { LONGEST_PAUSE } else { SHORT_PAUSE };
            let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(history.pauses));
            let pause = pause.min(longest);
            history.pauses = history.pauses.saturating_add(1);
            history.paused_until = Some(now + pause);
            history.restored.clear();
            return Decision::GiveUp;
        }
        history.restored.push(now);
        Decision::Restore
    }

    /// Whether the repair of an object is paused.
    pub fn is_paused(&self, object: &str, now: Instant) -> bool {
        let history = self.objects.get(object);
        history.is_some_and(|history| history.paused_until.is_some_and(|until| now < until))
    }

    /// Ends the pauses of objects that are there again.
    pub fn forget_present(&mut self, missing: &BTreeSet<String>) {
        for (object, history) in &mut self.objects {
            if !missing.contains(object) {
                history.paused_until = None;
            }
        }
    }

    /// Objects whose repair is paused.
    pub fn paused(&self, now: Instant) -> Vec<&str> {
        self.objects
            .iter()
            .filter(|(_, history)| history.paused_until.is_some_and(|until| now < until))
            .map(|(object, _)| object.as_str())
            .collect()
    }

    /// When the next pause ends.
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        self.objects
            .values()
            .filter_map(|history| history.paused_until)
            .filter(|until| *until > now)
            .min()
    }

    /// Drops objects that no program has deleted for long, so that the table stays small.
    pub fn forget_old(&mut self, now: Instant) {
        self.objects.retain(|_, history| {
            history
                .paused_until
                .is_some_and(|until| now < until + LONGEST_PAUSE)
                || history
                    .restored
                    .last()
                    .is_some_and(|at| now.duration_since(*at) < WINDOW)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lost_now_and_then_is_always_restored() {
        let start = Instant::now();
        let mut backoff = RepairBackoff::default();
        for minute in 0..100 {
            let now = start + Duration::from_secs(minute * 30);
            assert_eq!(backoff.missing("rule", true, now), Decision::Restore);
        }
    }

    #[test]
    fn an_object_that_is_deleted_again_and_again_is_left_alone_and_reported_once() {
        let start = Instant::now();
        let mut backoff = RepairBackoff::default();
        let decisions: Vec<_> = (0..20)
            .map(|n| backoff.missing("rule", true, start + Duration::from_millis(n * 100)))
            .collect();
        assert!(decisions[..LIMIT].iter().all(|d| *d == Decision::Restore));
        assert_eq!(decisions[LIMIT], Decision::GiveUp);
        assert!(decisions[LIMIT + 1..].iter().all(|d| *d == Decision::Wait));
        assert_eq!(backoff.paused(start + Duration::from_secs(2)), ["rule"]);
        // Another object is not part of it.
        assert_eq!(backoff.missing("route", true, start), Decision::Restore);
    }

    #[test]
    fn after_a_pause_the_repair_is_tried_again_and_the_next_pause_is_longer() {
        let mut now = Instant::now();
        let mut backoff = RepairBackoff::default();
        let mut pause = |now: &mut Instant| {
            while backoff.missing("rule", true, *now) == Decision::Restore {}
            let from = *now;
            while backoff.missing("rule", true, *now) == Decision::Wait {
                *now += Duration::from_secs(1);
            }
            *now - from
        };
        let first = pause(&mut now);
        let second = pause(&mut now);
        assert!(second > first, "{first:?} {second:?}");
    }

    #[test]
    fn a_pause_is_over_when_the_object_is_there_again_and_nothing_is_due_for_it() {
        let now = Instant::now();
        let mut backoff = RepairBackoff::default();
        while backoff.missing("rule", true, now) == Decision::Restore {}
        let nothing_missing = BTreeSet::new();
        assert!(backoff.next_end(now).is_some());
        backoff.forget_present(&BTreeSet::from(["rule".to_owned()]));
        assert!(backoff.is_paused("rule", now));
        backoff.forget_present(&nothing_missing);
        assert!(!backoff.is_paused("rule", now));
        assert_eq!(backoff.next_end(now), None);
        assert_eq!(backoff.missing("rule", true, now), Decision::Restore);
    }

    #[test]
    fn the_end_of_a_pause_that_has_passed_is_never_asked_for_again() {
        let now = Instant::now();
        let mut backoff = RepairBackoff::default();
        while backoff.missing("rule", true, now) == Decision::Restore {}
        let end = backoff.next_end(now).expect("a pause");
        for later in [end, end + Duration::from_millis(1), end + LONGEST_PAUSE] {
            assert_eq!(backoff.next_end(later), None);
        }
    }

    #[test]
    fn where_programs_do_not_steer_pauses_are_short() {
        let now = Instant::now();
        let mut backoff = RepairBackoff::default();
        for _ in 0..4 {
            while backoff.missing("rule", false, now) == Decision::Restore {}
            assert_eq!(backoff.next_end(now), Some(now + SHORT_PAUSE));
            backoff.forget_present(&BTreeSet::new());
        }
    }
}
