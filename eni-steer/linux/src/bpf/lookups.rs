//! Real lookups of a source, from the kernel's tracepoint of routing tables.

use std::{net::IpAddr, time::Duration};

use eni_steer_core::explain::Live;

use super::error::BpfError;

/// Watches the lookups of a source.
///
/// # Errors
/// The kernel has no such tracepoint, or no BTF.
pub fn watch_lookups(_source: IpAddr, _time: Duration) -> Result<Live, BpfError> {
    Err(BpfError::io(
        "watch lookups",
        std::io::Error::from(std::io::ErrorKind::Unsupported),
    ))
}
