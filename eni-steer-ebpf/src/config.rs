//! What the loader and the daemon set and the programs read.
//!
//! Globals are written once, into each copy of the object, before it is loaded. Maps can be
//! rewritten while the programs run.

use aya_ebpf::{Global, macros::map, maps::Array};
use eni_steer_common::{EniRow, MAX_ENIS, Settings, SourceSecret};

/// Slot of the ENI that this copy of the program is attached to. A global needs no map look-up:
/// the verifier sees it as a constant.
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static ENI_SLOT: Global<u32> = Global::new(0);

/// Entries of the map [`eni_steer_common::names::SOURCES`], which the loader sizes by the
/// configured memory.
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static SOURCE_SETS: Global<u32> = Global::new(0);

/// Secret of the hash of a source, see [`eni_steer_common::SourceKey::hash`].
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static SOURCE_SECRET: Global<SourceSecret> = Global::new([0; 6]);

#[map]
static ENIS: Array<EniRow> = Array::pinned(MAX_ENIS as u32, 0);

#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, 0);

/// Returns the slot of the ENI that this copy of the program is attached to.
#[inline(always)]
pub fn own_slot() -> u16 {
    ENI_SLOT.load() as u16
}

/// Returns how many sets of sources each CPU has.
#[inline(always)]
pub fn source_sets() -> u32 {
    SOURCE_SETS.load()
}

/// Returns the secret for [`eni_steer_common::SourceKey::hash`].
#[inline(always)]
pub fn source_secret() -> SourceSecret {
    SOURCE_SECRET.load()
}

/// Returns the row of the ENI at `slot`; `None` if the slot is not below [`MAX_ENIS`].
#[inline(always)]
pub fn eni(slot: u16) -> Option<&'static EniRow> {
    ENIS.get(u32::from(slot))
}

/// Returns the settings that all programs share.
///
/// It is never `None` at run time, because the array has one entry, but the verifier does not
/// know that and insists on the check.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}
