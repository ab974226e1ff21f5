//! The answer of a source outside the kernel: a DHCP client's lease file, a metadata service.

/// The answer of a source.
///
/// "Unavailable" is never treated as "absent": what eni-steer decided by an earlier answer of
/// the source stays in force until the source answers again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched<T> {
    /// The source has this value.
    Found(T),
    /// The source answered that it has none.
    Absent,
    /// The source could not be read; its name and the reason.
    Unavailable(String),
}
