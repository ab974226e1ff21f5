//! The counters. All are per CPU: a program is not interrupted by another one of the same CPU,
//! so they are added to without atomics and nothing is lost.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{LruPerCpuHashMap, PerCpuArray, PerCpuHashMap},
};
use eni_steer_common::{
    Address, Class, Count, Direction, Fate, HomeCell, Loss, MAX_ENIS, SourceKey, SourceValue,
    StrayKey, StrayValue, Totals,
};

use crate::{clock, config, ip::Ip};

#[map]
static TOTALS: PerCpuArray<Totals> = PerCpuArray::pinned(MAX_ENIS as u32, 0);

#[map]
static CELLS: PerCpuArray<HomeCell> = PerCpuArray::pinned(1, 0);

#[map]
static STRAYS: PerCpuHashMap<StrayKey, StrayValue> = PerCpuHashMap::pinned(1, BPF_F_NO_PREALLOC);

#[map]
static SOURCES: LruPerCpuHashMap<SourceKey, SourceValue> = LruPerCpuHashMap::pinned(1, 0);

#[map]
static FATES: PerCpuArray<Count> = PerCpuArray::pinned(Fate::ENTRIES, 0);

#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::pinned(Loss::ENTRIES, 0);

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

/// A packet of this class came in by, or leaves by, this program's ENI.
#[inline(always)]
pub fn total(direction: Direction, class: Class, count: Count) {
    if let Some(totals) = TOTALS.get_ptr_mut(config::own_slot().into()) {
        // SAFETY: an entry of a per-CPU array of this CPU, see the module.
        let totals = unsafe { &mut *totals };
        match direction {
            Direction::Ingress => totals.ingress[class as usize].add(count),
            Direction::Egress => totals.egress[class as usize].add(count),
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
pub fn stray(direction: Direction, address: u32, stray: Stray, count: Count) {
    let key = StrayKey::new(address, config::own_slot(), direction);
    let now = clock::now();
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
    let value = unsafe { &mut *value };
    match stray {
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

/// A packet from this source; `mismatched` if its local address is owned by another ENI.
#[inline(always)]
pub fn source<A: Ip>(direction: Direction, source: Address, mismatched: bool, count: Count) {
    let key = SourceKey::new(source, A::FAMILY, config::own_slot(), direction);
    let now = clock::now();
    let mismatched = if mismatched { count.packets } else { 0 };
    if let Some(value) = SOURCES.get_ptr_mut(key) {
        // SAFETY: this CPU's value of a per-CPU map, see the module. If another CPU evicts the
        // entry meanwhile, the memory is still a value of this map: at worst the packet counts
        // for the source that took the place, and the totals show it.
        let value = unsafe { &mut *value };
        value.count.add(count);
        value.mismatched = value.mismatched.wrapping_add(mismatched);
        value.last_seen = now;
        return;
    }
    let value = SourceValue {
        count,
        mismatched,
        last_seen: now,
    };
    if SOURCES.insert(key, value, BPF_ANY.into()).is_err() {
        lost(Loss::Source);
    }
}

/// An egress packet that did not simply leave by the owner of its source.
#[inline(always)]
pub fn fate(fate: Fate, count: Count) {
    if let Some(entry) = FATES.get_ptr_mut(fate.index(config::own_slot())) {
        // SAFETY: an entry of a per-CPU array of this CPU, see the module.
        unsafe { (*entry).add(count) };
    }
}

/// Something that could not be written down.
#[inline(always)]
pub fn lost(loss: Loss) {
    if let Some(entry) = LOSSES.get_ptr_mut(loss.index(config::own_slot())) {
        // SAFETY: an entry of a per-CPU array of this CPU, see the module.
        unsafe { *entry += 1 };
    }
}
