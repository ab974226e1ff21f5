/// Address family, with the numbers of Linux' `AF_INET` and `AF_INET6`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4 = 2,
    /// IPv6
    V6 = 10,
}

/// An address of either family in 16 bytes of network order; IPv4 fills the first four.
///
/// It does not say its family: the key or value it stands in does.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// All zero.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// From four bytes as they stand in an IPv4 header.
    #[inline(always)]
    pub const fn v4(b: [u8; 4]) -> Self {
        Self([b[0], b[1], b[2], b[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// From sixteen bytes as they stand in an IPv6 header.
    #[inline(always)]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self(b)
    }

    /// The bytes in network order; for IPv4 only the first four mean something.
    #[inline(always)]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

const _: () = assert!(size_of::<Address>() == 16);
