//! What the lab needs of the machine, said once and never skipped over.

use std::sync::OnceLock;

use nix::sched::{CloneFlags, unshare};

/// Panics, with the command to type, where this process can not make network
/// namespaces. A test that needs the lab fails then; it never passes silently.
#[track_caller]
pub fn require_root() {
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    if let Some(why) = REFUSAL.get_or_init(refusal) {
        panic!("the lab needs root: {why}\nhint: type  sudo -E cargo xtask test");
    }
}

fn refusal() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some(format!(
            "this process runs as user {}",
            nix::unistd::geteuid()
        ));
    }
    // On a thread of its own: the probe must not move the caller.
    std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
        .join()
        .expect("the probe does not panic")
        .err()
        .map(|e| format!("root, but unshare(CLONE_NEWNET) says: {e}"))
}
