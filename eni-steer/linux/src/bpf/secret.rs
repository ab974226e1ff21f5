//! The secret of the hash that finds a source's set. Senders who knew it could choose sources that
//! evict a particular one. It is random, in a map of its own that only root can read, and lasts as
//! long as the other maps, so that every program finds a source in the same set.

use std::io;

use aya::maps::{Array, Map, MapData, MapError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use eni_steer_common::{SourceSecret, names};

use super::error::BpfError;
use crate::own_dir::OwnDir;

/// Returns the secret, and makes it if there is none yet.
pub(super) fn of_sources(directory: &OwnDir) -> Result<SourceSecret, BpfError> {
    let fail = |cause: MapError| BpfError::map(format!("use map {}", names::SECRET), cause);
    let pin = directory.entry(names::SECRET);
    match MapData::from_pin(&pin) {
        Ok(map) => {
            let map = Array::<_, SourceSecret>::try_from(Map::Array(map)).map_err(fail)?;
            return map.get(&0, 0).map_err(fail);
        }
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(fail(cause)),
    }
    let size = size_of::<SourceSecret>() as u32;
    let key = size_of::<u32>() as u32;
    let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, size, 1, 0);
    let map = MapData::create(definition, names::SECRET, None).map_err(fail)?;
    let mut map = Array::<_, SourceSecret>::try_from(Map::Array(map)).map_err(fail)?;
    let secret = random().map_err(|cause| BpfError::io("make a random secret", cause))?;
    map.set(0, secret, 0).map_err(fail)?;
    // Pinned once it holds the secret: a process that is killed before leaves nothing.
    map.pin(&pin)
        .map_err(|cause| BpfError::pin(&directory.path().join(names::SECRET), cause))?;
    Ok(secret)
}

/// Random numbers of getrandom(2).
fn random() -> io::Result<SourceSecret> {
    let mut secret = SourceSecret::default();
    let size = size_of_val(&secret);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `secret`; every pattern of
    // bits is a valid number.
    let written = unsafe { libc::getrandom((&raw mut secret).cast(), size, 0) };
    match usize::try_from(written) {
        Ok(written) if written == size => Ok(secret),
        Ok(_) => Err(io::ErrorKind::Interrupted.into()),
        Err(_negative) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_the_same() {
        let secrets = [random().expect("random"), random().expect("random")];
        assert_ne!(secrets[0], secrets[1]);
        assert!(secrets.iter().flatten().all(|number| *number != 0));
    }
}
