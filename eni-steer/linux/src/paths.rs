//! Where eni-steer reads and writes.

use std::path::PathBuf;

/// Where things are read from and written to: everything but the network namespace, which
/// is that of the calling thread.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Mount point of bpffs.
    pub bpffs: PathBuf,
    /// Directory of the files that remember previous values (gone at reboot, like them).
    pub run: PathBuf,
    /// Where DHCP clients keep their leases below (`/`, or a test's directory).
    pub root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            bpffs: "/sys/fs/bpf".into(),
            run: "/run/eni-steer".into(),
            root: "/".into(),
        }
    }
}
