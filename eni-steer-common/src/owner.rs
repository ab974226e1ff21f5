use crate::{Address, Family};

/// Who owns an address or a prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Slot of the address in [`crate::names::CELLS`]; kept for good, so that counters
    /// continue when an address goes and comes back.
    pub address: u32,
    /// Slot of the ENI that owns it; [`crate::NO_ENI`] if nobody does.
    pub eni: u16,
    /// Why nobody does: 1, two ENIs have it (the programs count it per ENI, and never steer
    /// it); 0, no ENI has it now (kept so that its counters continue when it comes back; the
    /// programs treat it as if it were not there).
    pub ambiguous: u16,
}

/// Address or prefix of either family, as data of an LPM trie key.
///
/// The prefix length counts bits of this struct: [`PrefixKey::BITS`] plus the length of
/// the prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixKey {
    family: u8,
    zero: [u8; 3],
    address: Address,
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
const _: () = assert!(size_of::<PrefixKey>() == 20);
