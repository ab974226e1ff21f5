//! The table of sources: for each CPU a set-associative cache, as processors have them.
//!
//! The hash of a source selects one [`SourceSet`], and the source may be in any of that set's
//! [`WAYS`] entries. A look-up costs a fraction of one in an LRU hash of the kernel. A new source
//! takes the place of an old one without a lock, a list or another CPU, so a flood of sources
//! costs no more than the cache lines that it touches.

use crate::{Address, Count, Direction, Family};

/// Entries of a set.
pub const WAYS: usize = 8;

/// How many sets share one entry of [`crate::names::SOURCE_MARKS`]. Readers skip sets that no
/// program ever wrote to, which are nearly all of them if there are few sources.
pub const MARKED: u32 = 16;

/// A source address on one ENI in one direction.
///
/// On ingress every source is counted, masked to the configured prefix length. On egress only
/// those are that have no exact entry among the owners; an [`crate::AddressCell`] counts the
/// others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The source address.
    pub source: Address,
    /// Slot of the ENI.
    pub eni: u16,
    /// [`Family`] as a number.
    pub family: u8,
    /// [`Direction`] as a number.
    pub direction: u8,
}

/// The counts of a [`SourceKey`] on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceValue {
    /// Packets and bytes on the wire; on egress only those that left by this ENI.
    pub count: Count,
    /// How many of these packets were a mismatch: on ingress another ENI owns the destination, on
    /// egress the source is in a prefix delegated to another ENI.
    pub mismatched: u64,
    /// Time of the last packet on this CPU in nanoseconds of CLOCK_MONOTONIC, as exact as a timer
    /// tick.
    pub last_seen: u64,
}

/// A source and its counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceEntry {
    /// The source; zeros if the entry is empty.
    pub key: SourceKey,
    /// Lower half of jiffies when the program wrote `last_seen`. The program reads the clock only
    /// when this has changed.
    pub tick: u32,
    /// The counts of the source.
    pub value: SourceValue,
}

/// A set: a few sources on one CPU, the value of [`crate::names::SOURCES`].
///
/// The kernel copies a set to user space from its beginning to its end, while a program may write
/// to it. Counts may change meanwhile, but a key must not be read together with the counts of
/// another source. When a program gives an entry to another source it therefore adds one to
/// `begun`, writes the entry, and sets `finished` to the same number. A copy in which the two
/// differ was made in between; [`SourceSet::is_torn`] tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSet {
    /// How many changes of keys are complete.
    pub finished: u32,
    /// One bit for each entry that was used recently. When all bits would be set, all others are
    /// cleared, so at least one is always clear.
    pub recent: u32,
    /// [`SourceHash::tag`] of each entry; 0: the entry is empty.
    pub tags: [u32; WAYS],
    /// The entries. Their order means nothing.
    pub entries: [SourceEntry; WAYS],
    /// How many changes of keys have begun.
    pub begun: u32,
    /// Always zero.
    pub zero: u32,
}

/// Random numbers that only root knows, for [`SourceKey::hash`].
pub type SourceSecret = [u64; 6];

/// The hash of a [`SourceKey`]: it selects the set and tells the sources of a set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceHash(u64);

impl SourceKey {
    /// Makes the key of a packet from `source` seen on the ENI at slot `eni`.
    #[inline(always)]
    pub const fn new(source: Address, family: Family, eni: u16, direction: Direction) -> Self {
        Self {
            source,
            eni,
            family: family as u8,
            direction: direction as u8,
        }
    }

    /// Returns the hash of the key. Senders do not know the secret, so they cannot choose sources
    /// that evict a particular one.
    ///
    /// Each word is multiplied by a secret number of its own, so that whatever two sources differ
    /// in, their sums differ by a number that only the secret decides: for no set of sources do
    /// many collide whatever the secret is (multilinear hashing). Of a sum, adjacent addresses are
    /// evenly spaced multiples; the rounds after it spread them. Their factors are those of
    /// MurmurHash3.
    #[inline(always)]
    pub const fn hash(&self, secret: &SourceSecret) -> SourceHash {
        let [a, b, c, d] = self.source.words();
        let place = (self.eni as u64) << 16 | (self.family as u64) << 8 | (self.direction as u64);
        let mut hash = secret[5]
            .wrapping_add(secret[0].wrapping_mul(a as u64))
            .wrapping_add(secret[1].wrapping_mul(b as u64))
            .wrapping_add(secret[2].wrapping_mul(c as u64))
            .wrapping_add(secret[3].wrapping_mul(d as u64))
            .wrapping_add(secret[4].wrapping_mul(place));
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        SourceHash(hash ^ hash >> 32)
    }

    /// Returns whether both keys are equal. It compares words, where `==` would compare bytes.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        let (one, two) = (self.source.words(), other.source.words());
        let place = |key: &Self| (key.eni, key.family, key.direction);
        one[0] == two[0]
            && one[1] == two[1]
            && one[2] == two[2]
            && one[3] == two[3]
            && place(self) == place(other)
    }
}

impl SourceHash {
    /// Returns the index of the set, below `sets`.
    #[inline(always)]
    pub const fn set(self, sets: u32) -> u32 {
        (((self.0 >> 32) * sets as u64) >> 32) as u32
    }

    /// Returns a number that nearly always differs between the sources of a set; never 0.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        self.0 as u32 | 1
    }
}

impl SourceSet {
    /// The bits of [`SourceSet::recent`].
    const ALL: u32 = (1 << WAYS) - 1;

    /// Returns the index of the entry that counts `key`; `None` if there is none. `tag` is
    /// [`SourceHash::tag`] of the key, which saves most comparisons of keys.
    #[inline(always)]
    pub fn find(&self, key: &SourceKey, tag: u32) -> Option<usize> {
        (0..WAYS).find(|way| self.tags[*way] == tag && self.entries[*way].key.is(key))
    }

    /// Returns the index of the entry that a new source takes: an empty one as long as there are
    /// any, then one that was not used recently. (An empty entry has never been used.)
    #[inline(always)]
    pub fn oldest(&self) -> usize {
        let mut free = !self.recent & Self::ALL;
        let mut way = 0;
        if free & 0x0f == 0 {
            free >>= 4;
            way += 4;
        }
        if free & 0x03 == 0 {
            free >>= 2;
            way += 2;
        }
        if free & 0x01 == 0 {
            way += 1;
        }
        way
    }

    /// Records that an entry was used. If that would mark all entries as recent, it clears the
    /// marks of the others.
    #[inline(always)]
    pub fn used(&mut self, way: usize) {
        let bit = 1 << way;
        if self.recent & bit == 0 {
            let recent = self.recent | bit;
            self.recent = if recent == Self::ALL { bit } else { recent };
        }
    }

    /// Returns whether a program was giving an entry to another source while the kernel made this
    /// copy.
    pub fn is_torn(&self) -> bool {
        self.finished != self.begun
    }

    /// Returns the entries that are not empty.
    pub fn listed(&self) -> impl Iterator<Item = &SourceEntry> {
        let tags = self.tags.iter();
        tags.zip(&self.entries)
            .filter(|(tag, _)| **tag != 0)
            .map(|(_, entry)| entry)
    }
}

const _: () = assert!(size_of::<SourceKey>() == 20);
const _: () = assert!(size_of::<SourceValue>() == 32);
const _: () = assert!(size_of::<SourceEntry>() == 56);
const _: () = assert!(size_of::<SourceSet>() == 496);
// The search in `oldest` halves eight entries three times.
const _: () = assert!(WAYS == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> SourceKey {
        let source = Address::v4(number.to_be_bytes());
        SourceKey::new(source, Family::V4, 3, Direction::Ingress)
    }

    const SECRET: SourceSecret = [3, 5, 7, 11, 13, 17];

    /// Secrets as getrandom(2) might give them, by a generator that is always the same (SplitMix64).
    fn secrets() -> impl Iterator<Item = SourceSecret> {
        let mut state = 0x1234_5678_9abc_def0u64;
        core::iter::repeat_with(move || {
            core::array::from_fn(|_| {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = state;
                z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ z >> 31
            })
        })
    }

    /// Does what the programs do for a packet, without counting it.
    fn see(set: &mut SourceSet, number: u32) {
        let (key, tag) = (key(number), key(number).hash(&SECRET).tag());
        let way = set.find(&key, tag).unwrap_or_else(|| {
            let way = set.oldest();
            set.tags[way] = tag;
            set.entries[way].key = key;
            way
        });
        set.used(way);
    }

    fn holds(set: &SourceSet, number: u32) -> bool {
        set.find(&key(number), key(number).hash(&SECRET).tag())
            .is_some()
    }

    #[test]
    fn nobody_is_evicted_while_an_entry_is_empty() {
        let mut set = SourceSet::default();
        for number in 0..WAYS as u32 {
            see(&mut set, number);
            // An old source comes again in between.
            see(&mut set, number / 2);
        }
        assert!((0..WAYS as u32).all(|number| holds(&set, number)));
        assert_eq!(set.listed().count(), WAYS);
    }

    #[test]
    fn a_source_that_keeps_coming_back_is_not_evicted() {
        let mut set = SourceSet::default();
        for number in 0..1000 {
            see(&mut set, 7777);
            see(&mut set, number);
            assert!(holds(&set, 7777) && holds(&set, number));
        }
    }

    const SETS: u32 = 1000;

    /// The number of sources in the fullest set.
    fn fullest(keys: impl Iterator<Item = SourceKey>, secret: &SourceSecret) -> u32 {
        let mut load = [0u32; SETS as usize];
        for key in keys {
            load[key.hash(secret).set(SETS) as usize] += 1;
        }
        load.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn adjacent_addresses_are_spread_evenly_over_sets() {
        for secret in secrets().take(100) {
            for step in [1, 256, 1 << 16] {
                let keys = (0..8 * SETS).map(|number: u32| key(number.wrapping_mul(step)));
                // In a Poisson distribution around 8, fewer than one set in 10^7 has 30 or more.
                let fullest = fullest(keys, &secret);
                assert!(fullest < 30, "{fullest} with step {step} and {secret:x?}");
            }
        }
    }

    /// Sources that differ in the upper bits of their last three words. The hash before, a seed and
    /// rounds of multiplication and shift, mapped 4096 of them to 256 values whatever the seed was:
    /// a multiplication carries a difference in the upper bits nowhere, so others cancelled it.
    #[test]
    fn no_sources_collide_whatever_the_secret_is() {
        let crafted = || {
            (0..4096u32).map(|bits| {
                let mut bytes = [0x20; 16];
                for word in 1..4 {
                    let upper = bits >> (4 * (word - 1)) & 0xf;
                    // The programs read words in the machine's order of bytes.
                    let word = &mut bytes[4 * word as usize..][..4];
                    word.copy_from_slice(&(upper << 28 | 0x0020_2020).to_ne_bytes());
                }
                SourceKey::new(Address::v6(bytes), Family::V6, 3, Direction::Ingress)
            })
        };
        // Some may collide by chance, but not the same ones for every secret, and not many.
        for secret in secrets().take(100) {
            let fullest = fullest(crafted(), &secret);
            // In a Poisson distribution around 4, fewer than one set in 10^8 has 20 or more.
            assert!(fullest < 20, "{fullest} with {secret:x?}");
        }
        // Any two bits of an address, whichever words they are in, never cancel each other out.
        let flipped = |one: usize, other: usize| {
            let mut bytes = [0; 16];
            bytes[one / 8] ^= 1 << (one % 8);
            bytes[other / 8] ^= 1 << (other % 8);
            SourceKey::new(Address::v6(bytes), Family::V6, 3, Direction::Ingress)
        };
        let zero = SourceKey::new(Address::v6([0; 16]), Family::V6, 3, Direction::Ingress);
        for one in 0..128 {
            for other in one + 1..128 {
                let mut few = secrets().take(3);
                let collides =
                    |secret: SourceSecret| flipped(one, other).hash(&secret) == zero.hash(&secret);
                assert!(!few.any(collides), "bits {one} and {other}");
            }
        }
    }

    #[test]
    fn every_part_of_the_key_changes_the_hash() {
        let v6 = |bytes| SourceKey::new(Address::v6(bytes), Family::V6, 0, Direction::Ingress);
        let mut keys = [v6([0; 16]); 20];
        for (at, key) in keys.iter_mut().take(16).enumerate() {
            let mut bytes = [0; 16];
            bytes[at] = 1;
            *key = v6(bytes);
        }
        keys[17].eni = 1;
        keys[18].family = Family::V4 as u8;
        keys[19].direction = Direction::Egress as u8;
        for (i, one) in keys.iter().enumerate() {
            for other in &keys[..i] {
                assert_ne!(one.hash(&SECRET), other.hash(&SECRET));
                assert!(!one.is(other));
            }
            assert!(one.is(&keys[i].clone()));
        }
    }

    #[test]
    fn the_last_set_is_used_and_none_behind_it() {
        assert_eq!(SourceHash(u64::MAX).set(66), 65);
        assert_eq!(SourceHash(0).set(66), 0);
        assert_ne!(SourceHash(0).tag(), 0);
    }
}
