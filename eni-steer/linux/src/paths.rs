//! The directories in which eni-steer reads and writes.

use std::path::PathBuf;

/// The directories in which eni-steer reads and writes. The network namespace is not among them: it
/// is always that of the calling thread.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Mount point of the BPF file system (bpffs), which holds the pinned maps and links.
    pub bpffs: PathBuf,
    /// Directory of the state files. They vanish at a reboot, as do the changes that they describe.
    pub run: PathBuf,
    /// Root directory in which to look for the lease files of DHCP clients: `/`, or a test's
    /// directory.
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
