//! Counts packets by their source address. [`eni_steer_common::SourceSet`] describes the table.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
};
use eni_steer_common::{
    Address, Count, Direction, Family, Loss, MARKED, SourceEntry, SourceKey, SourceSet,
    SourceValue, WAYS,
};

use crate::{clock, config, counters, opaque};

#[map]
static SOURCES: PerCpuArray<SourceSet> = PerCpuArray::pinned(1, 0);

#[map]
static SOURCE_MARKS: Array<u64> = Array::pinned(1, 0);

/// Counts a packet from `source`; `mismatched` says that another ENI owns its local address.
///
/// If the source is not in its set yet, it takes an entry that is empty or was not used
/// recently. What an old source had counted there remains in the totals only.
#[inline(always)]
pub fn count(
    direction: Direction,
    family: Family,
    source: Address,
    mismatched: bool,
    count: Count,
) {
    let key = SourceKey::new(source, family, config::own_slot(), direction);
    let hash = key.hash(&config::source_secret());
    // `set` returns an index below the number of sets, so the look-up always succeeds, but the
    // verifier does not know that.
    let index = hash.set(config::source_sets());
    let Some(set) = SOURCES.get_ptr_mut(index) else {
        return counters::lost(Loss::Source);
    };
    // SAFETY: the pointer is to an entry of a per-CPU array, aligned and as long as `SourceSet`.
    // Only this CPU's programs write it, and they do not interrupt each other (see `counters`).
    let set = unsafe { &mut *set };
    let (tag, tick) = (hash.tag(), clock::tick());
    let found = set.find(&key, tag);
    let way = opaque::below_eight(found.unwrap_or_else(|| set.oldest()));
    if found.is_none() {
        enter(set, index, way, &key, tag, tick);
    }
    set.used(way);
    // `way` is always below eight, so the entry is always there, but the compiler does not know
    // that any more.
    let Some(entry) = set.entries.get_mut(way) else {
        return;
    };
    let value = &mut entry.value;
    value.count.add(count);
    if mismatched {
        value.mismatched = value.mismatched.wrapping_add(count.packets);
    }
    if entry.tick != tick {
        entry.tick = tick;
        value.last_seen = clock::now();
    }
}

const _: () = assert!(WAYS == 8);

/// Gives the entry `way` to a new source, with all counts at zero. If another source had it, that
/// one counts as evicted.
#[inline(always)]
fn enter(set: &mut SourceSet, index: u32, way: usize, key: &SourceKey, tag: u32, tick: u32) {
    let (Some(entry), Some(tag_of)) = (set.entries.get_mut(way), set.tags.get_mut(way)) else {
        return;
    };
    if *tag_of != 0 {
        counters::lost(Loss::SourceEvicted);
    } else if let Some(mark) = SOURCE_MARKS.get_ptr_mut(index / MARKED) {
        // SAFETY: the pointer is to an entry of an array, aligned and as long as a `u64`. Other
        // CPUs may write it at the same time, but every writer stores the same 1.
        unsafe { mark.write_volatile(1) };
    }
    let new = SourceEntry {
        key: *key,
        // Any value but the current tick, so that the first packet writes the time.
        tick: !tick,
        value: SourceValue::default(),
    };
    let (tag_of, entry) = (&raw mut *tag_of, &raw mut *entry);
    let (begun, finished) = (&raw mut set.begun, &raw mut set.finished);
    // The writes are volatile, so that the compiler keeps their order. On x86-64 other CPUs see
    // stores in that order, so a reader can tell a torn entry; on other machines a report may,
    // once, show the counts of two sources in one row.
    // SAFETY: all four pointers were made from `set` or from references into it, so they are
    // valid and aligned, and no other reference is used meanwhile.
    unsafe {
        begun.write_volatile(begun.read().wrapping_add(1));
        tag_of.write_volatile(tag);
        entry.write_volatile(new);
        finished.write_volatile(begun.read());
    }
}
