//! When a pass is due. Events set a flag, a pass does the work. Pure: time is an argument.

use std::time::{Duration, Instant};

/// How long no urgent event must come before a pass begins.
const QUIET: Duration = Duration::from_millis(5);
/// The longest time from the first urgent event to a pass.
const PATIENCE: Duration = Duration::from_millis(25);
/// The same for events that rarely matter: routes of other programs.
const RELAXED_QUIET: Duration = Duration::from_millis(200);
const RELAXED_PATIENCE: Duration = Duration::from_secs(2);

/// How soon a pass should follow an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Soon: it rarely changes the plan.
    Relaxed,
    /// At once: it probably changes the plan.
    Urgent,
}

/// Events waiting for a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    urgent: Option<Burst>,
    relaxed: Option<Burst>,
    retry: Option<Instant>,
}

/// First and last event of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Burst {
    fn due(self, quiet: Duration, patience: Duration) -> Instant {
        (self.last + quiet).min(self.first + patience)
    }
}

impl Triggers {
    /// Notes an event.
    pub fn note(&mut self, urgency: Urgency, now: Instant) {
        let burst = match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Relaxed => &mut self.relaxed,
        };
        match burst {
            Some(burst) => burst.last = now,
            None => {
                *burst = Some(Burst {
                    first: now,
                    last: now,
                })
            }
        }
    }

    /// Notes that a pass is due at this time, even without an event: a step failed, or a pause ends.
    pub fn retry_at(&mut self, at: Instant) {
        self.retry = Some(self.retry.map_or(at, |earlier| earlier.min(at)));
    }

    /// When the next pass is due; `None`: nothing has happened.
    pub fn due(&self) -> Option<Instant> {
        let urgent = self.urgent.map(|burst| burst.due(QUIET, PATIENCE));
        let relaxed = self
            .relaxed
            .map(|burst| burst.due(RELAXED_QUIET, RELAXED_PATIENCE));
        [urgent, relaxed, self.retry].into_iter().flatten().min()
    }

    /// Forgets everything noted so far, because a pass begins now.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How long to wait after this many failures in a row.
pub fn backoff(failures: u32) -> Duration {
    let doubled = 1u64 << failures.min(9);
    Duration::from_millis(100 * doubled).min(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_events_delays_a_pass_but_never_for_long() {
        let start = Instant::now();
        let mut triggers = Triggers::default();
        assert_eq!(triggers.due(), None);
        for ms in 0..1000 {
            triggers.note(Urgency::Urgent, start + Duration::from_millis(ms));
        }
        assert_eq!(triggers.due(), Some(start + PATIENCE));
    }

    #[test]
    fn a_single_event_waits_only_for_quiet() {
        let start = Instant::now();
        let mut triggers = Triggers::default();
        triggers.note(Urgency::Urgent, start);
        assert_eq!(triggers.due(), Some(start + QUIET));
        triggers.clear();
        assert_eq!(triggers.due(), None);
    }

    #[test]
    fn an_urgent_event_does_not_wait_for_a_relaxed_one() {
        let start = Instant::now();
        let mut triggers = Triggers::default();
        triggers.note(Urgency::Relaxed, start);
        triggers.note(Urgency::Urgent, start);
        assert_eq!(triggers.due(), Some(start + QUIET));
    }

    #[test]
    fn retries_come_later_and_later_up_to_half_a_minute() {
        let waits: Vec<_> = (0..12).map(backoff).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits[0], Duration::from_millis(100));
        assert_eq!(waits[11], Duration::from_secs(30));
    }
}
