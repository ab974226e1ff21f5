//! The table of sources: for each CPU a set-associative cache, as processors have them.
//!
//! A source may stand in any of the [`WAYS`] entries of one [`SourceSet`], which its hash names.
//! Next to an LRU hash of the kernel a look-up costs a fraction, and a new source takes the place
//! of an old one without a lock, a list or another CPU: a flood of sources costs no more than
//! the cache lines it touches.

use crate::{Address, Count, Direction, Family};

/// Entries of a set.
pub const WAYS: usize = 8;

/// Sets that an entry of [`crate::names::SOURCE_MARKS`] stands for: readers leave out what was
/// never written to, which is nearly all of a table that few sources use.
pub const MARKED: u32 = 16;

/// A source IP on one ENI in one direction.
///
/// Ingress: every source, masked to the configured prefix length. Egress: sources that
/// have no exact entry among the owners (those are counted in their cells).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The source.
    pub source: Address,
    /// ENI slot.
    pub eni: u16,
    /// [`Family`] as a number.
    pub family: u8,
    /// [`Direction`] as a number.
    pub direction: u8,
}

/// Counts of a [`SourceKey`] on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceValue {
    /// Wire packets and bytes. On egress only those that left by this ENI.
    pub count: Count,
    /// Of these, wire packets that were a mismatch: ingress, the destination is owned by
    /// another ENI; egress, the source lies in a prefix delegated to another ENI.
    pub mismatched: u64,
    /// Nanoseconds of CLOCK_MONOTONIC at the last packet on this CPU (tick resolution).
    pub last_seen: u64,
}

/// A source and its counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceEntry {
    /// Which source; nothing where the entry is empty.
    pub key: SourceKey,
    /// Jiffies, the lower half, when `last_seen` was written: the clock is asked once a tick.
    pub tick: u32,
    /// What it counts.
    pub value: SourceValue,
}

/// Some sources of one CPU, the value of [`crate::names::SOURCES`].
///
/// The kernel copies it from its beginning to its end while a program may write. Only giving an
/// entry to another source needs care, since a key must not be read with the counts of another
/// one: the program adds one to `begun`, writes, and adds one to `finished`. A copy in which the
/// two differ was taken in between ([`SourceSet::is_torn`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSet {
    /// Changes of keys that are finished.
    pub finished: u32,
    /// A bit for each entry that was used since the others were: never all of them.
    pub recent: u32,
    /// [`SourceHash::tag`] of each entry; 0: it is empty.
    pub tags: [u32; WAYS],
    /// The entries.
    pub entries: [SourceEntry; WAYS],
    /// Changes of keys that have begun.
    pub begun: u32,
    /// Always zero.
    pub zero: u32,
}

/// Where a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceHash(u64);

impl SourceKey {
    /// The key of a packet from `source` seen on `eni`.
    #[inline(always)]
    pub const fn new(source: Address, family: Family, eni: u16, direction: Direction) -> Self {
        Self {
            source,
            eni,
            family: family as u8,
            direction: direction as u8,
        }
    }

    /// The hash of the key. With a seed that senders do not know they can not choose sources
    /// that push a certain one out.
    #[inline(always)]
    pub const fn hash(&self, seed: u64) -> SourceHash {
        let [a, b, c, d] = self.source.words();
        let place = (self.eni as u64) << 16 | (self.family as u64) << 8 | (self.direction as u64);
        // Rounds of a multiplication, which carries upwards, and a shift back down; the factors
        // are MurmurHash3's.
        let mut hash = seed ^ (a as u64 | (b as u64) << 32);
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
        hash ^= c as u64 | (d as u64) << 32;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 32;
        hash ^= place;
        SourceHash(hash.wrapping_mul(0xff51_afd7_ed55_8ccd))
    }

    /// Whether it is the same key.
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
    /// The index of the set, where there are so many.
    #[inline(always)]
    pub const fn set(self, sets: u32) -> u32 {
        (((self.0 >> 32) * sets as u64) >> 32) as u32
    }

    /// What tells the sources of a set apart, nearly always; never 0.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        self.0 as u32 | 1
    }
}

impl SourceSet {
    /// Bits of [`SourceSet::recent`].
    const ALL: u32 = (1 << WAYS) - 1;

    /// The entry of a source.
    #[inline(always)]
    pub fn find(&self, key: &SourceKey, tag: u32) -> Option<usize> {
        (0..WAYS).find(|way| self.tags[*way] == tag && self.entries[*way].key.is(key))
    }

    /// The entry that a new source is given: an empty one as long as there are any, then one
    /// that was not used since others were.
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

    /// Notes down that an entry was used: when all were, only this one was.
    #[inline(always)]
    pub fn used(&mut self, way: usize) {
        let bit = 1 << way;
        if self.recent & bit == 0 {
            let recent = self.recent | bit;
            self.recent = if recent == Self::ALL { bit } else { recent };
        }
    }

    /// Whether a program was giving an entry to another source while it was copied.
    pub fn is_torn(&self) -> bool {
        self.finished != self.begun
    }

    /// The entries that are not empty.
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
// The search of `oldest` halves eight.
const _: () = assert!(WAYS == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> SourceKey {
        let source = Address::v4(number.to_be_bytes());
        SourceKey::new(source, Family::V4, 3, Direction::Ingress)
    }

    /// As the programs do it, without the counting.
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
            // Old ones are used in between.
            see(&mut set, number / 2);
        }
        assert!((0..WAYS as u32).all(|number| holds(&set, number)));
        assert_eq!(set.listed().count(), WAYS);
    }

    #[test]
    fn who_comes_again_stays_while_others_pass_through() {
        let mut set = SourceSet::default();
        for number in 0..1000 {
            see(&mut set, 7777);
            see(&mut set, number);
            assert!(holds(&set, 7777) && holds(&set, number));
        }
    }

    #[test]
    fn neighbours_are_spread_evenly_over_sets() {
        const SETS: u32 = 1000;
        for (seed, step) in [(0, 1), (0x1234_5678_9abc_def0, 1), (1, 256), (1, 1 << 16)] {
            let mut load = [0u32; SETS as usize];
            for number in 0..8 * SETS {
                let set = key(number.wrapping_mul(step)).hash(seed).set(SETS);
                load[set as usize] += 1;
            }
            // Of a Poisson distribution around 8: less than one of 10^5 is at 25 or above.
            let fullest = load.iter().max();
            assert!(fullest < Some(&26), "{fullest:?} with step {step}");
        }
    }

    #[test]
    fn every_part_of_the_key_tells() {
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
