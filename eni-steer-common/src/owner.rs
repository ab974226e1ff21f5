use crate::{Address, Family};

/// The owner of an address or a prefix: the value of [`crate::names::OWNERS4`],
/// [`crate::names::OWNERS6`] and [`crate::names::PREFIXES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Slot of the address in [`crate::names::CELLS`] and [`crate::names::ADDRESSES`].
    pub address: u32,
    /// Slot of the ENI that owns the address. [`crate::NO_ENI`] if two ENIs have it: its packets
    /// are then counted per ENI and never steered.
    pub eni: u16,
    /// Always zero.
    pub zero: u16,
}

/// Which address a slot counts, in map [`crate::names::ADDRESSES`]. Only user space reads it.
///
/// User space gives a slot to an address (or delegated prefix) together with its owner, and keeps
/// it there when the address is removed. If the address comes back, its counters continue. If it
/// moves to another ENI it gets another slot, and what was counted before stays with the old
/// owner.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRow {
    /// When the slot was last given to an address or released, in nanoseconds of CLOCK_BOOTTIME.
    /// If slots run out, user space reuses the one that was released longest ago.
    pub since: u64,
    /// The address, or the first address of the prefix.
    pub address: Address,
    /// [`Family`] as a number; 0: the slot was never used.
    pub family: u8,
    /// Length of the prefix in bits; for a single address 32 or 128.
    pub length: u8,
    /// Slot of the ENI that owns the address, or [`crate::NO_ENI`].
    pub eni: u16,
    /// Always zero.
    pub zero: u32,
}

/// An address or a prefix of either family: the data of a key of an LPM trie.
///
/// The trie's prefix length counts bits of this struct: [`PrefixKey::BITS`] plus the length of
/// the prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixKey {
    family: u8,
    zero: [u8; 3],
    address: Address,
}

impl Owner {
    /// Makes the entry for the address at slot `address`, which the ENI at slot `eni` owns.
    pub const fn new(address: u32, eni: u16) -> Self {
        Self {
            address,
            eni,
            zero: 0,
        }
    }
}

impl PrefixKey {
    /// Bits of the key before the address.
    pub const BITS: u32 = 32;

    /// Makes the key of `address`.
    #[inline(always)]
    pub const fn new(family: Family, address: Address) -> Self {
        Self {
            family: family as u8,
            zero: [0; 3],
            address,
        }
    }

    /// Returns the [`Family`] as a number.
    pub const fn family(&self) -> u8 {
        self.family
    }

    /// Returns the address, or the first address of the prefix.
    pub const fn address(&self) -> Address {
        self.address
    }
}

const _: () = assert!(size_of::<Owner>() == 8);
const _: () = assert!(size_of::<AddressRow>() == 32);
const _: () = assert!(size_of::<PrefixKey>() == 20);
