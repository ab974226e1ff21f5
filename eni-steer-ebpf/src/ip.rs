//! IPv4 and IPv6 behind one trait, so that the common path is written once.

use eni_steer_common::{Address, Class, Count, Family, Owner, Settings};

use crate::owners;

/// The two addresses of an IP header. Decisions need nothing else of it, so IP options, extension
/// headers and fragments do not affect them.
#[derive(Clone, Copy)]
pub struct Header<A> {
    /// The source address.
    pub source: A,
    /// The destination address.
    pub destination: A,
}

/// An address of one family, with what the common path needs. The code is written once and
/// compiled for each family.
pub trait Ip: Copy {
    /// The family of the address.
    const FAMILY: Family;
    /// The class that counts packets of this family in the totals.
    const CLASS: Class;

    /// Returns the owner that the table of exact addresses names, if any. It does not look at
    /// delegated prefixes.
    fn owner(&self) -> Option<&'static Owner>;
    /// Returns the address in the type that serves both families.
    fn address(&self) -> Address;
    /// Returns the address, masked to the prefix length by which the settings group sources of
    /// this family.
    fn folded(&self, settings: &Settings) -> Address;
}

/// An IPv4 address: one word whose bytes in memory are those of the packet.
#[derive(Clone, Copy)]
pub struct V4(pub u32);

/// An IPv6 address: four words whose bytes in memory are those of the packet.
#[derive(Clone, Copy)]
pub struct V6(pub [u32; 4]);

impl Ip for V4 {
    const FAMILY: Family = Family::V4;
    const CLASS: Class = Class::Ipv4;

    #[inline(always)]
    fn owner(&self) -> Option<&'static Owner> {
        owners::of_v4(&self.0)
    }

    #[inline(always)]
    fn address(&self) -> Address {
        Address::from_words([self.0, 0, 0, 0])
    }

    #[inline(always)]
    fn folded(&self, settings: &Settings) -> Address {
        Address::from_words([self.0 & settings.source_mask4.words()[0], 0, 0, 0])
    }
}

impl Ip for V6 {
    const FAMILY: Family = Family::V6;
    const CLASS: Class = Class::Ipv6;

    #[inline(always)]
    fn owner(&self) -> Option<&'static Owner> {
        owners::of_v6(&self.0)
    }

    #[inline(always)]
    fn address(&self) -> Address {
        Address::from_words(self.0)
    }

    #[inline(always)]
    fn folded(&self, settings: &Settings) -> Address {
        let [a, b, c, d] = self.0;
        let [k, l, m, n] = settings.source_mask6.words();
        Address::from_words([a & k, b & l, c & m, d & n])
    }
}

/// An IP packet of either family, for everything beyond the common path. There the same code
/// serves both families, so it is compiled and verified once.
pub struct Packet {
    /// The family of both addresses.
    pub family: Family,
    /// The source address.
    pub source: Address,
    /// The destination address.
    pub destination: Address,
    /// The packets and bytes that it adds to a counter, see [`crate::wire`].
    pub count: Count,
}

impl Packet {
    /// Builds the packet from its header and from what it counts.
    #[inline(always)]
    pub fn new<A: Ip>(header: &Header<A>, count: Count) -> Self {
        Self {
            family: A::FAMILY,
            source: header.source.address(),
            destination: header.destination.address(),
            count,
        }
    }

    /// Returns the class that counts the packet in the totals.
    #[inline(always)]
    pub fn class(&self) -> Class {
        match self.family {
            Family::V4 => Class::Ipv4,
            Family::V6 => Class::Ipv6,
        }
    }
}

/// Returns the word whose bytes in memory are `bytes`, on machines of either byte order.
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// Returns whether the address is 0.0.0.0 or ::.
#[inline(always)]
pub fn is_unspecified(address: Address) -> bool {
    let [a, b, c, d] = address.words();
    a | b | c | d == 0
}

/// Returns whether the address is in 169.254.0.0/16 or fe80::/10.
#[inline(always)]
pub fn is_link_local(family: Family, address: Address) -> bool {
    let first = address.words()[0];
    match family {
        Family::V4 => first & word([255, 255, 0, 0]) == word([169, 254, 0, 0]),
        Family::V6 => first & word([0xff, 0xc0, 0, 0]) == word([0xfe, 0x80, 0, 0]),
    }
}

/// Returns whether the address is in 224.0.0.0/4 or ff00::/8, or is 255.255.255.255.
///
/// It can not recognise the broadcast address of a subnet, which depends on the subnet's length.
/// See [`crate::packet::to_a_group`] for those.
#[inline(always)]
pub fn is_multicast(family: Family, address: Address) -> bool {
    let first = address.words()[0];
    match family {
        Family::V4 => first & word([0xf0, 0, 0, 0]) == word([0xe0, 0, 0, 0]) || first == u32::MAX,
        Family::V6 => first & word([0xff, 0, 0, 0]) == word([0xff, 0, 0, 0]),
    }
}
