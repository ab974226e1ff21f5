//! Tells repair from fight: an object that has to be restored again and again has somebody
//! who does not want it. Then we back off, say it once, and let the programs hold symmetry.
//! Pure: time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Restorations of one object within [`WINDOW`] that make a fight.
const LIMIT: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// First truce; each further one is twice as long.
const TRUCE: Duration = Duration::from_secs(30);
const LONGEST_TRUCE: Duration = Duration::from_secs(480);

/// What to do about an object that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Restore it.
    Restore,
    /// A fight has just been recognised: leave it, and say so.
    Surrender,
    /// A truce holds: leave it.
    Wait,
}

/// One object's history.
#[derive(Clone, Debug, Default)]
struct History {
    restored: Vec<Instant>,
    truce_until: Option<Instant>,
    truces: u32,
}

/// All objects that were ever restored lately.
#[derive(Clone, Debug, Default)]
pub struct Fights {
    objects: BTreeMap<String, History>,
}

impl Fights {
    /// An object, named by its line, is missing although it was there.
    pub fn missing(&mut self, object: &str, now: Instant) -> Decision {
        let history = self.objects.entry(object.to_owned()).or_default();
        if history.truce_until.is_some_and(|until| now < until) {
            return Decision::Wait;
        }
        history.truce_until = None;
        history
            .restored
            .retain(|at| now.duration_since(*at) < WINDOW);
        if history.restored.len() >= LIMIT {
            let truce = (TRUCE * 2u32.saturating_pow(history.truces)).min(LONGEST_TRUCE);
            history.truces = history.truces.saturating_add(1);
            history.truce_until = Some(now + truce);
            history.restored.clear();
            return Decision::Surrender;
        }
        history.restored.push(now);
        Decision::Restore
    }

    /// Objects for which a truce holds.
    pub fn under_truce(&self, now: Instant) -> Vec<&str> {
        self.objects
            .iter()
            .filter(|(_, history)| history.truce_until.is_some_and(|until| now < until))
            .map(|(object, _)| object.as_str())
            .collect()
    }

    /// When the next truce ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.objects
            .values()
            .filter_map(|history| history.truce_until)
            .min()
    }

    /// Forgets objects that have been at peace for long: the table stays small.
    pub fn forget_old(&mut self, now: Instant) {
        self.objects.retain(|_, history| {
            history
                .truce_until
                .is_some_and(|until| now < until + LONGEST_TRUCE)
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
        let mut fights = Fights::default();
        for minute in 0..100 {
            let now = start + Duration::from_secs(minute * 30);
            assert_eq!(fights.missing("rule", now), Decision::Restore);
        }
    }

    #[test]
    fn the_same_object_lost_again_and_again_is_a_fight_and_is_said_once() {
        let start = Instant::now();
        let mut fights = Fights::default();
        let decisions: Vec<_> = (0..20)
            .map(|n| fights.missing("rule", start + Duration::from_millis(n * 100)))
            .collect();
        assert!(decisions[..LIMIT].iter().all(|d| *d == Decision::Restore));
        assert_eq!(decisions[LIMIT], Decision::Surrender);
        assert!(decisions[LIMIT + 1..].iter().all(|d| *d == Decision::Wait));
        assert_eq!(fights.under_truce(start + Duration::from_secs(2)), ["rule"]);
        // Another object is not part of it.
        assert_eq!(fights.missing("route", start), Decision::Restore);
    }

    #[test]
    fn after_a_truce_it_is_tried_again_and_the_next_truce_is_longer() {
        let mut now = Instant::now();
        let mut fights = Fights::default();
        let mut truce = |now: &mut Instant| {
            while fights.missing("rule", *now) == Decision::Restore {}
            let from = *now;
            while fights.missing("rule", *now) == Decision::Wait {
                *now += Duration::from_secs(1);
            }
            *now - from
        };
        let first = truce(&mut now);
        let second = truce(&mut now);
        assert!(second > first, "{first:?} {second:?}");
    }
}
