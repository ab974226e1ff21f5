use crate::{Address, Family};

/// A destination in one ENI's table, as data of an LPM trie key.
///
/// The prefix length counts bits of this struct: [`DestinationKey::BITS`] for a default
/// route, plus the length of the destination's prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationKey {
    /// ENI slot, big-endian: the trie reads bits from the first byte on.
    eni: [u8; 2],
    family: u8,
    zero: u8,
    destination: Address,
}

/// How a destination is reached through an ENI.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopKind {
    /// The destination itself is the neighbour.
    OnLink = 0,
    /// Through the gateway, an IPv4 address.
    ViaV4 = 1,
    /// Through the gateway, an IPv6 address (also for IPv4 destinations, RFC 5549).
    ViaV6 = 2,
    /// Blackhole, unreachable or prohibit.
    Refuse = 3,
}

/// A next hop, the value of [`crate::names::NEXTHOPS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The gateway; unspecified if there is none.
    pub gateway: Address,
    /// Path MTU of the route in bytes; 0: the ENI's.
    pub mtu: u32,
    /// [`NextHopKind`] as a number; unknown numbers refuse.
    pub kind: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

impl DestinationKey {
    /// Bits before the destination.
    pub const BITS: u32 = 32;

    /// The key of `destination` in the table of the ENI at slot `eni`.
    #[inline(always)]
    pub const fn new(eni: u16, family: Family, destination: Address) -> Self {
        Self {
            eni: eni.to_be_bytes(),
            family: family as u8,
            zero: 0,
            destination,
        }
    }

    /// The ENI slot.
    pub const fn eni(&self) -> u16 {
        u16::from_be_bytes(self.eni)
    }

    /// Family as a number.
    pub const fn family(&self) -> u8 {
        self.family
    }

    /// The destination.
    pub const fn destination(&self) -> Address {
        self.destination
    }
}

impl NextHop {
    /// A next hop of `kind`.
    pub const fn new(kind: NextHopKind, gateway: Address, mtu: u32) -> Self {
        Self {
            gateway,
            mtu,
            kind: kind as u8,
            zero: [0; 3],
        }
    }
}

impl NextHopKind {
    /// From the number in a map.
    #[inline(always)]
    pub const fn from_u8(n: u8) -> Self {
        match n {
            0 => Self::OnLink,
            1 => Self::ViaV4,
            2 => Self::ViaV6,
            _ => Self::Refuse,
        }
    }
}

const _: () = assert!(size_of::<DestinationKey>() == 20);
const _: () = assert!(size_of::<NextHop>() == 24);
