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

    /// Returns the hash of the key. Senders do not know the seed, so they can not choose sources
    /// that evict a particular one.
    #[inline(always)]
    pub const fn hash(&self, seed: u64) -> SourceHash {
        let [a, b, c, d] = self.source.words();
        let place = (self.eni as u64) << 16 | (self.family as u64) << 8 | (self.direction as u64);
        // Rounds of a multiplication, which carries bits upwards, and a shift, which brings them
        // down again. The factors are those of MurmurHash3.
        let mut hash = seed ^ (a as u64 | (b as u64) << 32);
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
        hash ^= c as u64 | (d as u64) << 32;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 32;
        hash ^= place;
        SourceHash(hash.wrapping_mul(0xff51_afd7_ed55_8ccd))
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

    /// Does what the programs do for a packet, without counting it.
    fn see(set: &mut SourceSet, number: u32) {
        let (key, tag) = (key(number), key(number).hash(0).tag());
        let way = set.find(&key, tag).unwrap_or_else(|| {
            let way = set.oldest();
            set.tags[way] = tag;
            set.entries[way].key = key;
            way
        });
        set.used(way);
    }

    fn holds(set: &SourceSet, number: u32) -> bool {
        set.find(&key(number), key(number).hash(0).tag()).is_some()
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

    #[test]
    fn adjacent_addresses_are_spread_evenly_over_sets() {
        const SETS: u32 = 1000;
        for (seed, step) in [(0, 1), (0x1234_5678_9abc_def0, 1), (1, 256), (1, 1 << 16)] {
            let mut load = [0u32; SETS as usize];
            for number in 0..8 * SETS {
                let set = key(number.wrapping_mul(step)).hash(seed).set(SETS);
                load[set as usize] += 1;
            }
            // In a Poisson distribution around 8, fewer than one set in 10^5 has 25 or more.
            let fullest = load.iter().max();
            assert!(fullest < Some(&26), "{fullest:?} with step {step}");
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
                assert_ne!(one.hash(5), other.hash(5));
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
