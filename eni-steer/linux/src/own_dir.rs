//! Directories of eni-steer's own, in bpffs and in the run directory.
//!
//! Whoever can write such a directory decides what root opens and deletes there. So every directory
//! from the outermost one of ours on is opened relative to the one above it, without following
//! symbolic links, and must belong to root and be writable by nobody else. Files are opened, created
//! and deleted relative to the opened directory: another user who puts a different directory in its
//! place changes nothing.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::{
        stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat},
        statfs::{BPF_FS_MAGIC, fstatfs},
    },
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::files::{OTHERS_WRITE, is_ours, user};

/// Permissions of a directory of ours.
const PRIVATE: u32 = 0o700;
const OTHERS: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum OwnDirError {
    /// Another user made it, or can change what is in it.
    #[error("{} {what}, so eni-steer does not use it", path.display())]
    NotOurs {
        /// The directory, or what is in its place.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// The command that corrects it.
        remedy: String,
    },
    /// A system call failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which directory.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        cause: io::Error,
    },
}

impl OwnDirError {
    fn io(verb: &'static str, path: &Path, cause: impl Into<io::Error>) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            cause: cause.into(),
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOurs { remedy, .. } => Some(format!(
                "look at it, then run '{remedy}', and let nobody but root write the directory \
                 above it"
            )),
            Self::Io { .. } => None,
        }
    }
}

/// Which file system a directory must be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Any,
    Bpffs,
}

/// An opened directory of ours.
#[derive(Debug)]
pub(crate) struct OwnDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl OwnDir {
    /// Opens the directory `names` below `base`. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// One of the directories is not ours, or cannot be opened.
    pub fn open<S: AsRef<OsStr>>(
        base: &Path,
        names: &[S],
        on: On,
    ) -> Result<Option<Self>, OwnDirError> {
        Self::walk(base, names, on, false)
    }

    /// Does the same, and creates the directories that are missing.
    ///
    /// # Errors
    /// One of the directories is not ours, or cannot be created.
    pub fn create<S: AsRef<OsStr>>(base: &Path, names: &[S], on: On) -> Result<Self, OwnDirError> {
        let directory = Self::walk(base, names, on, true)?;
        directory.ok_or_else(|| OwnDirError::io("create", base, Errno::ENOENT))
    }

    fn walk<S: AsRef<OsStr>>(
        base: &Path,
        names: &[S],
        on: On,
        create: bool,
    ) -> Result<Option<Self>, OwnDirError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        // The user named the base: a link there is followed.
        let fd = match nix::fcntl::open(base, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(OwnDirError::io("open", base, errno)),
        };
        let mut this = Self {
            fd,
            path: base.to_owned(),
        };
        for name in names {
            let name = name.as_ref();
            if create {
                match mkdirat(&this.fd, name, Mode::from_bits_truncate(PRIVATE)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => {
                        return Err(OwnDirError::io("create", &this.path.join(name), errno));
                    }
                }
            }
            match this.enter(name, on, create)? {
                Some(next) => this = next,
                None => return Ok(None),
            }
        }
        Ok(Some(this))
    }

    /// Opens a directory in this one and checks whose it is. `tighten`: takes the right to read it
    /// from other users.
    fn enter(&self, name: &OsStr, on: On, tighten: bool) -> Result<Option<Self>, OwnDirError> {
        let path = self.path.join(name);
        // First by name, so that what may not even be opened is described too.
        let seen = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(seen) => seen,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(OwnDirError::io("examine", &path, errno)),
        };
        check(&path, &seen)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(OwnDirError::io("open", &path, errno)),
        };
        let opened = fstat(&fd).map_err(|errno| OwnDirError::io("examine", &path, errno))?;
        check(&path, &opened)?;
        if on == On::Bpffs {
            let kind = fstatfs(&fd).map_err(|errno| OwnDirError::io("examine", &path, errno))?;
            if kind.filesystem_type() != BPF_FS_MAGIC {
                return Err(not_ours(
                    &path,
                    "is not on a BPF file system".to_owned(),
                    true,
                ));
            }
        }
        if tighten && opened.st_mode & OTHERS != 0 {
            fchmod(&fd, Mode::from_bits_truncate(PRIVATE))
                .map_err(|errno| OwnDirError::io("change the mode of", &path, errno))?;
        }
        Ok(Some(Self { fd, path }))
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to `name` in this directory, whatever has happened to the directory's own
    /// path since it was opened.
    pub fn entry(&self, name: impl AsRef<OsStr>) -> PathBuf {
        Path::new("/proc/self/fd")
            .join(self.fd.as_raw_fd().to_string())
            .join(name.as_ref())
    }

    /// The names in it, sorted.
    pub fn names(&self) -> Result<Vec<OsString>, OwnDirError> {
        let fail = |cause| OwnDirError::io("list", &self.path, cause);
        let entries = fs::read_dir(self.entry(".")).map_err(fail)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<OsString> = names.collect::<io::Result<_>>().map_err(fail)?;
        names.sort();
        Ok(names)
    }

    /// Deletes a file in it; does nothing if there is none. A link is deleted, not its target.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<(), OwnDirError> {
        let name = name.as_ref();
        match unlinkat(self.fd.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(OwnDirError::io("delete", &self.path.join(name), errno)),
        }
    }

    /// Deletes an empty directory in it. Returns whether it is gone.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<bool, OwnDirError> {
        let name = name.as_ref();
        match unlinkat(self.fd.as_fd(), name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            // Others have something in it, or something is mounted there.
            Err(Errno::ENOTEMPTY | Errno::EBUSY) => Ok(false),
            Err(errno) => Err(OwnDirError::io("delete", &self.path.join(name), errno)),
        }
    }
}

/// Checks that nobody but root can decide what is in a directory.
fn check(path: &Path, stat: &FileStat) -> Result<(), OwnDirError> {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let is_directory = kind == SFlag::S_IFDIR;
    let owner = || user(stat.st_uid);
    if !is_ours(stat.st_uid) {
        let what = match kind {
            SFlag::S_IFDIR => format!("belongs to {}", owner()),
            SFlag::S_IFLNK => format!("is a symbolic link that belongs to {}", owner()),
            _ => format!("is a file that belongs to {}", owner()),
        };
        return Err(not_ours(path, what, is_directory));
    }
    match kind {
        SFlag::S_IFDIR => {}
        SFlag::S_IFLNK => {
            let what = format!("is a symbolic link (of {})", owner());
            return Err(not_ours(path, what, false));
        }
        _ => {
            let what = format!("is not a directory (its owner: {})", owner());
            return Err(not_ours(path, what, false));
        }
    }
    if stat.st_mode & OTHERS_WRITE != 0 {
        let mode = stat.st_mode & 0o7777;
        let what = format!(
            "of {} can be written by other users (mode {mode:04o})",
            owner()
        );
        return Err(not_ours(path, what, true));
    }
    Ok(())
}

/// Checks that other users cannot replace the directories in `base`, so that paths below it keep
/// leading to what was checked.
pub(crate) fn check_base(base: &Path) -> Result<(), OwnDirError> {
    let stat = match nix::sys::stat::stat(base) {
        Ok(stat) => stat,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(OwnDirError::io("examine", base, errno)),
    };
    let mode = stat.st_mode & 0o7777;
    if !is_ours(stat.st_uid) {
        let what = format!("belongs to {}", user(stat.st_uid));
        return Err(OwnDirError::NotOurs {
            path: base.to_owned(),
            what,
            remedy: format!("chown root {}", quoted(base)),
        });
    }
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(OwnDirError::NotOurs {
            path: base.to_owned(),
            what: format!("can be written by other users (mode {mode:04o})"),
            remedy: format!("chmod go-w {}", quoted(base)),
        });
    }
    Ok(())
}

fn not_ours(path: &Path, what: String, is_directory: bool) -> OwnDirError {
    let recursive = if is_directory { " -r" } else { "" };
    OwnDirError::NotOurs {
        path: path.to_owned(),
        what,
        remedy: format!("rm{recursive} -- {}", quoted(path)),
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    match text.chars().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn open(base: &Path, names: &[&str]) -> Result<Option<OwnDir>, OwnDirError> {
        OwnDir::open(base, names, On::Any)
    }

    fn refused(base: &Path, names: &[&str]) -> (String, String) {
        let error = open(base, names).expect_err("it is not ours");
        let hint = error.hint().expect("a hint");
        OwnDir::create(base, names, On::Any).expect_err("nor is it created");
        (error.to_string(), hint)
    }

    #[test]
    fn directories_are_created_for_their_owner_only_and_opened_again() {
        let base = tempfile::tempdir().expect("a directory");
        assert!(open(base.path(), &["a", "b"]).expect("fine").is_none());
        let made = OwnDir::create(base.path(), &["a", "b"], On::Any).expect("it is made");
        fs::write(made.entry("x"), "1").expect("it is writable");
        let opened = open(base.path(), &["a", "b"]).expect("fine");
        assert_eq!(opened.expect("it is there").names().expect("names"), ["x"]);
        for name in ["a", "a/b"] {
            let mode = fs::metadata(base.path().join(name)).expect("it is there");
            assert_eq!(mode.permissions().mode() & 0o7777, 0o700);
        }
        made.remove_file("x").expect("it goes");
        made.remove_file("x").expect("it is gone");
        let above = open(base.path(), &["a"]).expect("fine").expect("there");
        assert!(above.remove_dir("b").expect("it is empty"));
    }

    #[test]
    fn a_link_at_any_depth_is_refused_and_its_target_untouched() {
        for depth in 0..3 {
            let base = tempfile::tempdir().expect("a directory");
            let target = tempfile::tempdir().expect("a directory");
            let names = ["a", "b", "c"];
            let link: PathBuf = names[..=depth].iter().collect();
            let link = base.path().join(link);
            fs::create_dir_all(link.parent().expect("a parent")).expect("it is made");
            fs::create_dir_all(target.path().join("b/c")).expect("it is made");
            symlink(target.path(), &link).expect("a link");
            let (text, hint) = refused(base.path(), &names);
            let start = format!("{} is a symbolic link", link.display());
            assert!(text.starts_with(&start), "{text}");
            assert!(
                hint.contains(&format!("rm -- {}", link.display())),
                "{hint}"
            );
        }
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_and_one_they_can_read_is_closed() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("it's");
        fs::create_dir(&path).expect("it is made");
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        for open in [0o777, 0o1777, 0o720, 0o702] {
            mode(open).expect("it is ours");
            let (text, hint) = refused(base.path(), &["it's"]);
            assert!(text.contains("can be written by other users"), "{text}");
            assert!(hint.contains(r"/it'\''s'"), "{hint}");
        }
        mode(0o755).expect("it is ours");
        OwnDir::create(base.path(), &["it's"], On::Any).expect("others only read it");
        let now = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(now.mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_directory_of_another_user_is_refused_by_its_name() {
        let base = tempfile::tempdir().expect("a directory");
        let mut stat = nix::sys::stat::stat(base.path()).expect("it is there");
        check(base.path(), &stat).expect("it is ours");
        stat.st_uid = 4_000_000_000;
        let error = check(base.path(), &stat).expect_err("it is not ours");
        let text = error.to_string();
        assert!(text.contains("belongs to uid 4000000000"), "{text}");
        let hint = error.hint().expect("a hint");
        assert!(hint.contains("rm -r -- "), "{hint}");
    }

    #[test]
    fn a_directory_that_is_moved_away_is_still_the_one_that_was_opened() {
        let base = tempfile::tempdir().expect("a directory");
        let made = OwnDir::create(base.path(), &["a"], On::Any).expect("it is made");
        fs::write(made.entry("x"), "mine").expect("it is writable");
        fs::rename(base.path().join("a"), base.path().join("moved")).expect("renamed");
        fs::create_dir(base.path().join("a")).expect("another");
        fs::write(base.path().join("a/x"), "theirs").expect("written");
        assert_eq!(fs::read_to_string(made.entry("x")).expect("there"), "mine");
        made.remove_file("x").expect("it goes");
        let theirs = fs::read_to_string(base.path().join("a/x")).expect("untouched");
        assert_eq!(theirs, "theirs");
    }
}
