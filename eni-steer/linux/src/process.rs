//! Identifies processes, also when the kernel has given a process id to a new process.

use std::fs;

/// Returns when a process started, in clock ticks after boot; `None` if it has ended, also if it is
/// still a zombie (proc_pid_stat(5), fields 3 and 22).
pub fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Field 2, the name, may contain spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

/// Returns the name of a process (proc_pid_comm(5)); `None` if it has ended.
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
