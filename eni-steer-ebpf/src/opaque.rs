//! Hides from the verifier, or from the compiler, what they know about a value.
//!
//! The verifier follows every value that it knows exactly. A program that goes on after choosing
//! one of the fates is verified once per fate, and such choices multiply, until the verifier has
//! walked a million instructions and refuses the program. If something unknown is added to the
//! value, all ways merge into one.

use aya_ebpf::bindings::__sk_buff;
use eni_steer_common::Fate;

/// Returns `value` unchanged; the verifier no longer knows which number it is.
#[inline(always)]
pub fn number(skb: *mut __sk_buff, value: u64) -> u64 {
    // SAFETY: `skb` is the context that the kernel called the program with. It is valid for as
    // long as the program runs, and the verifier checks the access to the field.
    let length = unsafe { (*skb).len };
    value.wrapping_add(zero(length.into()))
}

/// Subtracts `number` from itself. The result is zero, but nobody can tell before run time: the
/// compiler does not look into assembly, and the verifier tracks ranges, not that two registers
/// are equal.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn zero(number: u64) -> u64 {
    let mut difference = number;
    // SAFETY: the instruction subtracts one register from another. It accesses no memory and no
    // stack, which is what the options promise the compiler.
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

/// Returns zero, on other targets, where the programs are linted but never run.
#[cfg(not(target_arch = "bpf"))]
fn zero(_number: u64) -> u64 {
    0
}

/// Returns `fate` unchanged; the verifier no longer knows which one it is.
#[inline(always)]
pub fn fate(skb: *mut __sk_buff, fate: Fate) -> Fate {
    let number = number(skb, fate as u64);
    if number < Fate::COUNT as u64 {
        // SAFETY: `Fate` is `repr(u8)` and numbers its variants from 0 to COUNT - 1 without gaps,
        // and the line above has checked that the number is below COUNT.
        unsafe { core::mem::transmute::<u8, Fate>(number as u8) }
    } else {
        Fate::HelperFailed
    }
}

/// Returns `number` unchanged if it is below eight; callers must not pass anything else.
///
/// The compiler knows that the index is below eight and would remove a mask written in Rust.
/// Verifiers can not prove it from the code that computes the index, and need the mask.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn below_eight(number: usize) -> usize {
    let mut number = number;
    // SAFETY: the instruction masks one register. It accesses no memory and no stack, which is
    // what the options promise the compiler.
    unsafe {
        core::arch::asm!(
            "{number} &= 7",
            number = inout(reg) number,
            options(pure, nomem, nostack),
        );
    }
    number
}

/// Does the same on other targets, where the programs are linted but never run.
#[cfg(not(target_arch = "bpf"))]
pub fn below_eight(number: usize) -> usize {
    number & 7
}
