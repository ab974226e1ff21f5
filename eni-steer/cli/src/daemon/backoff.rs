//! When to pause repairs. If another program keeps deleting the same rule or route, both would work
//! against each other for ever. After ten repairs of one object within a minute eni-steer logs it
//! once and pauses the repair of that object. In mode steer the BPF programs keep traffic symmetric
//! meanwhile.
//!
//! Pure: time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Repairs of one object within [`WINDOW`] after which eni-steer pauses.
const LIMIT: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(480);

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
    /// What to do about an object, named by its plan line, that was in place and is missing now.
    pub fn missing(&mut self, object: &str, now: Instant) -> Decision {
        let history = self.objects.entry(object.to_owned()).or_default();
        if history.paused_until.is_some_and(|until| now < until) {
            return Decision::Wait;
        }
        history.paused_until = None;
        history
            .restored
            .retain(|at| now.duration_since(*at) < WINDOW);
        if history.restored.len() >= LIMIT {
            let pause = (FIRST_PAUSE * 2u32.saturating_pow(history.pauses)).min(LONGEST_PAUSE);
            history.pauses = history.pauses.saturating_add(1);
            history.paused_until = Some(now + pause);
            history.restored.clear();
            return Decision::GiveUp;
        }
        history.restored.push(now);
        Decision::Restore
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
            assert_eq!(backoff.missing("rule", now), Decision::Restore);
        }
    }

    #[test]
    fn an_object_that_is_deleted_again_and_again_is_left_alone_and_reported_once() {
        let start = Instant::now();
        let mut backoff = RepairBackoff::default();
        let decisions: Vec<_> = (0..20)
            .map(|n| backoff.missing("rule", start + Duration::from_millis(n * 100)))
            .collect();
        assert!(decisions[..LIMIT].iter().all(|d| *d == Decision::Restore));
        assert_eq!(decisions[LIMIT], Decision::GiveUp);
        assert!(decisions[LIMIT + 1..].iter().all(|d| *d == Decision::Wait));
        assert_eq!(backoff.paused(start + Duration::from_secs(2)), ["rule"]);
        // Another object is not part of it.
        assert_eq!(backoff.missing("route", start), Decision::Restore);
    }

    #[test]
    fn after_a_pause_the_repair_is_tried_again_and_the_next_pause_is_longer() {
        let mut now = Instant::now();
        let mut backoff = RepairBackoff::default();
        let mut pause = |now: &mut Instant| {
            while backoff.missing("rule", *now) == Decision::Restore {}
            let from = *now;
            while backoff.missing("rule", *now) == Decision::Wait {
                *now += Duration::from_secs(1);
            }
            *now - from
        };
        let first = pause(&mut now);
        let second = pause(&mut now);
        assert!(second > first, "{first:?} {second:?}");
    }
}
