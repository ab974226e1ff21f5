//! Identifies processes, also when the kernel has given a process id to a new process.

use std::fs;

/// Returns when a process started, in clock ticks after boot; `None` if it has ended, also if it is
/// still a zombie (proc_pid_stat(5), fields 3 and 22).
pub fn start_time(process: u32) -> Option<u64> {
    let fields = fields(process)?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

/// Returns whether a signal (SIGSTOP, Ctrl-Z) or a debugger has stopped a process.
pub fn is_stopped(process: u32) -> bool {
    fields(process).is_some_and(|fields| fields.starts_with(['T', 't']))
}

/// The fields from the third on, which is the state.
fn fields(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Field 2, the name, may contain spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.to_owned())
}

/// Whether systemd is the init system: this directory exists then, and nowhere else (sd_booted(3)).
pub fn systemd_runs() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// Returns the name of a process (proc_pid_comm(5)); `None` if it has ended.
pub fn name(process: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(printable(name.trim()))
}

/// A name in one line: a process or a filter can have line ends and escape sequences in its name.
pub(crate) fn printable(name: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    name.chars().map(shown).collect()
}

/// Returns the value of an environment variable of the nearest ancestor of this process that has
/// it, for example of the shell that runs sudo. Needs the permission to read their environments.
pub fn variable_of_ancestors(name: &str) -> Option<String> {
    let parent = |process: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(1)?.parse().ok()
    };
    let ancestors = std::iter::successors(parent(std::process::id()), |process| parent(*process));
    let prefix = format!("{name}=");
    ancestors
        .take_while(|process| *process > 1)
        .find_map(|process| {
            let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            let variable =
                variables.find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
            String::from_utf8(variable.to_vec()).ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_a_signal_has_stopped_is_known() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("it starts");
        assert!(!is_stopped(child.id()));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("it runs");
        while !is_stopped(child.id()) {
            std::thread::yield_now();
        }
        child.kill().expect("it is there");
        let _status = child.wait().expect("it can be waited for");
        assert!(!is_stopped(child.id()));
    }

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
