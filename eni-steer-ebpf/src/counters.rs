//! The counters of packets, and one function that adds to each.
//!
//! All of them are per CPU. The kernel runs TC programs with bottom halves disabled, so on one
//! CPU no program interrupts another, and plain additions lose nothing: no atomics are needed.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{PerCpuArray, PerCpuHashMap},
};
use eni_steer_common::{
    AddressCell, Class, Count, Direction, EniCounters, Fate, Loss, MAX_ENIS, StrayKey, StrayValue,
};

use crate::config;

#[map]
static COUNTERS: PerCpuArray<EniCounters> = PerCpuArray::pinned(MAX_ENIS as u32, 0);

#[map]
static CELLS: PerCpuArray<AddressCell> = PerCpuArray::pinned(1, 0);

#[map]
static STRAYS: PerCpuHashMap<StrayKey, StrayValue> = PerCpuHashMap::pinned(1, BPF_F_NO_PREALLOC);

const SECOND: u64 = 1_000_000_000;

/// What happened to a packet that a program saw on an ENI that does not own its local address: it
/// selects the field of [`StrayValue`] that counts the packet.
#[derive(Clone, Copy)]
pub enum Stray {
    /// It went on through the wrong ENI.
    Passed,
    /// The egress program redirected it to the owner.
    Steered,
    /// The egress program dropped it.
    Dropped,
    /// It went on through the wrong ENI, and the configuration or the protocol wants it so.
    Exempt,
}

/// Returns the counters of this program's ENI on this CPU.
///
/// It is never `None` at run time, because slots are below [`MAX_ENIS`], but the verifier does
/// not know that and insists on the check.
#[inline(always)]
fn own() -> Option<&'static mut EniCounters> {
    let counters = COUNTERS.get_ptr_mut(config::own_slot().into())?;
    // SAFETY: the pointer is to an entry of a per-CPU array, aligned and as long as
    // `EniCounters`. Only this CPU's programs write it, and they do not interrupt each other (see
    // the module). Every caller drops the reference before it calls `own` again.
    Some(unsafe { &mut *counters })
}

/// Counts a packet of `class` in the totals of this program's ENI: on ingress it arrived there,
/// on egress it leaves there.
#[inline(always)]
pub fn total(direction: Direction, class: Class, count: Count) {
    if let Some(counters) = own() {
        match direction {
            Direction::Ingress => counters.ingress[class as usize].add(count),
            Direction::Egress => counters.egress[class as usize].add(count),
        }
    }
}

/// Counts a packet at the address slot `address`, which this program's ENI owns.
#[inline(always)]
pub fn home(direction: Direction, address: u32, count: Count) {
    if let Some(cell) = CELLS.get_ptr_mut(address) {
        // SAFETY: the pointer is to an entry of a per-CPU array, aligned and as long as
        // `AddressCell`. Only this CPU's programs write it, and they do not interrupt each other
        // (see the module).
        let cell = unsafe { &mut *cell };
        match direction {
            Direction::Ingress => cell.ingress.add(count),
            Direction::Egress => cell.egress.add(count),
        }
    }
}

/// Counts a packet at the address slot `address`, which this program's ENI does not own.
///
/// Most addresses appear on one wrong ENI at most. The address cell itself holds the counts of
/// the first such place, which saves the look-up in [`STRAYS`]; further places have entries
/// there. If the map has no room for another entry, the packet is counted as [`Loss::Stray`].
#[inline(always)]
pub fn stray(direction: Direction, address: u32, way: Stray, count: Count, now: u64) {
    let key = StrayKey::new(address, config::own_slot(), direction);
    if let Some(cell) = CELLS.get_ptr_mut(address) {
        // SAFETY: the pointer is to an entry of a per-CPU array, aligned and as long as
        // `AddressCell`. Only this CPU's programs write it, and they do not interrupt each other
        // (see the module).
        let first = unsafe { &mut (*cell).first };
        if first.place == 0 {
            first.place = key.place();
        }
        if first.place == key.place() {
            return add_stray(&mut first.value, way, count, now);
        }
    }
    let value = match STRAYS.get_ptr_mut(key) {
        Some(value) => value,
        None => {
            // Another CPU may have created the entry since the look-up. With BPF_ANY the helper
            // then overwrites this CPU's value only, which nothing has counted in yet.
            let empty = StrayValue::default();
            match STRAYS
                .insert(key, empty, BPF_ANY.into())
                .ok()
                .and_then(|()| STRAYS.get_ptr_mut(key))
            {
                Some(value) => value,
                None => return lost(Loss::Stray),
            }
        }
    };
    // SAFETY: the pointer is to this CPU's value of an entry of a per-CPU hash, aligned and as
    // long as `StrayValue`. Only this CPU's programs add to it, and they do not interrupt each
    // other (see the module). User space deletes an entry only when it gives the address slot to
    // another address.
    add_stray(unsafe { &mut *value }, way, count, now);
}

#[inline(always)]
fn add_stray(value: &mut StrayValue, way: Stray, count: Count, now: u64) {
    match way {
        Stray::Passed => value.passed.add(count),
        Stray::Steered => value.steered.add(count),
        Stray::Dropped => value.dropped.add(count),
        Stray::Exempt => value.exempt.add(count),
    }
    if value.first_seen == 0 {
        value.first_seen = now;
    }
    value.last_seen = now;
}

/// Counts an egress packet under its [`Fate`]. Packets that leave by the owner of their source
/// have none.
#[inline(always)]
pub fn fate(fate: Fate, count: Count) {
    if let Some(counters) = own() {
        add_fate(counters, fate, count);
    }
}

#[inline(always)]
fn add_fate(counters: &mut EniCounters, fate: Fate, count: Count) {
    if let Some(entry) = counters.fates.get_mut(fate as usize) {
        entry.add(count);
    }
}

/// Counts something that the programs could not record.
#[inline(always)]
pub fn lost(loss: Loss) {
    if let Some(counters) = own() {
        counters.losses[loss as usize] += 1;
    }
}

/// Returns whether this ENI may send another event on this CPU in the current second, and if so
/// takes one from the budget. If not, it counts the event as [`Loss::EventLimited`].
///
/// `now` is in nanoseconds of CLOCK_MONOTONIC, `limit` in events per second.
#[inline(always)]
pub fn within_budget(now: u64, limit: u64) -> bool {
    let Some(counters) = own() else {
        return false;
    };
    let budget = &mut counters.budget;
    if now.wrapping_sub(budget.since) >= SECOND {
        budget.since = now;
        budget.sent = 0;
    }
    if budget.sent >= limit {
        counters.losses[Loss::EventLimited as usize] += 1;
        return false;
    }
    budget.sent += 1;
    true
}
