//! The packet and its metadata: the only place that reads through raw pointers.

use aya_ebpf::{
    bindings::__sk_buff, cty::c_long, helpers::generated::bpf_skb_load_bytes, programs::TcContext,
};

/// A load in one piece. Packet data can be read at any address on the machines we are for, but
/// the compiler does not know it, and would load byte by byte.
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

/// The same where the programs are only linted.
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
            // SAFETY: the pointer is the context the kernel called the program with; it is
            // valid as long as the program runs, and the verifier checks each field.
            unsafe { (*ctx.skb.skb).$name }
        }
    };
}

field!(
    /// Bytes of the packet, from the Ethernet header on.
    len
);
field!(
    /// Bytes on the wire as the queueing layer estimated them.
    wire_len
);
field!(
    /// Payload bytes of one segment; 0 if the packet is not a super-packet.
    gso_size
);
field!(
    /// Segments of a super-packet; 0 if nobody has counted them.
    gso_segs
);
field!(
    /// Not 0 if a VLAN tag travels beside the packet instead of in it.
    vlan_present
);
field!(
    /// The mark.
    mark
);

/// Reads two bytes of a packet, wherever they stand.
///
/// # Safety
///
/// `at` points to as many readable bytes.
#[inline(always)]
pub unsafe fn half(at: *const u8) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { load!("u16", u16, at) }
}

/// Reads four bytes of a packet, wherever they stand.
///
/// # Safety
///
/// `at` points to as many readable bytes.
#[inline(always)]
pub unsafe fn word(at: *const u8) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { load!("u32", u32, at) }
}

/// The first `N` bytes of the packet where they lie in one piece, which is nearly always.
#[inline(always)]
pub fn linear<const N: usize>(ctx: &TcContext) -> Option<*const u8> {
    let start = ctx.data();
    if start + N > ctx.data_end() {
        return None;
    }
    Some(start as *const u8)
}

/// Copies bytes of the packet wherever they lie; none if the packet ends before.
#[inline(always)]
pub fn copy<T: Copy>(skb: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination has the size given, and the helper bounds the source itself.
    let result: c_long = unsafe {
        bpf_skb_load_bytes(
            skb.cast(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        )
    };
    if result == 0 {
        // SAFETY: on success the helper has filled every byte; all callers ask for integers or
        // arrays of integers.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}
