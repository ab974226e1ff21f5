//! Helpers that several files of this module need: time stamps, values and entries of maps, errors
//! of writing them.

use std::{borrow::Borrow, ffi::CString, fmt::Display, io};

use aya::{
    Pod,
    maps::{LpmTrie, MapData, MapError, lpm_trie::Key},
};

use super::error::BpfError;

/// Nanoseconds of CLOCK_BOOTTIME. This clock goes on while the machine sleeps, and starts at zero
/// at boot, as do the maps.
pub(super) fn boot_nanoseconds() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map(std::time::Duration::from)
        .unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The name of an interface; `None` if there is no interface with this index.
pub(super) fn interface_name(ifindex: u32) -> Option<CString> {
    // nix 0.31 returns an empty name instead of an error if the interface does not exist.
    nix::net::if_::if_indextoname(ifindex)
        .ok()
        .filter(|name| !name.is_empty())
}

/// Copies a value from the beginning of bytes that the kernel wrote; `None` if there are too few.
///
/// `zerocopy` or `bytemuck` would do this without unsafe code, but need a derive on each type of
/// eni-steer-common, which implements aya's [`Pod`] only.
pub(super) fn read_pod<T: Pod>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: the slice is as long as T, every bit pattern is a valid T (Pod), and the read is
    // unaligned.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// All entries of a trie.
pub(super) fn trie_entries<K: Pod, V: Pod>(
    trie: &LpmTrie<impl Borrow<MapData>, K, V>,
) -> Result<Vec<(Key<K>, V)>, MapError> {
    trie.iter().collect()
}

/// The error of writing an object to a map.
pub(super) fn map_write_error(map: &str, object: impl Display, cause: MapError) -> BpfError {
    BpfError::map(format!("write {object} to {map}"), cause)
}

/// The result of inserting an entry, where a full map is an error of its own.
pub(super) fn inserted(
    what: &'static str,
    capacity: u32,
    object: impl Display,
    result: Result<(), MapError>,
) -> Result<(), BpfError> {
    match result {
        Err(MapError::SyscallError(error))
            if matches!(
                error.io_error.raw_os_error(),
                Some(libc::E2BIG | libc::ENOSPC)
            ) =>
        {
            Err(BpfError::Full { what, capacity })
        }
        other => other.map_err(|cause| map_write_error(what, object, cause)),
    }
}

/// The result of removing an entry, where an entry that did not exist is a success.
pub(super) fn removed(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interface_that_exists_has_a_name() {
        let loopback = nix::net::if_::if_nametoindex("lo").expect("there is a loopback interface");
        assert_eq!(interface_name(loopback), Some(c"lo".to_owned()));
        assert_eq!(interface_name(i32::MAX.cast_unsigned()), None);
    }

    #[test]
    fn a_value_is_read_only_from_enough_bytes() {
        let bytes = 0x0102_0304_u32.to_ne_bytes();
        assert_eq!(read_pod(&bytes), Some(0x0102_0304_u32));
        assert_eq!(read_pod::<u32>(&bytes[..3]), None);
    }
}
