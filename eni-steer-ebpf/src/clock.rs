//! Reads the clock for the time stamps of counters and events.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
};

/// 1 if the kernel has the helper `bpf_ktime_get_coarse_ns` (Linux 5.11 and later), else 0. The
/// loader sets it.
///
/// The loader freezes the map of the globals before it loads the program, so the verifier knows
/// the value and removes the branch that is not taken (`bpf(2)`, `BPF_MAP_FREEZE`). A kernel
/// without the helper therefore never sees the call that it would refuse.
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static COARSE_CLOCK: Global<u32> = Global::new(0);

/// Returns the time in nanoseconds of CLOCK_MONOTONIC.
///
/// With the coarse helper this is the time of the last timer tick, a few milliseconds old at
/// most. Reading the precise clock for every packet would cost as much as a map look-up.
#[inline(always)]
pub fn now() -> u64 {
    if COARSE_CLOCK.load() != 0 {
        // SAFETY: `bpf_ktime_get_coarse_ns` takes no arguments, touches no memory of ours and may
        // be called anywhere in a TC program.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        // SAFETY: `bpf_ktime_get_ns` takes no arguments, touches no memory of ours and may be
        // called anywhere in a TC program.
        unsafe { bpf_ktime_get_ns() }
    }
}

/// Returns the lower half of jiffies, the kernel's count of timer ticks.
///
/// When it has not changed since the last packet, the coarse clock has not moved either, and the
/// caller need not read it. The call costs next to nothing: on 64-bit kernels with a JIT the
/// verifier replaces it by a load of the kernel's variable (kernel/bpf/verifier.c,
/// `BPF_FUNC_jiffies64`).
#[inline(always)]
pub fn tick() -> u32 {
    // SAFETY: `bpf_jiffies64` takes no arguments, touches no memory of ours and may be called
    // anywhere in a TC program.
    unsafe { bpf_jiffies64() as u32 }
}
