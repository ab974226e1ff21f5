//! Reads the packet and its metadata. Raw pointers into packet data are made and read only here
//! and in [`crate::packet`].

use aya_ebpf::{
    bindings::__sk_buff, cty::c_long, helpers::generated::bpf_skb_load_bytes, programs::TcContext,
};

/// Loads a value with one instruction. All machines that eni-steer runs on can read packet data
/// at any address, but the compiler does not know that and would load byte by byte.
#[cfg(target_arch = "bpf")]
macro_rules! load {
    ($name:literal, $type:ty, $at:expr) => {{
        let value: u64;
        core::arch::asm!(
            concat!("{value} = *(", $name, " *)({at} + 0)"),
            value = out(reg) value,
            at = in(reg) $at,
            options(pure, readonly, nostack),
        );
        value as $type
    }};
}

/// Does the same on other targets, where the programs are linted but never run.
#[cfg(not(target_arch = "bpf"))]
macro_rules! load {
    ($name:literal, $type:ty, $at:expr) => {
        $at.cast::<$type>().read_unaligned()
    };
}

macro_rules! field {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(ctx: &TcContext) -> u32 {
            // SAFETY: the pointer is the context that the kernel called the program with. It is
            // valid for as long as the program runs, and the verifier checks the access to each
            // field.
            unsafe { (*ctx.skb.skb).$name }
        }
    };
}

field!(
    /// Returns the length of the packet in bytes, from the Ethernet header on.
    len
);
field!(
    /// Returns the bytes on the wire as the queueing layer computed them before egress
    /// (`qdisc_pkt_len_init`, net/core/dev.c). On ingress it can not be relied on, see
    /// [`crate::wire`].
    wire_len
);
field!(
    /// Returns the payload bytes of one segment; 0 if the packet is not a super-packet.
    gso_size
);
field!(
    /// Returns the number of segments of a super-packet; 0 if nobody has counted them.
    gso_segs
);
field!(
    /// Returns a number other than 0 if the packet's VLAN tag is in its metadata and not in the
    /// frame.
    vlan_present
);
field!(
    /// Returns the packet's mark (`SO_MARK`, netfilter's `MARK`).
    mark
);

/// Reads two bytes of a packet at any alignment, without changing their order.
///
/// # Safety
///
/// The two bytes at `at` must be readable: inside the range that [`linear`] has checked.
#[inline(always)]
pub unsafe fn half(at: *const u8) -> u16 {
    // SAFETY: the caller promises that the two bytes at `at` are readable, and the load takes any
    // alignment.
    unsafe { load!("u16", u16, at) }
}

/// Reads four bytes of a packet at any alignment, without changing their order.
///
/// # Safety
///
/// The four bytes at `at` must be readable: inside the range that [`linear`] has checked.
#[inline(always)]
pub unsafe fn word(at: *const u8) -> u32 {
    // SAFETY: the caller promises that the four bytes at `at` are readable, and the load takes
    // any alignment.
    unsafe { load!("u32", u32, at) }
}

/// Returns a pointer to the first `N` bytes of the packet if they are contiguous in memory, which
/// they nearly always are; otherwise `None`, and the caller uses [`copy`].
#[inline(always)]
pub fn linear<const N: usize>(ctx: &TcContext) -> Option<*const u8> {
    let start = ctx.data();
    if start + N > ctx.data_end() {
        return None;
    }
    Some(start as *const u8)
}

/// Copies bytes of the packet, wherever they are in memory; `None` if the packet ends before
/// them.
///
/// `T` must be an integer or an array of integers: the function fills it with raw bytes in the
/// order of the packet.
#[inline(always)]
pub fn copy<T: Copy>(skb: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination is `value`, and the size given is its size. The helper itself
    // refuses a range beyond the end of the packet. `skb` is the program's context.
    let result: c_long = unsafe {
        bpf_skb_load_bytes(
            skb.cast(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        )
    };
    if result == 0 {
        // SAFETY: when the helper returns 0 it has written every byte of `value`, and every
        // caller asks for integers or arrays of integers, for which all bit patterns are valid.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}
