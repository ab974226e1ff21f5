//! Who owns an address, and how an owner reaches a destination.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
};
use eni_steer_common::{DestinationKey, NextHop, Owner, PrefixKey};

use crate::ip::Ip;

#[map]
static OWNERS4: HashMap<u32, Owner> = HashMap::pinned(1, 0);

#[map]
static OWNERS6: HashMap<[u32; 4], Owner> = HashMap::pinned(1, 0);

#[map]
static PREFIXES: LpmTrie<PrefixKey, Owner> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);

#[map]
static NEXTHOPS: LpmTrie<DestinationKey, NextHop> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);

#[map]
static EXEMPT: LpmTrie<PrefixKey, u32> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);

/// The owner of exactly this IPv4 address.
#[inline(always)]
pub fn of_v4(address: &u32) -> Option<&'static Owner> {
    // SAFETY: the value is read once, field by field. If the user side removes the entry
    // meanwhile, its memory stays a valid `Owner` of this map until the program ends.
    unsafe { OWNERS4.get(address) }
}

/// The owner of exactly this IPv6 address.
#[inline(always)]
pub fn of_v6(address: &[u32; 4]) -> Option<&'static Owner> {
    // SAFETY: as above.
    unsafe { OWNERS6.get(address) }
}

/// The owner of the longest delegated prefix that holds the address.
#[inline(always)]
pub fn by_prefix<A: Ip>(address: &A) -> Option<&'static Owner> {
    PREFIXES.get(prefix_key(address))
}

/// Whether the destination is exempt from steering.
#[inline(always)]
pub fn is_exempt<A: Ip>(destination: &A) -> bool {
    EXEMPT.get(prefix_key(destination)).is_some()
}

/// How the ENI's own table reaches the destination.
#[inline(always)]
pub fn next_hop<A: Ip>(eni: u16, destination: &A) -> Option<&'static NextHop> {
    NEXTHOPS.get(Key::new(
        DestinationKey::BITS + A::BITS,
        DestinationKey::new(eni, A::FAMILY, destination.address()),
    ))
}

#[inline(always)]
fn prefix_key<A: Ip>(address: &A) -> Key<PrefixKey> {
    Key::new(
        PrefixKey::BITS + A::BITS,
        PrefixKey::new(A::FAMILY, address.address()),
    )
}
