//! What a source of truth outside the kernel can say: DHCP leases; metadata services.

/// An answer. The third is never taken for the second: what was decided by an earlier answer
/// of the source stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Here it is.
    Here(T),
    /// There is none.
    Nothing,
    /// The source could not be asked; why, with its name.
    Unasked(String),
}
