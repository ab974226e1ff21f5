//! Which lines the log gets about repairs. The first repair of a cause is a line at once; those that
//! follow within a minute become one line.
//!
//! Pure: time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long repairs of one cause are collected.
const WINDOW: Duration = Duration::from_secs(60);

/// Repairs of one cause within the window.
#[derive(Clone, Debug)]
struct Collected {
    since: Instant,
    more: usize,
    last: String,
}

/// The repairs of the last minute, by cause.
#[derive(Clone, Debug, Default)]
pub struct RepairLog {
    causes: BTreeMap<String, Collected>,
}

impl RepairLog {
    /// Notes the objects that a pass restored, and what removed them as far as it is known. Returns
    /// a line, unless the cause has had one within the last minute.
    pub fn note(&mut self, cause: &str, objects: &[String], now: Instant) -> Option<String> {
        let first = objects.first()?;
        if let Some(collected) = self.causes.get_mut(cause) {
            collected.more += objects.len();
            collected.last = first.clone();
            return None;
        }
        let collected = Collected {
            since: now,
            more: 0,
            last: String::new(),
        };
        self.causes.insert(cause.to_owned(), collected);
        Some(match objects.len() {
            1 => format!("restored what {cause} removed: {first}"),
            count => format!("restored {count} rules or routes that {cause} removed: {first} ..."),
        })
    }

    /// The lines about causes whose minute is over.
    pub fn summaries(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.causes.retain(|cause, collected| {
            if now.duration_since(collected.since) < WINDOW {
                return true;
            }
            if collected.more > 0 {
                lines.push(format!(
                    "restored {} more rules or routes that {cause} removed within a minute, the last: \
                     {}",
                    collected.more, collected.last
                ));
            }
            false
        });
        lines
    }

    /// When the next line is due; `None`: no repair waits for one.
    pub fn due(&self) -> Option<Instant> {
        let waiting = self.causes.values().filter(|collected| collected.more > 0);
        waiting.map(|collected| collected.since + WINDOW).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_line_at_once_and_one_for_the_rest_of_the_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut log = RepairLog::default();
        let rule = |n: u64| vec![format!("+ rule {n}")];
        let line = log.note("ip (pid 7)", &rule(0), start);
        assert_eq!(
            line.as_deref(),
            Some("restored what ip (pid 7) removed: + rule 0")
        );
        for n in 1..50 {
            assert_eq!(log.note("ip (pid 7)", &rule(n), at(n)), None);
            assert!(log.summaries(at(n)).is_empty());
        }
        assert!(
            log.note("the kernel", &[rule(1), rule(2)].concat(), at(5))
                .is_some()
        );
        assert_eq!(log.due(), Some(at(60)));
        assert_eq!(
            log.summaries(at(60)),
            [
                "restored 49 more rules or routes that ip (pid 7) removed within a minute, the last: + rule 49"
            ]
        );
        assert_eq!(log.due(), None);
        // A new minute begins with a line at once; a single repair has no summary.
        assert!(log.note("ip (pid 7)", &rule(1), at(61)).is_some());
        assert!(log.summaries(at(200)).is_empty());
    }
}
