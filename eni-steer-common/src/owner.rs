use crate::{Address, Family};

/// Who owns an address or a prefix, the value of [`crate::names::OWNERS4`] and its like.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Slot of the address in [`crate::names::CELLS`] and [`crate::names::ADDRESSES`].
    pub address: u32,
    /// Slot of the ENI that owns it; [`crate::NO_ENI`]: two ENIs have it, so nobody does
    /// (counted per ENI, never steered).
    pub eni: u16,
    /// Always zero.
    pub zero: u16,
}

/// What an address slot counts, in map [`crate::names::ADDRESSES`]. The programs do not read it.
///
/// A slot is given to an address (or delegated prefix) together with its owner, and is kept
/// when the address goes: when it comes back, its counters continue; when it moves to another
/// ENI, what was counted before stays with the old one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRow {
    /// When the slot was last given or released, nanoseconds of CLOCK_BOOTTIME: of the slots
    /// that no owner entry names, the one released longest ago is given away first.
    pub since: u64,
    /// The address or the prefix.
    pub address: Address,
    /// [`Family`] as a number; 0: the slot was never given.
    pub family: u8,
    /// Prefix length; an address has the length of its family.
    pub length: u8,
    /// Slot of the ENI that owns it, or [`crate::NO_ENI`].
    pub eni: u16,
    /// Always zero.
    pub zero: u32,
}

/// Address or prefix of either family, as data of an LPM trie key.
///
/// The prefix length counts bits of this struct: [`PrefixKey::BITS`] plus the length of
/// the prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixKey {
    family: u8,
    zero: [u8; 3],
    address: Address,
}

impl Owner {
    /// The owner at ENI slot `eni` of the address at slot `address`.
    pub const fn new(address: u32, eni: u16) -> Self {
        Self {
            address,
            eni,
            zero: 0,
        }
    }
}

impl PrefixKey {
    /// Bits before the address.
    pub const BITS: u32 = 32;

    /// The key of `address`.
    #[inline(always)]
    pub const fn new(family: Family, address: Address) -> Self {
        Self {
            family: family as u8,
            zero: [0; 3],
            address,
        }
    }

    /// Family as a number.
    pub const fn family(&self) -> u8 {
        self.family
    }

    /// The address.
    pub const fn address(&self) -> Address {
        self.address
    }
}

const _: () = assert!(size_of::<Owner>() == 8);
const _: () = assert!(size_of::<AddressRow>() == 32);
const _: () = assert!(size_of::<PrefixKey>() == 20);
