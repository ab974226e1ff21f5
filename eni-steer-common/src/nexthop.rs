use crate::{Address, Family};

/// A destination in the table of one ENI: the data of a key of the LPM trie
/// [`crate::names::NEXTHOPS`].
///
/// The trie's prefix length counts bits of this struct: [`DestinationKey::BITS`] for a default
/// route, plus the length of the destination's prefix for others.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationKey {
    /// Slot of the ENI, big-endian, because the trie compares bits from the first byte on.
    eni: [u8; 2],
    family: u8,
    zero: u8,
    destination: Address,
}

/// How an ENI reaches a destination.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopKind {
    /// Directly: the destination itself is the neighbour.
    OnLink = 0,
    /// Through a gateway with an IPv4 address.
    ViaV4 = 1,
    /// Through a gateway with an IPv6 address, also for IPv4 destinations (RFC 5549).
    ViaV6 = 2,
    /// Not at all: the table has a blackhole, unreachable or prohibit route, or one that
    /// encapsulates.
    Refuse = 3,
}

/// A next hop, the value of [`crate::names::NEXTHOPS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Address of the gateway; [`Address::UNSPECIFIED`] if there is none.
    pub gateway: Address,
    /// Path MTU of the route in bytes; 0: that of the ENI.
    pub mtu: u32,
    /// [`NextHopKind`] as a number; unknown numbers mean [`NextHopKind::Refuse`].
    pub kind: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

/// How many routes a [`ShortTable`] can hold.
pub const SHORT: usize = 4;

/// One route of a [`ShortTable`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShortRoute {
    /// The prefix, with all bits outside of the mask zero.
    pub destination: Address,
    /// The mask that belongs to the length of the prefix.
    pub mask: Address,
    /// How the ENI reaches destinations in the prefix.
    pub hop: NextHop,
}

/// All routes of an ENI's table in one family, if they are few. They nearly always are: a default
/// route and a subnet. To walk them costs a fifth of a look-up in the trie.
///
/// The tables are in map [`crate::names::SHORT_TABLES`] at [`ShortTable::index`]. Each ENI has
/// two per family, and [`crate::EniRow::short`] names the one in effect. User space writes the
/// other one and then switches, so programs never read a table that is half written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortTable {
    /// The routes, the longest prefix first. [`ShortRoute::NOTHING`] fills the rest.
    pub routes: [ShortRoute; SHORT],
}

impl ShortTable {
    /// Number of entries of the map.
    pub const ENTRIES: u32 = crate::MAX_ENIS as u32 * 4;

    /// Returns the index of one of the two tables of an ENI slot and a family; `which` is 1 or 2.
    #[inline(always)]
    pub const fn index(eni: u16, family: Family, which: u8) -> u32 {
        (eni as u32 * 2 + family.index() as u32) * 2 + (which as u32 & 1)
    }

    /// Returns a table without routes.
    pub const fn empty() -> Self {
        Self {
            routes: [ShortRoute::NOTHING; SHORT],
        }
    }

    /// Returns the next hop of a destination; `None` if no route matches.
    #[inline(always)]
    pub fn find(&self, family: Family, destination: Address) -> Option<&NextHop> {
        self.routes
            .iter()
            .find(|route| route.matches(family, destination))
            .map(|route| &route.hop)
    }
}

impl ShortRoute {
    /// A route that matches no destination: a masked address has no bits outside of its mask.
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
    /// Bits of the key before the destination.
    pub const BITS: u32 = 32;

    /// Makes the key of `destination` in the table of the ENI at slot `eni`.
    #[inline(always)]
    pub const fn new(eni: u16, family: Family, destination: Address) -> Self {
        Self {
            eni: eni.to_be_bytes(),
            family: family as u8,
            zero: 0,
            destination,
        }
    }

    /// Returns the slot of the ENI.
    pub const fn eni(&self) -> u16 {
        u16::from_be_bytes(self.eni)
    }

    /// Returns the [`Family`] as a number.
    pub const fn family(&self) -> u8 {
        self.family
    }

    /// Returns the destination address.
    pub const fn destination(&self) -> Address {
        self.destination
    }
}

impl NextHop {
    /// Makes a next hop; `mtu` is in bytes, and 0 means the ENI's.
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
    /// Returns the kind with the number `n`. Unknown numbers give [`NextHopKind::Refuse`], so a
    /// packet is never sent to a next hop that the program does not understand.
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
