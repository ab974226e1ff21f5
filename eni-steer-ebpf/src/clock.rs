//! The time of a packet.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
};

/// Whether the kernel knows `bpf_ktime_get_coarse_ns` (5.11 and later). The global is frozen
/// before the program is verified, so the branch not taken, and with it a helper that an old
/// kernel would refuse, is gone before the verifier looks at it.
#[unsafe(no_mangle)]
static COARSE_CLOCK: Global<u32> = Global::new(0);

/// Nanoseconds of CLOCK_MONOTONIC, of the last timer tick where the kernel can tell: reading
/// the precise clock would cost as much as a look-up.
#[inline(always)]
pub fn now() -> u64 {
    if COARSE_CLOCK.load() != 0 {
        // SAFETY: the helper takes no arguments and has no precondition.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        // SAFETY: the helper takes no arguments and has no precondition.
        unsafe { bpf_ktime_get_ns() }
    }
}

/// Jiffies, the lower half: it tells whether the coarse clock has moved, and costs nothing, since
/// the verifier puts a load of the kernel's variable in the place of the call.
#[inline(always)]
pub fn tick() -> u32 {
    // SAFETY: the helper takes no arguments and has no precondition.
    unsafe { bpf_jiffies64() as u32 }
}
