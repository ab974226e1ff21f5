/// Address family, with the numbers of Linux' `AF_INET` and `AF_INET6`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4 = 2,
    /// IPv6
    V6 = 10,
}

impl Family {
    /// 0 for IPv4, 1 for IPv6.
    #[inline(always)]
    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// An address of either family in 16 bytes of network order; IPv4 fills the first four.
///
/// It does not say its family: the key or value it stands in does.
///
/// The bytes are held as words, each with its bytes in memory as they stand in the packet:
/// the programs then copy words, where the BPF target would copy an array of bytes one by one.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address([u32; 4]);

impl Address {
    /// All zero.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// From words whose bytes stand in memory as in an IP header.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// From four bytes as they stand in an IPv4 header.
    pub const fn v4(b: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(b), 0, 0, 0])
    }

    /// From sixteen bytes as they stand in an IPv6 header.
    pub const fn v6(b: [u8; 16]) -> Self {
        let mut words = [0; 4];
        let mut i = 0;
        while i < 4 {
            let at = 4 * i;
            words[i] = u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            i += 1;
        }
        Self(words)
    }

    /// The bytes in network order; for IPv4 only the first four mean something.
    pub const fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let mut i = 0;
        while i < 16 {
            bytes[i] = self.0[i / 4].to_ne_bytes()[i % 4];
            i += 1;
        }
        bytes
    }

    /// The words, see [`Address::from_words`].
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.0
    }
}

const _: () = assert!(size_of::<Address>() == 16);
