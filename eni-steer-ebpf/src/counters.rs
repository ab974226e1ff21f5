//! The counters. All are per CPU: a program is not interrupted by another one of the same CPU,
//! so they are added to without atomics and nothing is lost.

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

/// Which count of a stray a packet belongs to.
#[derive(Clone, Copy)]
pub enum Stray {
    /// Went its way by the wrong ENI.
    Passed,
    /// Redirected.
    Steered,
    /// Dropped.
    Dropped,
    /// Went its way by the wrong ENI, and should.
    Exempt,
}

/// The counters of this program's ENI; there always are, the verifier only does not know it.
#[inline(always)]
fn own() -> Option<&'static mut EniCounters> {
    let counters = COUNTERS.get_ptr_mut(config::own_slot().into())?;
    // SAFETY: an entry of a per-CPU array of this CPU, see the module; no caller keeps it.
    Some(unsafe { &mut *counters })
}

/// A packet of this class came in by, or leaves by, this program's ENI.
#[inline(always)]
pub fn total(direction: Direction, class: Class, count: Count) {
    if let Some(counters) = own() {
        match direction {
            Direction::Ingress => counters.ingress[class as usize].add(count),
            Direction::Egress => counters.egress[class as usize].add(count),
        }
    }
}

/// A packet of an address that this program's ENI owns.
#[inline(always)]
pub fn home(direction: Direction, address: u32, count: Count) {
    if let Some(cell) = CELLS.get_ptr_mut(address) {
        // SAFETY: an entry of a per-CPU array of this CPU, see the module.
        let cell = unsafe { &mut *cell };
        match direction {
            Direction::Ingress => cell.ingress.add(count),
            Direction::Egress => cell.egress.add(count),
        }
    }
}

/// A packet of an address that this program's ENI does not own.
#[inline(always)]
pub fn stray(direction: Direction, address: u32, way: Stray, count: Count, now: u64) {
    let key = StrayKey::new(address, config::own_slot(), direction);
    if let Some(cell) = CELLS.get_ptr_mut(address) {
        // SAFETY: an entry of a per-CPU array of this CPU, see the module.
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
            // Another CPU may have made the entry since: BPF_ANY then writes the (empty) value
            // of this CPU only.
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
    // SAFETY: this CPU's value of a per-CPU map, see the module; entries are removed by the
    // user side only when their address slot is given to another address.
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

/// An egress packet that did not simply leave by the owner of its source.
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

/// Something that could not be written down.
#[inline(always)]
pub fn lost(loss: Loss) {
    if let Some(counters) = own() {
        counters.losses[loss as usize] += 1;
    }
}

/// Whether this ENI may send another event this second on this CPU. An event that it may not
/// send is counted as lost.
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
