//! Telling a process from a later one of the same number.

use std::fs;

/// When a process was started, in clock ticks after boot, unless it is gone or a zombie
/// (proc_pid_stat(5), fields 3 and 22).
pub fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, field 2, may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

/// The name of a process (proc_pid_comm(5)); `None` if it has ended.
pub fn name(process: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_a_zombie_does_not() {
        let own = start_time(std::process::id());
        assert!(own.is_some());
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("it starts");
        let died = || start_time(child.id()).is_none();
        while !died() {
            std::thread::yield_now();
        }
        assert!(std::path::Path::new(&format!("/proc/{}/stat", child.id())).exists());
        assert!(child.wait().expect("it can be waited for").success());
    }
}
