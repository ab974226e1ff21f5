//! What the user side tells the programs: patched in at load, or read from a map.

use aya_ebpf::{Global, macros::map, maps::Array};
use eni_steer_common::{EniRow, MAX_ENIS, Settings};

/// Slot of the ENI the program is attached to: known at load, so it costs no look-up.
#[unsafe(no_mangle)]
static ENI_SLOT: Global<u32> = Global::new(0);

/// Entries of the map of sources.
#[unsafe(no_mangle)]
static SOURCE_SETS: Global<u32> = Global::new(0);

/// What the hash of a source starts from.
#[unsafe(no_mangle)]
static SOURCE_SEED: Global<u64> = Global::new(0);

#[map]
static ENIS: Array<EniRow> = Array::pinned(MAX_ENIS as u32, 0);

#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, 0);

/// The slot of this program's ENI.
#[inline(always)]
pub fn own_slot() -> u16 {
    ENI_SLOT.load() as u16
}

/// Sets of sources.
#[inline(always)]
pub fn source_sets() -> u32 {
    SOURCE_SETS.load()
}

/// See [`eni_steer_common::SourceKey::hash`].
#[inline(always)]
pub fn source_seed() -> u64 {
    SOURCE_SEED.load()
}

/// The row of an ENI; none if the slot is out of range.
#[inline(always)]
pub fn eni(slot: u16) -> Option<&'static EniRow> {
    ENIS.get(u32::from(slot))
}

/// The settings; there is always one entry, the verifier only does not know it.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}
