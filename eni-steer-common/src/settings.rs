use crate::{Address, Family};

/// The settings that all programs read, in map [`crate::names::SETTINGS`] at index 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The programs leave mismatched packets alone if `mark & exempt_mask == exempt_mark`. A mask
    /// of 0 exempts none.
    pub exempt_mark: u32,
    /// The bits of the mark that are compared with `exempt_mark`.
    pub exempt_mask: u32,
    /// 1 if [`crate::names::PREFIXES`] has entries; 0 saves the programs the look-up.
    pub prefixes: u32,
    /// Which destinations can be in [`crate::names::EXEMPT`] at all; for all others the programs
    /// save the look-up.
    pub exempt: ExemptFilter,
    /// How many mismatch events each CPU may send per second and ENI; 0 turns events off.
    pub events_per_second: u32,
    /// The mask by which ingress packets are grouped by their IPv4 source.
    pub source_mask4: Address,
    /// The mask by which ingress packets are grouped by their IPv6 source.
    pub source_mask6: Address,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exempt_mark: 0,
            exempt_mask: 0,
            prefixes: 0,
            exempt: ExemptFilter::default(),
            events_per_second: 100,
            source_mask4: Address::v4([0xff; 4]),
            source_mask6: Address::v6([0xff; 16]),
        }
    }
}

/// A filter ahead of the look-up in [`crate::names::EXEMPT`], with 256 bits per family. A
/// destination whose bit is not set is not exempt, and for nearly every destination that settles
/// it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExemptFilter {
    words: [[u32; 8]; 2],
}

impl ExemptFilter {
    /// Sets the bits of every destination in a prefix of `length` bits, so that they are looked
    /// up.
    pub fn add(&mut self, family: Family, address: Address, length: u8) {
        let words = &mut self.words[family.index()];
        if length < Self::bits(family) {
            *words = [u32::MAX; 8];
        } else {
            let bit = Self::bit(family, address);
            words[bit / 32] |= 1 << (bit % 32);
        }
    }

    /// Returns whether a destination can be exempt. `true` means that a look-up has to decide.
    #[inline(always)]
    pub fn may_hold(&self, family: Family, address: Address) -> bool {
        let bit = Self::bit(family, address);
        self.words[family.index()][bit / 32 % 8] >> (bit % 32) & 1 != 0
    }

    /// Returns how many leading bits of an address select its bit in the filter. A shorter prefix
    /// sets all 256 bits.
    const fn bits(family: Family) -> u8 {
        match family {
            Family::V4 => 16,
            Family::V6 => 32,
        }
    }

    #[inline(always)]
    const fn bit(family: Family, address: Address) -> usize {
        let [a, b, c, d] = address.words()[0].to_ne_bytes();
        let folded = match family {
            Family::V4 => a ^ b,
            Family::V6 => a ^ b ^ c ^ d,
        };
        folded as usize
    }
}

const _: () = assert!(size_of::<Settings>() == 112);
const _: () = assert!(size_of::<ExemptFilter>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_lets_pass_whatever_it_was_given() {
        let mut filter = ExemptFilter::default();
        let service = Address::v4([100, 100, 100, 200]);
        assert!(!filter.may_hold(Family::V4, service));
        filter.add(Family::V4, service, 32);
        assert!(filter.may_hold(Family::V4, service));
        assert!(!filter.may_hold(Family::V4, Address::v4([192, 0, 2, 1])));
        assert!(!filter.may_hold(Family::V6, service));
        filter.add(Family::V6, Address::UNSPECIFIED, 8);
        for first in 0..=255 {
            let mut bytes = [0x5a; 16];
            bytes[0] = first;
            assert!(filter.may_hold(Family::V6, Address::v6(bytes)));
        }
    }
}
