//! What the programs of `explain --live` count: see `eni-steer-ebpf/src/lookups.rs`.

/// Places in the kernel's structures. They differ between kernels, so the loader reads them from
/// the kernel's own types (BTF) and writes them into the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `flowi4.saddr`, or `flowi6.saddr`.
    pub source: u32,
    /// `fib_nh_common.nhc_oif`
    pub nexthop_oif: u32,
    /// `fib_nh_common.nhc_dev`
    pub nexthop_device: u32,
    /// `net_device.nd_net`
    pub device_net: u32,
    /// `net.ns.inum`
    pub net_inode: u32,
    /// `fib6_table.tb6_id`
    pub table6_id: u32,
    /// `fib6_result.nh`
    pub result6_nexthop: u32,
    /// `fib6_result.fib6_type`
    pub result6_type: u32,
}

const _: () = assert!(size_of::<Offsets>() == 32);

/// A kind of lookup.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupKey {
    /// The table.
    pub table: u32,
    /// Interface of the route that was found; 0: none was found.
    pub oif: u32,
    /// Of IPv4, the errno that a route answers, negative; 0: a way out.
    pub error: i32,
    /// Of IPv6, the type of the route (`RTN_*`).
    pub kind: u32,
}

const _: () = assert!(size_of::<LookupKey>() == 16);
