//! The programs of `explain --live`: they count the lookups of one source in the kernel's routing
//! tables, by table and answer. They are an object of their own, apart from the TC programs.
//!
//! They run at the tracepoints `fib:fib_table_lookup` and `fib6:fib6_table_lookup`, which every
//! lookup of every network namespace passes. Where structures of the kernel are read, the loader
//! has found out where their fields are.
#![no_std]
#![no_main]
#![allow(
    missing_docs,
    reason = "the macro leaves the doc comments of what it makes out"
)]

use aya_ebpf::{
    Global,
    helpers::bpf_probe_read_kernel,
    macros::{map, raw_tracepoint},
    maps::{PerCpuArray, PerCpuHashMap},
    programs::RawTracePointContext,
};
use eni_steer_common::{LookupKey, Offsets};

/// Where fields are.
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static OFFSETS: Global<Offsets> = Global::new(Offsets {
    source: 0,
    nexthop_oif: 0,
    nexthop_device: 0,
    device_net: 0,
    net_inode: 0,
    table6_id: 0,
    result6_nexthop: 0,
    result6_type: 0,
});

/// The source, in network byte order; of IPv4 the first word.
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static SOURCE: Global<[u32; 4]> = Global::new([0; 4]);

/// The network namespace, by the number of its inode.
// SAFETY: no other symbol of the object has this name, by which the loader finds the global.
#[unsafe(no_mangle)]
static NAMESPACE: Global<u32> = Global::new(0);

/// How often each kind of lookup was seen.
#[map]
static LOOKUPS: PerCpuHashMap<LookupKey, u64> = PerCpuHashMap::with_max_entries(1024, 0);

/// Lookups for which there was no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `fib_table_lookup(u32 tb_id, const struct flowi4 *flp, const struct fib_nh_common *nhc,
/// int err)`
#[raw_tracepoint(tracepoint = "fib_table_lookup")]
pub fn eni_steer_fib4(ctx: RawTracePointContext) -> i32 {
    let offsets = OFFSETS.load();
    let (table, flow, nexthop): (u64, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let error: u64 = ctx.arg(3);
    if read::<u32>(flow, offsets.source) != Some(SOURCE.load()[0]) {
        return 0;
    }
    let mut key = LookupKey {
        table: table as u32,
        oif: 0,
        error: error as i32,
        kind: 0,
    };
    if nexthop != 0 {
        let device = read::<u64>(nexthop, offsets.nexthop_device).unwrap_or(0);
        let net = read::<u64>(device, offsets.device_net).unwrap_or(0);
        // A lookup that finds no route does not tell in which namespace it is.
        if !is_here(net, &offsets) {
            return 0;
        }
        key.oif = read::<u32>(nexthop, offsets.nexthop_oif).unwrap_or(0);
    }
    count(&key);
    0
}

/// `fib6_table_lookup(const struct net *net, const struct fib6_result *res,
/// struct fib6_table *table, const struct flowi6 *flp)`
#[raw_tracepoint(tracepoint = "fib6_table_lookup")]
pub fn eni_steer_fib6(ctx: RawTracePointContext) -> i32 {
    let offsets = OFFSETS.load();
    let (net, result, table, flow): (u64, u64, u64, u64) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    if read::<[u32; 4]>(flow, offsets.source) != Some(SOURCE.load()) || !is_here(net, &offsets) {
        return 0;
    }
    // `fib6_nh` begins with its `fib_nh_common`.
    let nexthop = read::<u64>(result, offsets.result6_nexthop).unwrap_or(0);
    count(&LookupKey {
        table: read::<u32>(table, offsets.table6_id).unwrap_or(0),
        oif: read::<u32>(nexthop, offsets.nexthop_oif).unwrap_or(0),
        error: 0,
        kind: read::<u32>(result, offsets.result6_type).unwrap_or(0),
    });
    0
}

/// Returns whether this is the namespace that is watched.
#[inline(always)]
fn is_here(net: u64, offsets: &Offsets) -> bool {
    read::<u32>(net, offsets.net_inode) == Some(NAMESPACE.load())
}

/// Reads a field of a structure of the kernel.
#[inline(always)]
fn read<T>(structure: u64, offset: u32) -> Option<T> {
    let place = structure.wrapping_add(u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address: it copies what is there, or fails.
    unsafe { bpf_probe_read_kernel(place) }.ok()
}

#[inline(always)]
fn count(key: &LookupKey) {
    if let Some(known) = LOOKUPS.get_ptr_mut(key) {
        // SAFETY: the entry is this CPU's own, and the map is preallocated: its memory stays.
        unsafe { *known += 1 };
    } else if LOOKUPS.insert(key, 1, 0).is_err()
        && let Some(lost) = LOST.get_ptr_mut(0)
    {
        // SAFETY: the entry is this CPU's own.
        unsafe { *lost += 1 };
    }
}

/// Rust demands a panic handler. It is never reached: nothing in the programs panics.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_probe_read_kernel` is reserved for programs whose license is compatible with the GPL.
// SAFETY: loaders expect exactly this in the section: a string that ends with a zero byte. No
// other symbol of the object has the name.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
