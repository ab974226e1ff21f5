//! Values the verifier, or the compiler, is to forget.
//!
//! The verifier follows each value that it knows exactly, so a program that goes on after
//! sixteen fates is verified once for each of them, and the ways multiply: past a million
//! instructions. To a sum with something unknown there is only one way.

use aya_ebpf::bindings::__sk_buff;
use eni_steer_common::Fate;

/// The same number.
#[inline(always)]
pub fn number(skb: *mut __sk_buff, value: u64) -> u64 {
    // SAFETY: the pointer is the context the kernel called the program with.
    let length = unsafe { (*skb).len };
    value.wrapping_add(zero(length.into()))
}

/// The difference of a number that only run time knows with itself: zero, but neither the
/// compiler (which does not look into assembly) nor the verifier (which knows ranges, not
/// equalities) can tell.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn zero(number: u64) -> u64 {
    let mut difference = number;
    // SAFETY: a subtraction of two registers that touches nothing else.
    unsafe {
        core::arch::asm!(
            "{difference} -= {number}",
            difference = inout(reg) difference,
            number = in(reg) number,
            options(pure, nomem, nostack),
        );
    }
    difference
}

/// The same where the programs are only linted.
#[cfg(not(target_arch = "bpf"))]
fn zero(_number: u64) -> u64 {
    0
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

/// An index below eight, and the same number if it is one. The compiler keeps the bound, although
/// it knows; verifiers lose track of what else it makes out of it.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn below_eight(number: usize) -> usize {
    let mut number = number;
    // SAFETY: an operation on a register that touches nothing else.
    unsafe {
        core::arch::asm!(
            "{number} &= 7",
            number = inout(reg) number,
            options(pure, nomem, nostack),
        );
    }
    number
}

/// The same where the programs are only linted.
#[cfg(not(target_arch = "bpf"))]
pub fn below_eight(number: usize) -> usize {
    number & 7
}
