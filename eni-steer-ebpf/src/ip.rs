//! What IPv4 and IPv6 have in common.

use eni_steer_common::{Address, Class, Count, Family, Owner, Settings};

use crate::owners;

/// The fixed IP header, as far as decisions need it: options, extension headers and fragments
/// can not disturb them.
#[derive(Clone, Copy)]
pub struct Header<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
}

/// What the common packet needs, written once and compiled for each family.
pub trait Ip: Copy {
    /// Its family.
    const FAMILY: Family;
    /// Its class in the totals.
    const CLASS: Class;

    /// Its owner, from the exact table.
    fn owner(&self) -> Option<&'static Owner>;
    /// Both families in one type.
    fn address(&self) -> Address;
    /// The address of a remote source, folded as the settings say.
    fn folded(&self, settings: &Settings) -> Address;
}

/// An IPv4 address: a word with its bytes as they stand in the packet.
#[derive(Clone, Copy)]
pub struct V4(pub u32);

/// An IPv6 address: words with their bytes as they stand in the packet.
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

/// An IP packet of either family, for everything beyond the common packet: there one code
/// serves both.
pub struct Packet {
    /// Its family.
    pub family: Family,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// What it counts.
    pub count: Count,
}

impl Packet {
    /// Of a header.
    #[inline(always)]
    pub fn new<A: Ip>(header: &Header<A>, count: Count) -> Self {
        Self {
            family: A::FAMILY,
            source: header.source.address(),
            destination: header.destination.address(),
            count,
        }
    }

    /// Its class in the totals.
    #[inline(always)]
    pub fn class(&self) -> Class {
        match self.family {
            Family::V4 => Class::Ipv4,
            Family::V6 => Class::Ipv6,
        }
    }
}

/// A word with these bytes in memory.
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// 0.0.0.0 or ::
#[inline(always)]
pub fn is_unspecified(address: Address) -> bool {
    let [a, b, c, d] = address.words();
    a | b | c | d == 0
}

/// 169.254.0.0/16 or fe80::/10
#[inline(always)]
pub fn is_link_local(family: Family, address: Address) -> bool {
    let first = address.words()[0];
    match family {
        Family::V4 => first & word([255, 255, 0, 0]) == word([169, 254, 0, 0]),
        Family::V6 => first & word([0xff, 0xc0, 0, 0]) == word([0xfe, 0x80, 0, 0]),
    }
}

/// 224.0.0.0/4, 255.255.255.255 or ff00::/8. The broadcast address of a subnet shows only in
/// the Ethernet header.
#[inline(always)]
pub fn is_multicast(family: Family, address: Address) -> bool {
    let first = address.words()[0];
    match family {
        Family::V4 => first & word([0xf0, 0, 0, 0]) == word([0xe0, 0, 0, 0]) || first == u32::MAX,
        Family::V6 => first & word([0xff, 0, 0, 0]) == word([0xff, 0, 0, 0]),
    }
}
