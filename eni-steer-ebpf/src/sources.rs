//! The table of sources. See [`eni_steer_common::SourceSet`].

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

/// A packet from this source; `mismatched` if its local address is owned by another ENI.
#[inline(always)]
pub fn count(
    direction: Direction,
    family: Family,
    source: Address,
    mismatched: bool,
    count: Count,
) {
    let key = SourceKey::new(source, family, config::own_slot(), direction);
    let hash = key.hash(config::source_seed());
    // There always is such a set, the verifier only does not know it.
    let index = hash.set(config::source_sets());
    let Some(set) = SOURCES.get_ptr_mut(index) else {
        return counters::lost(Loss::Source);
    };
    // SAFETY: an entry of a per-CPU array of this CPU, which no other program of it interrupts.
    let set = unsafe { &mut *set };
    let (tag, tick) = (hash.tag(), clock::tick());
    let found = set.find(&key, tag);
    let way = opaque::below_eight(found.unwrap_or_else(|| set.oldest()));
    if found.is_none() {
        enter(set, index, way, &key, tag, tick);
    }
    set.used(way);
    // There always is such an entry, the compiler only does not know it.
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

/// Gives an entry to a new source, with counts of nothing.
#[inline(always)]
fn enter(set: &mut SourceSet, index: u32, way: usize, key: &SourceKey, tag: u32, tick: u32) {
    let (Some(entry), Some(tag_of)) = (set.entries.get_mut(way), set.tags.get_mut(way)) else {
        return;
    };
    if *tag_of != 0 {
        counters::lost(Loss::SourceEvicted);
    } else if let Some(mark) = SOURCE_MARKS.get_ptr_mut(index / MARKED) {
        // SAFETY: an entry of an array; every CPU that writes it writes this.
        unsafe { mark.write_volatile(1) };
    }
    let new = SourceEntry {
        key: *key,
        // Not this one: the time is written with the first count.
        tick: !tick,
        value: SourceValue::default(),
    };
    let (tag_of, entry) = (&raw mut *tag_of, &raw mut *entry);
    let (begun, finished) = (&raw mut set.begun, &raw mut set.finished);
    // Volatile, so that the compiler keeps the order. Who reads on another CPU sees it as well
    // where stores are seen in order (x86-64); elsewhere a row of a report may, once, show the
    // counts of two sources.
    // SAFETY: all are places in `set`.
    unsafe {
        begun.write_volatile(begun.read().wrapping_add(1));
        tag_of.write_volatile(tag);
        entry.write_volatile(new);
        finished.write_volatile(begun.read());
    }
}
