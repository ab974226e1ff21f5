/// How many ENIs the maps can hold. The largest instance of any cloud has fewer.
pub const MAX_ENIS: u16 = 64;

/// The owner of an address that two ENIs have. No ENI has this slot.
pub const NO_ENI: u16 = u16::MAX;

/// What the egress program of an ENI does with a packet whose source another ENI owns.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Mode {
    /// Count the packet and let it leave. Nothing changes for it.
    #[default]
    Count = 0,
    /// Redirect the packet to the owner.
    Steer = 1,
    /// Drop the packet.
    Drop = 2,
}

#[cfg(feature = "serde")]
impl core::fmt::Display for Mode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Count => "count",
            Self::Steer => "steer",
            Self::Drop => "drop",
        })
    }
}

/// One ENI, in map [`crate::names::ENIS`] at its slot. The programs read it.
///
/// User space keeps a slot for one MAC address, so that the counters continue when an ENI is
/// unplugged and comes back. Only when no slot is free it reuses the one that was released
/// longest ago.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EniRow {
    /// Interface index; 0: the ENI is absent or down, so nothing can be steered to it.
    pub ifindex: u32,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// [`Mode`] as a number; any unknown number means [`Mode::Count`].
    pub mode: u8,
    /// 1: the slot belongs to the ENI with the address `mac`; 0: it is free.
    pub taken: u8,
    /// MAC address of the ENI.
    pub mac: [u8; 6],
    /// Identifies the object file from which each of this ENI's programs was loaded, indexed by
    /// [`crate::Direction`]; 0: none is loaded.
    pub build: [u64; 2],
    /// The aya-log level with which each program was loaded (0 off, 1 error ... 5 trace), indexed
    /// by [`crate::Direction`].
    pub log_level: [u8; 2],
    /// Which of the two [`crate::ShortTable`]s is in effect, 1 or 2, indexed by
    /// [`crate::Family::index`]; 0: neither, the routes are in [`crate::names::NEXTHOPS`] only.
    pub short: [u8; 2],
    /// Interface index of the ENI that the slot belongs to. Unlike `ifindex` it stays while the
    /// ENI is down; 0: the slot is released.
    pub home: u32,
    /// When the slot was last given to an interface or released, in nanoseconds of
    /// CLOCK_BOOTTIME.
    pub since: u64,
}

impl Mode {
    /// Returns the mode with the number `n`. Unknown numbers give [`Mode::Count`], which changes
    /// nothing.
    #[inline(always)]
    pub const fn from_u8(n: u8) -> Self {
        match n {
            1 => Mode::Steer,
            2 => Mode::Drop,
            _ => Mode::Count,
        }
    }
}

const _: () = assert!(size_of::<EniRow>() == 48);
