/// How many ENIs the tables can hold. The largest instance of any cloud has fewer.
pub const MAX_ENIS: u16 = 64;

/// "No ENI": the owner of an address that two ENIs have.
pub const NO_ENI: u16 = u16::MAX;

/// What the egress program of an ENI does with a packet whose source another ENI owns.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Mode {
    /// Count it and let it go: look, touch nothing.
    #[default]
    Count = 0,
    /// Redirect it to the owner.
    Steer = 1,
    /// Drop it.
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

/// One ENI as the programs see it, in map [`crate::names::ENIS`] at its slot.
///
/// A slot is given to a MAC address for good, so that counters continue when an ENI is
/// unplugged and comes back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EniRow {
    /// Interface index; 0: the ENI is not there or down, nothing can be steered to it.
    pub ifindex: u32,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// [`Mode`] as a number; anything else means [`Mode::Count`].
    pub mode: u8,
    /// 1: the slot is taken (by `mac`), 0: free.
    pub taken: u8,
    /// The ENI's MAC address.
    pub mac: [u8; 6],
    /// Identifies the object files from which this ENI's programs were loaded, by
    /// [`crate::Direction`]; 0: none.
    pub build: [u64; 2],
    /// aya-log level (0 off, 1 error ... 5 trace) they were loaded with, by [`crate::Direction`].
    pub log_level: [u8; 2],
    /// Which [`crate::ShortTable`] is in force, by [`crate::Family::index`]: 1 or 2; 0: none, the
    /// table is in [`crate::names::NEXTHOPS`] only.
    pub short: [u8; 2],
    /// Interface index the slot belongs to, also while `ifindex` is 0.
    pub home: u32,
    /// When the ENI was last taken in or released, nanoseconds of CLOCK_BOOTTIME.
    pub since: u64,
}

impl Mode {
    /// From the number in a map; unknown numbers are the harmless mode.
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
