//! Checks that this process may do what the lab needs. Tests fail here and never pass silently.

use std::sync::OnceLock;

use nix::sched::{CloneFlags, unshare};

/// Panics, with the command to type, if this process can not make network namespaces. A test that
/// needs the lab then fails.
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
    // The probe runs on its own thread, because it moves the thread into a new namespace.
    std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
        .join()
        .expect("the probe does not panic")
        .err()
        .map(|e| format!("this process is root, but unshare(CLONE_NEWNET) fails: {e}"))
}
