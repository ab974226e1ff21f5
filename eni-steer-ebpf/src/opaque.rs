//! Values the verifier is to forget.
//!
//! The verifier follows each value that it knows exactly, so a program that goes on after
//! sixteen fates, or after a walk over headers, is verified once for each way there, and the
//! ways multiply: past a million instructions. To a sum with something unknown there is only one
//! way.

use core::arch::asm;

use aya_ebpf::bindings::__sk_buff;
use eni_steer_common::Fate;

/// The same number.
#[inline(always)]
pub fn number(skb: *mut __sk_buff, value: u64) -> u64 {
    // SAFETY: the pointer is the context the kernel called the program with.
    let length = u64::from(unsafe { (*skb).len });
    let mut zero = length;
    // The difference of a number that only run time knows with itself: zero, but neither the
    // compiler (which does not look into assembly) nor the verifier (which knows ranges, not
    // equalities) can tell.
    // SAFETY: a subtraction of two registers that touches nothing else.
    unsafe {
        asm!(
            "{zero} -= {length}",
            zero = inout(reg) zero,
            length = in(reg) length,
            options(pure, nomem, nostack),
        );
    }
    value.wrapping_add(zero)
}

/// The same fate.
#[inline(always)]
pub fn fate(skb: *mut __sk_buff, fate: Fate) -> Fate {
    let number = number(skb, fate as u64);
    if number < Fate::COUNT as u64 {
        // SAFETY: a Fate is one byte, and every number below COUNT is one of them.
        unsafe { core::mem::transmute::<u8, Fate>(number as u8) }
    } else {
        Fate::HelperFailed
    }
}
