//! Names of maps, programs and pins: written here and nowhere else.

/// Version of the layout of all pinned maps; names the directory of the pins.
pub const LAYOUT: u32 = 2;

/// Ingress program (at most 15 bytes: the kernel cuts longer names).
pub const INGRESS: &str = "eni_steer_in";
/// Egress program.
pub const EGRESS: &str = "eni_steer_out";

/// `.rodata` global of each loaded program: the slot of the ENI it is attached to (`u32`).
pub const GLOBAL_ENI: &str = "ENI_SLOT";
/// `.rodata` global: 1 if the kernel knows `bpf_ktime_get_coarse_ns` (5.11 and later), else 0 (`u32`).
pub const GLOBAL_COARSE_CLOCK: &str = "COARSE_CLOCK";
/// `.rodata` global: entries of [`SOURCES`] (`u32`).
pub const GLOBAL_SOURCE_SETS: &str = "SOURCE_SETS";
/// `.rodata` global: see [`crate::SourceKey::hash`] (`u64`).
pub const GLOBAL_SOURCE_SEED: &str = "SOURCE_SEED";

/// Array of [`crate::EniRow`], indexed by ENI slot.
pub const ENIS: &str = "ENIS";
/// Hash of IPv4 address (4 bytes, network order) to [`crate::Owner`].
pub const OWNERS4: &str = "OWNERS4";
/// Hash of IPv6 address (16 bytes, network order) to [`crate::Owner`].
pub const OWNERS6: &str = "OWNERS6";
/// Array of [`crate::AddressRow`], indexed by address slot.
pub const ADDRESSES: &str = "ADDRESSES";
/// LPM trie of [`crate::PrefixKey`] to [`crate::Owner`]: prefixes delegated to an ENI.
pub const PREFIXES: &str = "PREFIXES";
/// LPM trie of [`crate::DestinationKey`] to [`crate::NextHop`]: each ENI's table.
pub const NEXTHOPS: &str = "NEXTHOPS";
/// Array of [`crate::ShortTable`], indexed by [`crate::ShortTable::index`].
pub const SHORT_TABLES: &str = "SHORT_TABLES";
/// LPM trie of [`crate::PrefixKey`] to `u32`: destinations that are never steered.
pub const EXEMPT: &str = "EXEMPT";
/// Array with one [`crate::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// Per-CPU array of [`crate::EniCounters`], indexed by ENI slot.
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array of [`crate::AddressCell`], indexed by address slot.
pub const CELLS: &str = "CELLS";
/// Per-CPU hash of [`crate::StrayKey`] to [`crate::StrayValue`], never evicted: those that are
/// not in [`crate::AddressCell::first`].
pub const STRAYS: &str = "STRAYS";
/// Per-CPU array of [`crate::SourceSet`], indexed by [`crate::SourceHash::set`].
pub const SOURCES: &str = "SOURCES";
/// Array of `u64`: not 0 if one of [`crate::MARKED`] entries of [`SOURCES`] was ever written to.
pub const SOURCE_MARKS: &str = "SOURCE_MARKS";
/// Ring buffer of [`crate::Event`].
pub const EVENTS: &str = "EVENTS";

/// Every map that is pinned, in the order in which a directory of pins is filled.
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
