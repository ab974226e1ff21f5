//! How large the maps are made, and what they cost.

use aya_obj::generated::bpf_map_type::{self, *};
use eni_steer_common::{
    AddressCell, AddressRow, DestinationKey, EniCounters, EniRow, MARKED, MAX_ENIS, NextHop, Owner,
    PrefixKey, Settings, ShortTable, SourceSet, StrayKey, StrayValue, WAYS, names,
};
use eni_steer_core::counters::MapMemory;
use serde::Serialize;

/// `BPF_F_NO_PREALLOC`: entries are allocated when they are first used.
const NO_PREALLOC: u32 = 1;
/// What the kernel keeps for an entry of a hash map beside key and values (`struct htab_elem`,
/// its bucket, its list node).
const HASH_OVERHEAD: u64 = 80;
/// A node of a trie (`struct lpm_trie_node`); a prefix can cost a second, inner one.
const TRIE_OVERHEAD: u64 = 2 * 40;

/// Of arm64; a ring buffer is made of whole pages.
const LARGEST_PAGE: u32 = 64 << 10;

/// Sizes of the maps. Memory of per-CPU maps grows with the CPUs the machine may have, so
/// what matters is given in bytes, not in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Owned addresses and prefixes of each family, and the cells that count them.
    pub addresses: u32,
    /// Delegated prefixes.
    pub prefixes: u32,
    /// Routes of all ENIs' tables together.
    pub next_hops: u32,
    /// Exempt destinations.
    pub exempt: u32,
    /// Pairs of an owned address and an ENI that does not own it, in each direction: memory
    /// is taken only for those that occur.
    pub strays: u32,
    /// Memory for sources, bytes.
    pub source_bytes: u64,
    /// Ring buffer of events, bytes: rounded up to a power of two, at least 64 KiB (the largest
    /// page).
    pub event_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            addresses: 4096,
            prefixes: 1024,
            next_hops: 8192,
            exempt: 1024,
            strays: 32768,
            source_bytes: 32 << 20,
            event_bytes: 256 << 10,
        }
    }
}

impl Limits {
    /// How many sources each CPU can list on a machine that may have this many CPUs.
    pub fn sources(&self, cpus: u32) -> u32 {
        self.source_sets(cpus).saturating_mul(WAYS as u32)
    }

    /// How many sets of them fit into their budget.
    fn source_sets(&self, cpus: u32) -> u32 {
        let set = entry_bytes(&self.spec(names::SOURCES), cpus);
        let sets = self.source_bytes / set;
        u32::try_from(sets).unwrap_or(u32::MAX).max(8)
    }

    /// What each map is, in the order of [`names::PINNED`].
    pub(super) fn specs(&self, cpus: u32) -> Vec<Spec> {
        names::PINNED
            .iter()
            .map(|name| {
                let mut spec = self.spec(name);
                if spec.name == names::SOURCES {
                    spec.entries = self.source_sets(cpus);
                    spec.slots = WAYS as u32 * cpus;
                }
                if spec.name == names::SOURCE_MARKS {
                    spec.entries = self.source_sets(cpus).div_ceil(MARKED);
                }
                spec
            })
            .collect()
    }

    fn spec(&self, name: &'static str) -> Spec {
        let enis = u32::from(MAX_ENIS);
        match name {
            names::ENIS => Spec::array::<EniRow>(name, enis),
            names::ADDRESSES => Spec::array::<AddressRow>(name, self.addresses).sized(),
            names::OWNERS4 => Spec::hash::<[u8; 4], Owner>(name, self.addresses),
            names::OWNERS6 => Spec::hash::<[u8; 16], Owner>(name, self.addresses),
            names::PREFIXES => Spec::trie::<PrefixKey, Owner>(name, self.prefixes),
            names::NEXTHOPS => Spec::trie::<DestinationKey, NextHop>(name, self.next_hops),
            names::SHORT_TABLES => Spec::array::<ShortTable>(name, ShortTable::ENTRIES),
            names::EXEMPT => Spec::trie::<PrefixKey, u32>(name, self.exempt),
            names::SETTINGS => Spec::array::<Settings>(name, 1),
            names::COUNTERS => Spec::array::<EniCounters>(name, enis).per_cpu(),
            names::CELLS => Spec::array::<AddressCell>(name, self.addresses)
                .per_cpu()
                .sized(),
            names::STRAYS => Spec::hash::<StrayKey, StrayValue>(name, self.strays)
                .per_cpu()
                .lazy(),
            names::SOURCES => Spec::array::<SourceSet>(name, 1).per_cpu().sized(),
            names::SOURCE_MARKS => Spec::array::<u64>(name, 1).sized(),
            names::EVENTS => {
                Spec::ring(name, self.event_bytes.next_power_of_two().max(LARGEST_PAGE))
            }
            other => unreachable!("no map is called {other}"),
        }
    }
}

/// One map: what it is and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub name: &'static str,
    pub kind: bpf_map_type,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    pub flags: u32,
    /// Whether `entries` is a matter of configuration rather than of layout.
    pub sized: bool,
    /// How many things an entry has room for, on all CPUs together where each has its own.
    pub slots: u32,
}

impl Spec {
    fn new<K, V>(name: &'static str, kind: bpf_map_type, entries: u32) -> Self {
        Self {
            name,
            kind,
            key: size_of::<K>() as u32,
            value: size_of::<V>() as u32,
            entries,
            flags: 0,
            sized: false,
            slots: 1,
        }
    }

    fn array<V>(name: &'static str, entries: u32) -> Self {
        Self::new::<u32, V>(name, BPF_MAP_TYPE_ARRAY, entries)
    }

    fn hash<K, V>(name: &'static str, entries: u32) -> Self {
        Self::new::<K, V>(name, BPF_MAP_TYPE_HASH, entries).sized()
    }

    fn trie<K, V>(name: &'static str, entries: u32) -> Self {
        let mut spec = Self::new::<K, V>(name, BPF_MAP_TYPE_LPM_TRIE, entries)
            .sized()
            .lazy();
        spec.key += size_of::<u32>() as u32; // the prefix length
        spec
    }

    fn ring(name: &'static str, bytes: u32) -> Self {
        Self::new::<(), ()>(name, BPF_MAP_TYPE_RINGBUF, bytes).sized()
    }

    fn per_cpu(mut self) -> Self {
        self.kind = match self.kind {
            BPF_MAP_TYPE_ARRAY => BPF_MAP_TYPE_PERCPU_ARRAY,
            _ => BPF_MAP_TYPE_PERCPU_HASH,
        };
        self
    }

    fn lazy(mut self) -> Self {
        self.flags = NO_PREALLOC;
        self
    }

    fn sized(mut self) -> Self {
        self.sized = true;
        self
    }

    /// Whether entries come and go, so that how many there are says something.
    pub(super) fn counts_entries(&self) -> bool {
        self.slots > 1
            || !matches!(
                self.kind,
                BPF_MAP_TYPE_ARRAY | BPF_MAP_TYPE_PERCPU_ARRAY | BPF_MAP_TYPE_RINGBUF
            )
    }
}

/// Bytes of an entry, as near as can be said from outside.
fn entry_bytes(spec: &Spec, cpus: u32) -> u64 {
    let (key, value) = (
        u64::from(spec.key),
        u64::from(spec.value.next_multiple_of(8)),
    );
    let cpus = u64::from(cpus);
    match spec.kind {
        BPF_MAP_TYPE_ARRAY => value,
        BPF_MAP_TYPE_PERCPU_ARRAY => value * cpus,
        BPF_MAP_TYPE_HASH => key + value + HASH_OVERHEAD,
        BPF_MAP_TYPE_LPM_TRIE => key + value + TRIE_OVERHEAD,
        BPF_MAP_TYPE_RINGBUF => 1,
        _ => key + value * cpus + HASH_OVERHEAD,
    }
}

/// What a map costs now, and what it can grow to.
pub(super) fn map_memory(spec: &Spec, entries: Option<u32>, cpus: u32) -> MapMemory {
    let entry = entry_bytes(spec, cpus);
    let at_most = entry * u64::from(spec.entries);
    // A map without preallocation has its buckets from the start, and entries as they come.
    let bytes = match entries {
        Some(entries) if spec.flags & NO_PREALLOC != 0 => {
            let buckets = match spec.kind {
                BPF_MAP_TYPE_LPM_TRIE => 0,
                _ => u64::from(spec.entries.next_power_of_two()) * 16,
            };
            buckets + entry * u64::from(entries)
        }
        _ => at_most,
    };
    MapMemory {
        name: spec.name,
        entries,
        capacity: spec.entries.saturating_mul(spec.slots),
        bytes,
        bytes_at_most: at_most.max(bytes),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_of_sources_holds_on_small_and_large_machines() {
        let limits = Limits::default();
        for cpus in [1, 2, 8, 96, 512] {
            let specs = limits.specs(cpus);
            let spec = specs
                .iter()
                .find(|spec| spec.name == names::SOURCES)
                .expect("there is such a map");
            let bytes = map_memory(spec, Some(0), cpus).bytes;
            assert!(bytes <= limits.source_bytes, "{bytes} bytes on {cpus} CPUs");
            assert!(bytes > limits.source_bytes / 2 || cpus > 256);
        }
        assert!(limits.sources(2) > 100_000);
        assert!(limits.sources(96) > 5_000);
    }

    #[test]
    fn all_maps_at_their_defaults_cost_less_than_64_mb_on_16_cpus() {
        let all: u64 = Limits::default()
            .specs(16)
            .iter()
            .map(|spec| map_memory(spec, Some(0), 16).bytes)
            .sum();
        assert!(all < 64 << 20, "{all} bytes");
    }
}
