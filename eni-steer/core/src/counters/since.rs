//! The counters of a window: the difference of two snapshots.

use std::collections::{BTreeMap, HashMap};

use super::snapshot::{AddressCounters, ByClass, Count, EniCounters, Snapshot, Source, Totals};

impl Snapshot {
    /// The packets counted since an earlier snapshot.
    ///
    /// An ENI, cell or source that the earlier snapshot lacks counts from its beginning. One that
    /// only the earlier snapshot has is left out: the difference of an evicted source is not known.
    /// A counter that is smaller than before was reset in between and counts from the reset.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let enis: HashMap<_, _> = earlier
            .enis
            .iter()
            .map(|eni| ((eni.id, eni.mac), eni))
            .collect();
        let cells: HashMap<_, _> = earlier.cells.iter().map(|cell| (key(cell), cell)).collect();
        let sources: HashMap<_, _> = earlier
            .sources
            .iter()
            .map(|source| ((source.source, source.eni, source.direction), source))
            .collect();
        Self {
            taken_at: self.taken_at,
            since: Some(earlier.taken_at),
            enis: self
                .enis
                .iter()
                .map(|eni| match enis.get(&(eni.id, eni.mac)) {
                    Some(before) => eni_since(eni, before),
                    None => eni.clone(),
                })
                .collect(),
            cells: self
                .cells
                .iter()
                .map(|cell| match cells.get(&key(cell)) {
                    Some(before) => cell_since(cell, before),
                    None => cell.clone(),
                })
                .filter(|cell| {
                    !(cell.went().is_zero() && cell.steered.is_zero() && cell.dropped.is_zero())
                })
                .collect(),
            sources: self
                .sources
                .iter()
                .map(
                    |source| match sources.get(&(source.source, source.eni, source.direction)) {
                        Some(before) => source_since(source, before),
                        None => source.clone(),
                    },
                )
                .filter(|source| !source.count.is_zero())
                .collect(),
            maps: self.maps.clone(),
        }
    }
}

/// What identifies a cell in both snapshots.
fn key(cell: &AddressCounters) -> impl std::hash::Hash + Eq + use<> {
    (cell.address, cell.owner, cell.eni, cell.direction)
}

fn eni_since(now: &EniCounters, before: &EniCounters) -> EniCounters {
    EniCounters {
        totals: Totals {
            ingress: class_since(&now.totals.ingress, &before.totals.ingress),
            egress: class_since(&now.totals.egress, &before.totals.egress),
        },
        fates: map_since(&now.fates, &before.fates, count_since, Count::is_zero),
        losses: map_since(&now.losses, &before.losses, number_since, |n| n == 0),
        ..now.clone()
    }
}

fn cell_since(now: &AddressCounters, before: &AddressCounters) -> AddressCounters {
    AddressCounters {
        passed: count_since(now.passed, before.passed),
        steered: count_since(now.steered, before.steered),
        dropped: count_since(now.dropped, before.dropped),
        exempt: count_since(now.exempt, before.exempt),
        ..now.clone()
    }
}

fn source_since(now: &Source, before: &Source) -> Source {
    // The entry was evicted and came back: all its numbers began at zero again.
    if now.count.packets < before.count.packets {
        return now.clone();
    }
    Source {
        count: count_since(now.count, before.count),
        mismatched: number_since(now.mismatched, before.mismatched),
        ..now.clone()
    }
}

fn class_since(now: &ByClass, before: &ByClass) -> ByClass {
    ByClass {
        ipv4: count_since(now.ipv4, before.ipv4),
        ipv6: count_since(now.ipv6, before.ipv6),
        other: count_since(now.other, before.other),
    }
}

fn count_since(now: Count, before: Count) -> Count {
    if now.packets < before.packets || now.bytes < before.bytes {
        return now;
    }
    now.saturating_sub(before)
}

fn number_since(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn map_since<V: Copy + Default>(
    now: &BTreeMap<&'static str, V>,
    before: &BTreeMap<&'static str, V>,
    since: impl Fn(V, V) -> V,
    is_zero: impl Fn(V) -> bool,
) -> BTreeMap<&'static str, V> {
    now.iter()
        .map(|(label, value)| {
            let before = before.get(label).copied().unwrap_or_default();
            (*label, since(*value, before))
        })
        .filter(|(_, value)| !is_zero(*value))
        .collect()
}
