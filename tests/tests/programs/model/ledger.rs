//! Counters by name, as the model changes them, in the format in which
//! [`changes_between`](crate::bench::changes_between) writes what the programs changed.

use std::collections::BTreeMap;

use eni_steer_core::counters::Count;

/// The counters that a scenario changes.
#[derive(Debug, Default)]
pub struct Ledger {
    counts: BTreeMap<String, Count>,
    sources: BTreeMap<String, (Count, u64)>,
}

impl Ledger {
    /// Adds to a counter: `total out ipv4`, `cell 172.16.20.176 home in passed` ...
    pub fn add(&mut self, name: String, count: Count) {
        let entry = self.counts.entry(name).or_default();
        *entry = entry.wrapping_add(count);
    }

    /// Adds to the entry of a source: `source 192.0.2.10 in`.
    pub fn add_source(&mut self, name: String, count: Count, mismatched: bool) {
        let entry = self.sources.entry(name).or_default();
        entry.0 = entry.0.wrapping_add(count);
        entry.1 += if mismatched { count.packets } else { 0 };
    }

    /// Returns one line for each counter.
    pub fn lines(&self) -> Vec<String> {
        let counts = self.counts.iter().map(|(name, count)| line(name, *count));
        let sources = self.sources.iter().map(|(name, (count, mismatched))| {
            let name = match mismatched {
                0 => name.clone(),
                packets => format!("{name} mismatched {packets}"),
            };
            line(&name, *count)
        });
        let mut lines: Vec<String> = counts.chain(sources).collect();
        lines.sort();
        lines
    }
}

fn line(name: &str, count: Count) -> String {
    format!("{name} {}/{}", count.packets, count.bytes)
}
