//! A private bpffs: the machine may have none mounted, and what a test pins must not show
//! elsewhere.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A bpffs mounted on a temporary directory. Dropping the value unmounts it, with everything that
/// is pinned in it. This process and its children see it from every network namespace.
#[derive(Debug)]
pub struct Bpffs {
    dir: TempDir,
}

impl Bpffs {
    /// Mounts a new, empty bpffs.
    #[track_caller]
    pub fn mount_private() -> Self {
        crate::require_root();
        let dir = tempfile::Builder::new()
            .prefix("eni-steer-bpffs-")
            .tempdir()
            .expect("a temporary directory");
        let bpffs = Self { dir };
        bpffs.mount();
        bpffs
    }

    /// Mounts it again after [`Bpffs::unmount`]; it is then empty.
    #[track_caller]
    pub fn mount(&self) {
        let (path, flags) = (self.path(), MsFlags::empty());
        if let Err(e) = mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700")) {
            panic!("can not mount a bpffs on {}: {e}", path.display());
        }
    }

    /// Unmounts it, as an administrator may: everything that was pinned loses its pin.
    #[track_caller]
    pub fn unmount(&self) {
        // The unmount is lazy, so that a program which still has a pin open does not prevent it.
        if let Err(e) = umount2(self.path(), MntFlags::MNT_DETACH) {
            panic!("can not unmount {}: {e}", self.path().display());
        }
    }

    /// Returns the directory on which it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns everything that is pinned in it, as sorted paths relative to the mount point,
    /// without the two files that the kernel itself puts into each bpffs.
    pub fn pins(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.dir.path().to_owned()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).expect("a bpffs can be listed") {
                let path = entry.expect("a bpffs can be listed").path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                let relative = path
                    .strip_prefix(self.dir.path())
                    .expect("the path is below the mount point");
                found.push(relative.to_string_lossy().into_owned());
            }
        }
        found.retain(|path| path != "maps.debug" && path != "progs.debug");
        found.sort();
        found
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        if let Err(e) = umount2(self.dir.path(), MntFlags::MNT_DETACH) {
            eprintln!("can not unmount {}: {e}", self.dir.path().display());
        }
    }
}
