/// Address family. The numbers are those of Linux' `AF_INET` and `AF_INET6`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4 = 2,
    /// IPv6.
    V6 = 10,
}

impl Family {
    /// Returns 0 for IPv4 and 1 for IPv6, as an index into arrays with one entry per family.
    #[inline(always)]
    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// An IP address in 16 bytes of network order; an IPv4 address fills the first four and leaves
/// the others zero.
///
/// It does not say which family it belongs to: the key or the value that contains it does.
///
/// The bytes are stored as four words, each with its bytes in memory as they are in the packet.
/// The programs can then copy words; the BPF target would copy an array of bytes one by one.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address([u32; 4]);

impl Address {
    /// The address 0.0.0.0 or ::, all bytes zero.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// Makes an address of four words whose bytes in memory are those of an IP header.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// Makes an address of the four bytes of an IPv4 header.
    pub const fn v4(b: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(b), 0, 0, 0])
    }

    /// Makes an address of the sixteen bytes of an IPv6 header.
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

    /// Returns the bytes in network order. For IPv4 only the first four have a meaning.
    pub const fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let mut i = 0;
        while i < 16 {
            bytes[i] = self.0[i / 4].to_ne_bytes()[i % 4];
            i += 1;
        }
        bytes
    }

    /// Returns the four words, in the form of [`Address::from_words`].
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.0
    }
}

const _: () = assert!(size_of::<Address>() == 16);
