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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// Routes that a [`ShortTable`] can hold.
pub const SHORT: usize = 4;

/// One route of a [`ShortTable`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShortRoute {
    /// The prefix.
    pub destination: Address,
    /// Its mask.
    pub mask: Address,
    /// How it is reached.
    pub hop: NextHop,
}

/// The whole of an ENI's table in one family, where it is short, as it nearly always is: a
/// default route and a subnet. A walk over it costs a fifth of a look-up in the trie.
///
/// In map [`crate::names::SHORT_TABLES`] at [`ShortTable::index`]. There are two for each ENI
/// and family, of which [`crate::EniRow::short`] names the one in force: the other one can be
/// written while programs read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortTable {
    /// Routes, the longest prefix first; after them, routes that match nothing.
    pub routes: [ShortRoute; SHORT],
}

impl ShortTable {
    /// Entries of the map.
    pub const ENTRIES: u32 = crate::MAX_ENIS as u32 * 4;

    /// Index of one of the two tables of an ENI slot and family; `which` is 1 or 2.
    #[inline(always)]
    pub const fn index(eni: u16, family: Family, which: u8) -> u32 {
        (eni as u32 * 2 + family.index() as u32) * 2 + (which as u32 & 1)
    }

    /// No route.
    pub const fn empty() -> Self {
        Self {
            routes: [ShortRoute::NOTHING; SHORT],
        }
    }

    /// The next hop of a destination.
    #[inline(always)]
    pub fn find(&self, family: Family, destination: Address) -> Option<&NextHop> {
        self.routes
            .iter()
            .find(|route| route.matches(family, destination))
            .map(|route| &route.hop)
    }
}

impl ShortRoute {
    /// Matches no destination: a masked address has no bit outside of its mask.
    pub const NOTHING: Self = Self {
        destination: Address::from_words([u32::MAX; 4]),
        mask: Address::UNSPECIFIED,
        hop: NextHop::new(NextHopKind::Refuse, Address::UNSPECIFIED, 0),
    };

    #[inline(always)]
    fn matches(&self, family: Family, destination: Address) -> bool {
        let is = destination.words();
        let (mask, should) = (self.mask.words(), self.destination.words());
        let words = match family {
            Family::V4 => 1,
            Family::V6 => 4,
        };
        (0..words).all(|i| is[i] & mask[i] == should[i])
    }
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
const _: () = assert!(size_of::<ShortTable>() == 224);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_reaches_nothing_and_a_default_route_everything() {
        let mut table = ShortTable::empty();
        let (v4, v6) = (Address::v4([0; 4]), Address::v6([0xff; 16]));
        assert_eq!(table.find(Family::V4, v4), None);
        assert_eq!(table.find(Family::V6, v6), None);
        let hop = NextHop::new(NextHopKind::OnLink, Address::UNSPECIFIED, 0);
        table.routes[0] = ShortRoute {
            hop,
            ..ShortRoute::default()
        };
        assert_eq!(table.find(Family::V4, v4), Some(&hop));
        assert_eq!(table.find(Family::V6, v6), Some(&hop));
    }

    #[test]
    fn every_table_has_an_index_of_its_own() {
        let mut seen = [false; ShortTable::ENTRIES as usize];
        for eni in 0..crate::MAX_ENIS {
            for family in [Family::V4, Family::V6] {
                for which in [1, 2] {
                    let index = ShortTable::index(eni, family, which) as usize;
                    assert!(!core::mem::replace(&mut seen[index], true));
                }
            }
        }
    }
}
