//! Files that root reads and writes: who may have written one that is believed, and how one is
//! replaced so that nobody reads half of it.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, Permissions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

/// Permission bits that let other users write.
pub(crate) const OTHERS_WRITE: u32 = 0o022;

/// Opens a file to read it, without following a link in its place, and without waiting: opening a
/// FIFO would wait for a writer.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Why root must not believe a file or a directory: another user than root and this one made it, or
/// can write it. `also`: names of users that may have made it too. `None`: root can believe it.
pub fn distrust(data: &Metadata, also: &[&str]) -> Option<String> {
    let owner = data.uid();
    let is_trusted = || user_name(owner).is_some_and(|name| also.contains(&&*name));
    if !is_ours(owner) && !is_trusted() {
        return Some(format!("belongs to {}", user(owner)));
    }
    let mode = data.mode() & 0o7777;
    (mode & OTHERS_WRITE != 0).then(|| format!("can be written by other users (mode {mode:04o})"))
}

/// Whether an owner is root, or the user of this process.
pub(crate) fn is_ours(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}

/// A user in words: the name if /etc/passwd has it, and the number.
pub(crate) fn user(uid: u32) -> String {
    match user_name(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The name of a user in /etc/passwd. Other sources of users (LDAP) would be asked through the
/// network, which may not work when this is needed.
fn user_name(uid: u32) -> Option<String> {
    let users = fs::read("/etc/passwd").ok()?;
    let line = users.split(|byte| *byte == b'\n').find(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        fields.nth(2) == Some(uid.to_string().as_bytes())
    })?;
    let name = line.split(|byte| *byte == b':').next()?;
    Some(OsStr::from_bytes(name).to_string_lossy().into_owned())
}

/// Replaces a file atomically: writes a new file beside it and renames that. A crash leaves either
/// the old or the new content, also on the disk. `mode`: permissions of the new file.
///
/// # Errors
/// The directory or the file cannot be written. Nothing is left of the new file then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    // What a killed process left behind.
    delete(&beside)?;
    let written = write_new(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if written.is_err()
        && let Err(error) = delete(&beside)
    {
        tracing::debug!("cannot delete {}: {error}", beside.display());
    }
    written?;
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a file that does not exist yet, also to the disk. Whatever the umask is, the file has this
/// mode.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Deletes a file; does nothing if there is none.
pub(crate) fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path to which [`replace`] writes the new content.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_its_mode_whatever_the_umask_is_and_nothing_is_left_beside_it() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("config.toml");
        for (text, mode) in [("1", 0o666), ("2", 0o600)] {
            replace(&path, text.as_bytes(), mode).expect("it is written");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
            let data = fs::metadata(&path).expect("it is there");
            assert_eq!(data.mode() & 0o7777, mode);
        }
        assert_eq!(fs::read_dir(place.path()).expect("there").count(), 1);
    }
}
