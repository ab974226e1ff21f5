//! The names of maps, programs, globals and pins. No other file writes them out.

/// Version of the layout of all pinned maps. It is part of the name of the pins' directory, so
/// that versions with different layouts never share a map.
pub const LAYOUT: u32 = 2;

/// Name of the ingress program. The kernel keeps at most 15 bytes of a name (`BPF_OBJ_NAME_LEN`).
pub const INGRESS: &str = "eni_steer_in";
/// Name of the egress program.
pub const EGRESS: &str = "eni_steer_out";

/// Global in `.rodata`: the slot of the ENI that the program is attached to (`u32`).
pub const GLOBAL_ENI: &str = "ENI_SLOT";
/// Global in `.rodata`: 1 if the kernel has `bpf_ktime_get_coarse_ns` (5.11 and later), else 0
/// (`u32`).
pub const GLOBAL_COARSE_CLOCK: &str = "COARSE_CLOCK";
/// Global in `.rodata`: the number of entries of [`SOURCES`] (`u32`).
pub const GLOBAL_SOURCE_SETS: &str = "SOURCE_SETS";
/// Global in `.rodata`: the [`crate::SourceSecret`].
pub const GLOBAL_SOURCE_SECRET: &str = "SOURCE_SECRET";

/// Array of [`crate::EniRow`], indexed by the slot of the ENI.
pub const ENIS: &str = "ENIS";
/// Hash of an IPv4 address (4 bytes, network order) to [`crate::Owner`].
pub const OWNERS4: &str = "OWNERS4";
/// Hash of an IPv6 address (16 bytes, network order) to [`crate::Owner`].
pub const OWNERS6: &str = "OWNERS6";
/// Array of [`crate::AddressRow`], indexed by the slot of the address.
pub const ADDRESSES: &str = "ADDRESSES";
/// LPM trie of [`crate::PrefixKey`] to [`crate::Owner`]: the prefixes delegated to an ENI.
pub const PREFIXES: &str = "PREFIXES";
/// LPM trie of [`crate::DestinationKey`] to [`crate::NextHop`]: the routes of each ENI's table.
pub const NEXTHOPS: &str = "NEXTHOPS";
/// Array of [`crate::ShortTable`], indexed by [`crate::ShortTable::index`].
pub const SHORT_TABLES: &str = "SHORT_TABLES";
/// LPM trie of [`crate::PrefixKey`] to `u32`: the destinations that are never steered.
pub const EXEMPT: &str = "EXEMPT";
/// Array with one [`crate::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// Per-CPU array of [`crate::EniCounters`], indexed by the slot of the ENI.
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array of [`crate::AddressCell`], indexed by the slot of the address.
pub const CELLS: &str = "CELLS";
/// Per-CPU hash of [`crate::StrayKey`] to [`crate::StrayValue`], never evicted. It has the counts
/// that are not in [`crate::AddressCell::first`].
pub const STRAYS: &str = "STRAYS";
/// Per-CPU array of [`crate::SourceSet`], indexed by [`crate::SourceHash::set`].
pub const SOURCES: &str = "SOURCES";
/// Array of `u64`. An entry is not 0 if a program ever wrote to one of [`crate::MARKED`] entries
/// of [`SOURCES`].
pub const SOURCE_MARKS: &str = "SOURCE_MARKS";
/// Ring buffer of [`crate::Event`].
pub const EVENTS: &str = "EVENTS";

/// Array with the [`crate::SourceSecret`]. Only the loader reads it, to give every program the same.
pub const SECRET: &str = "SECRET";

/// Every map that programs use and that is pinned, in the order in which the loader pins them.
pub const PINNED: [&str; 15] = [
    ENIS,
    ADDRESSES,
    OWNERS4,
    OWNERS6,
    PREFIXES,
    NEXTHOPS,
    SHORT_TABLES,
    EXEMPT,
    SETTINGS,
    COUNTERS,
    CELLS,
    STRAYS,
    SOURCES,
    SOURCE_MARKS,
    EVENTS,
];

/// The programs of `explain --live`, by family, and the tracepoints at which they run.
pub const LOOKUP_PROGRAMS: [(&str, &str); 2] = [
    ("eni_steer_fib4", "fib_table_lookup"),
    ("eni_steer_fib6", "fib6_table_lookup"),
];
/// Global: [`crate::Offsets`].
pub const GLOBAL_OFFSETS: &str = "OFFSETS";
/// Global: the source that is watched, `[u32; 4]` in network byte order.
pub const GLOBAL_SOURCE: &str = "SOURCE";
/// Global: the inode of the network namespace that is watched (`u32`).
pub const GLOBAL_NAMESPACE: &str = "NAMESPACE";
/// Per-CPU hash of [`crate::LookupKey`] to `u64`. It is not pinned.
pub const LOOKUPS: &str = "LOOKUPS";
/// Per-CPU array with one `u64`: lookups that [`LOOKUPS`] had no room for. It is not pinned.
pub const LOST_LOOKUPS: &str = "LOST";
