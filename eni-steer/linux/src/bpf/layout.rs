//! Type, key size, value size and number of entries of each map. Opening a pinned map compares it
//! with this layout.

use aya_obj::generated::bpf_map_type::{self, *};
use eni_steer_common::{
    AddressCell, AddressRow, DestinationKey, EniCounters, EniRow, MARKED, MAX_ENIS, NextHop, Owner,
    PrefixKey, Settings, ShortTable, SourceSet, StrayKey, StrayValue, WAYS, names,
};

/// `BPF_F_NO_PREALLOC`: the kernel allocates an entry when it is first written.
const NO_PREALLOC: u32 = 1;
/// Bytes that the kernel needs for an entry of a hash map besides key and values
/// (`struct htab_elem`, its bucket, its list node).
const HASH_OVERHEAD: u64 = 80;
/// Bytes that the kernel needs for an entry of a trie besides key and value: a node
/// (`struct lpm_trie_node`), and possibly a second, inner one.
const TRIE_OVERHEAD: u64 = 2 * 40;

/// The largest page size, which arm64 has. A ring buffer consists of whole pages.
const LARGEST_PAGE: u32 = 64 << 10;

/// The sizes with which the maps are created. The size of the source table is given in bytes,
/// because its memory grows with the number of CPUs that the machine may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of owned addresses of each family, and of addresses and prefixes that are
    /// counted.
    pub addresses: u32,
    /// Maximum number of delegated prefixes.
    pub prefixes: u32,
    /// Maximum number of routes in the tables of all ENIs together.
    pub next_hops: u32,
    /// Maximum number of exempt destinations.
    pub exempt: u32,
    /// Maximum number of triples of an owned address, an ENI that does not own it, and a direction.
    /// The kernel allocates memory only for those that occur.
    pub strays: u32,
    /// Memory for the source table in bytes.
    pub source_bytes: u64,
    /// Size of the ring buffer of events in bytes, rounded up to a power of two and at least 64 KiB
    /// (the largest page).
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
    /// How many sets of sources fit into their memory.
    fn source_sets(&self, cpus: u32) -> u32 {
        let set = self.spec(names::SOURCES).entry_bytes(cpus);
        let sets = self.source_bytes / set;
        u32::try_from(sets).unwrap_or(u32::MAX).max(8)
    }

    /// The layout of every map, in the order of [`names::PINNED`].
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

    /// The layout of a map, except for what depends on the number of CPUs.
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

/// The layout of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub name: &'static str,
    pub kind: bpf_map_type,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    pub flags: u32,
    /// Whether the number of entries is configurable. A pinned map keeps the number it was created
    /// with.
    pub sized: bool,
    /// How many items fit into one entry. For the source table: on all CPUs together.
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

    /// With a value for each CPU.
    fn per_cpu(mut self) -> Self {
        self.kind = match self.kind {
            BPF_MAP_TYPE_ARRAY => BPF_MAP_TYPE_PERCPU_ARRAY,
            _ => BPF_MAP_TYPE_PERCPU_HASH,
        };
        self
    }

    /// With memory that the kernel allocates per entry.
    fn lazy(mut self) -> Self {
        self.flags = NO_PREALLOC;
        self
    }

    /// With a configurable number of entries.
    fn sized(mut self) -> Self {
        self.sized = true;
        self
    }

    /// Returns whether entries are added and removed, so that their number is worth reporting.
    pub(super) fn counts_entries(&self) -> bool {
        self.slots > 1
            || !matches!(
                self.kind,
                BPF_MAP_TYPE_ARRAY | BPF_MAP_TYPE_PERCPU_ARRAY | BPF_MAP_TYPE_RINGBUF
            )
    }

    /// Returns whether the kernel allocates entries when they are first written.
    pub(super) fn is_lazy(&self) -> bool {
        self.flags & NO_PREALLOC != 0
    }

    /// Bytes that one entry needs, as far as a program outside the kernel can tell.
    pub(super) fn entry_bytes(&self, cpus: u32) -> u64 {
        let key = u64::from(self.key);
        let value = u64::from(self.value.next_multiple_of(8));
        let cpus = u64::from(cpus);
        match self.kind {
            BPF_MAP_TYPE_ARRAY => value,
            BPF_MAP_TYPE_PERCPU_ARRAY => value * cpus,
            BPF_MAP_TYPE_HASH => key + value + HASH_OVERHEAD,
            BPF_MAP_TYPE_LPM_TRIE => key + value + TRIE_OVERHEAD,
            BPF_MAP_TYPE_RINGBUF => 1,
            _ => key + value * cpus + HASH_OVERHEAD,
        }
    }
}
