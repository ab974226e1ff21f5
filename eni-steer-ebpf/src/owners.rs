//! Looks up who owns an address, and through which next hop an owner reaches a destination.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
};
use eni_steer_common::{
    Address, DestinationKey, EniRow, Family, NextHop, Owner, PrefixKey, ShortTable,
};

#[map]
static OWNERS4: HashMap<u32, Owner> = HashMap::pinned(1, 0);

#[map]
static OWNERS6: HashMap<[u32; 4], Owner> = HashMap::pinned(1, 0);

#[map]
static PREFIXES: LpmTrie<PrefixKey, Owner> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);

#[map]
static NEXTHOPS: LpmTrie<DestinationKey, NextHop> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);

#[map]
static SHORT_TABLES: Array<ShortTable> = Array::pinned(ShortTable::ENTRIES, 0);

#[map]
static EXEMPT: LpmTrie<PrefixKey, u32> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);

/// Returns the owner of exactly this IPv4 address.
#[inline(always)]
pub fn of_v4(address: &u32) -> Option<&'static Owner> {
    // SAFETY: the map is preallocated, so an entry's memory stays part of the map for as long as
    // the program runs. If user space deletes the entry meanwhile and the kernel reuses it, a
    // read returns fields of another entry: a valid `Owner` too, since every bit pattern is one.
    unsafe { OWNERS4.get(address) }
}

/// Returns the owner of exactly this IPv6 address.
#[inline(always)]
pub fn of_v6(address: &[u32; 4]) -> Option<&'static Owner> {
    // SAFETY: OWNERS6 is preallocated as OWNERS4 is, so an entry's memory stays part of the map
    // for as long as the program runs and always holds a valid `Owner`.
    unsafe { OWNERS6.get(address) }
}

/// Returns the owner of the longest delegated prefix that contains the address.
#[inline(always)]
pub fn by_prefix(family: Family, address: Address) -> Option<&'static Owner> {
    PREFIXES.get(prefix_key(family, address))
}

/// Returns whether the configuration exempts the destination from steering.
#[inline(always)]
pub fn is_exempt(family: Family, destination: Address) -> bool {
    EXEMPT.get(prefix_key(family, destination)).is_some()
}

/// Returns how the ENI at slot `eni` reaches the destination by its routing table, of which the
/// maps hold a copy; `None` if the table has no route.
///
/// `row` is the ENI's row. It names the short table that is in effect, if the routes fit into
/// one; otherwise the trie is searched. See [`ShortTable`].
#[inline(always)]
pub fn next_hop(
    eni: u16,
    row: &EniRow,
    family: Family,
    destination: Address,
) -> Option<&'static NextHop> {
    let which = row.short[family.index()];
    if which != 0
        && let Some(table) = SHORT_TABLES.get(ShortTable::index(eni, family, which))
    {
        return table.find(family, destination);
    }
    NEXTHOPS.get(Key::new(
        DestinationKey::BITS + bits(family),
        DestinationKey::new(eni, family, destination),
    ))
}

#[inline(always)]
fn prefix_key(family: Family, address: Address) -> Key<PrefixKey> {
    Key::new(
        PrefixKey::BITS + bits(family),
        PrefixKey::new(family, address),
    )
}

/// Returns how many bits an address of the family has.
#[inline(always)]
fn bits(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}
