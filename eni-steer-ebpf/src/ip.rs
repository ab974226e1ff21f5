//! What IPv4 and IPv6 have in common, so that each decision is written once and compiled
//! for both.

use eni_steer_common::{Address, Class, Family, Owner, Settings};

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

/// An IPv4 or IPv6 address: words with their bytes as they stand in the packet.
pub trait Ip: Copy {
    /// Its family.
    const FAMILY: Family;
    /// Its class in the totals.
    const CLASS: Class;
    /// Bits of an address.
    const BITS: u32;

    /// Its owner, from the exact table.
    fn owner(&self) -> Option<&'static Owner>;
    /// Both families in one type, for keys of shared tables.
    fn address(&self) -> Address;
    /// The address of a remote source, folded as the settings say.
    fn folded(&self, settings: &Settings) -> Address;
    /// 0.0.0.0 or ::
    fn is_unspecified(&self) -> bool;
    /// 169.254.0.0/16 or fe80::/10
    fn is_link_local(&self) -> bool;
    /// 224.0.0.0/4, 255.255.255.255 or ff00::/8. The broadcast address of a subnet shows
    /// only in the Ethernet header.
    fn is_multicast(&self) -> bool;
}

/// An IPv4 address.
#[derive(Clone, Copy)]
pub struct V4(pub u32);

/// An IPv6 address.
#[derive(Clone, Copy)]
pub struct V6(pub [u32; 4]);

/// A word with only its first bytes in memory set.
const fn leading(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

impl Ip for V4 {
    const FAMILY: Family = Family::V4;
    const CLASS: Class = Class::Ipv4;
    const BITS: u32 = 32;

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

    #[inline(always)]
    fn is_unspecified(&self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self.0 & leading([255, 255, 0, 0]) == leading([169, 254, 0, 0])
    }

    #[inline(always)]
    fn is_multicast(&self) -> bool {
        self.0 & leading([0xf0, 0, 0, 0]) == leading([0xe0, 0, 0, 0]) || self.0 == u32::MAX
    }
}

impl Ip for V6 {
    const FAMILY: Family = Family::V6;
    const CLASS: Class = Class::Ipv6;
    const BITS: u32 = 128;

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

    #[inline(always)]
    fn is_unspecified(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self.0[0] & leading([0xff, 0xc0, 0, 0]) == leading([0xfe, 0x80, 0, 0])
    }

    #[inline(always)]
    fn is_multicast(&self) -> bool {
        self.0[0] & leading([0xff, 0, 0, 0]) == leading([0xff, 0, 0, 0])
    }
}
