use crate::Address;

/// What all programs read, in map [`crate::names::SETTINGS`] at index 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Mismatched packets with `mark & exempt_mask == exempt_mark` are not touched;
    /// a mask of 0 exempts none.
    pub exempt_mark: u32,
    /// See `exempt_mark`.
    pub exempt_mask: u32,
    /// 1 if [`crate::names::PREFIXES`] has entries: saves the look-up otherwise.
    pub prefixes: u32,
    /// 1 if [`crate::names::EXEMPT`] has entries: likewise.
    pub exempt: u32,
    /// Mismatch events a CPU may send each second; 0: none.
    pub events_per_second: u32,
    /// Mask of remote IPv4 sources.
    pub source_mask4: Address,
    /// Mask of remote IPv6 sources.
    pub source_mask6: Address,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exempt_mark: 0,
            exempt_mask: 0,
            prefixes: 0,
            exempt: 0,
            events_per_second: 100,
            source_mask4: Address::v4([0xff; 4]),
            source_mask6: Address::v6([0xff; 16]),
        }
    }
}

const _: () = assert!(size_of::<Settings>() == 52);
