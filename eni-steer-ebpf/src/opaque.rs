//! Values the verifier is to forget.
//!
//! The verifier follows each value that it knows exactly, so a program that goes on after
//! sixteen fates, or after a walk over headers, is verified once for each way there, and the
//! ways multiply. A value that went through a map is any value to it: the ways meet again.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use eni_steer_common::Fate;

#[map]
static SCRATCH: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The same number.
#[inline(always)]
pub fn number(value: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: an entry of a per-CPU array of this CPU; programs of one CPU do not interrupt
    // each other.
    unsafe {
        scratch.write_volatile(value);
        scratch.read_volatile()
    }
}

/// The same fate.
#[inline(always)]
pub fn fate(fate: Fate) -> Fate {
    let number = number(fate as u64);
    if number < Fate::COUNT as u64 {
        // SAFETY: a Fate is one byte, and every number below COUNT is one of them.
        unsafe { core::mem::transmute::<u8, Fate>(number as u8) }
    } else {
        Fate::HelperFailed
    }
}
