//! Debian's package manager: what it could install, and with which command.

use std::{cell::OnceCell, process::Command};

use crate::run;

/// apt, if this machine has it and this process may use it.
pub struct Apt {
    usable: bool,
    updated: OnceCell<()>,
}

impl Apt {
    pub fn here() -> Self {
        Self {
            usable: run::is_root() && run::on_path("apt-get").is_some(),
            updated: OnceCell::new(),
        }
    }

    /// Returns the command that installs these packages; `None` if apt can not.
    pub fn install(&self, packages: &[&str]) -> Option<Command> {
        let known = self.usable
            && packages
                .iter()
                .all(|package| self.version(package).is_some());
        known.then(|| {
            let mut command = apt_get();
            command.args(["install", "--yes", "--no-install-recommends"]);
            command.args(packages);
            command
        })
    }

    /// Returns the version that apt would install.
    pub fn version(&self, package: &str) -> Option<String> {
        if !self.usable {
            return None;
        }
        self.updated.get_or_init(update);
        candidate(&run::output(
            Command::new("apt-cache").args(["policy", package]),
        )?)
    }
}

/// Updates the package lists, once per run and only if something is missing. One unreachable
/// source of several is no reason to stop: the step reports later what can not be installed.
fn update() {
    if let Err(error) = run::succeed(apt_get().arg("update")) {
        println!("setup: {error}; going on with the package lists as they are");
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-qq",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    command
}

/// Reads the candidate version from the output of `apt-cache policy`.
fn candidate(policy: &str) -> Option<String> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::candidate;

    #[test]
    fn the_candidate_is_the_version_that_would_be_installed() {
        let policy = "llvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22.1.8-1~deb12u1\n";
        assert_eq!(candidate(policy).as_deref(), Some("1:22.1.8-1~deb12u1"));
    }

    #[test]
    fn a_package_without_a_candidate_can_not_be_installed() {
        let virtual_package = "cargo-clippy:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidate(virtual_package), None);
        assert_eq!(
            candidate(""),
            None,
            "apt-cache prints nothing about an unknown package"
        );
    }
}
