//! The eni-steer command, run on a lab's host as an administrator runs it, with a bpffs and
//! a run directory of its own.

use std::path::PathBuf;

use crate::{Bpffs, Call, Lab, Output};

/// One installation: what it pins and remembers is nobody else's.
#[derive(Debug)]
pub struct Steer {
    bpffs: Bpffs,
    run: tempfile::TempDir,
}

impl Default for Steer {
    fn default() -> Self {
        Self::new()
    }
}

impl Steer {
    /// Mounts a bpffs and makes a run directory; both go with the value.
    pub fn new() -> Self {
        let run = tempfile::tempdir().expect("a temporary directory can be made");
        Self {
            bpffs: Bpffs::mount_private(),
            run,
        }
    }

    /// The bpffs it pins in.
    pub fn bpffs(&self) -> &Bpffs {
        &self.bpffs
    }

    /// The directory that remembers previous values.
    pub fn run_dir(&self) -> &std::path::Path {
        self.run.path()
    }

    /// The command with its places set, ready for more arguments.
    pub fn call(&self, args: &[&str]) -> Call {
        Call::new(binary())
            .args(args)
            .env("ENI_STEER_BPFFS", self.bpffs.path())
            .env("ENI_STEER_RUN", self.run.path())
    }

    /// Runs it on the lab's host.
    pub fn run(&self, lab: &Lab, args: &[&str]) -> Output {
        self.call(args).run(&lab.host)
    }

    /// Runs it and demands success; returns what it printed.
    pub fn ok(&self, lab: &Lab, args: &[&str]) -> String {
        self.run(lab, args).expect_success().stdout
    }

    /// Runs it with `-j` and parses the report, whatever the exit code.
    pub fn json(&self, lab: &Lab, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["-j"]).collect();
        self.run(lab, &args).json()
    }
}

/// The command under test: `ENI_STEER_BIN`, or what cargo built beside this program.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ENI_STEER_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a program knows its path");
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("eni-steer"))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no eni-steer beside {}: cargo build --package eni-steer",
            me.display()
        )
    })
}
