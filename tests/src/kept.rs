//! A lab's host that the daemon keeps.

use std::{collections::BTreeSet, time::Duration};

use crate::{Background, Lab, NetNs, Shape, Steer, eventually, run, run_ok};

/// Far longer than any repair takes, even on a busy machine: a test fails by not healing.
pub const SOON: Duration = Duration::from_secs(15);

/// A lab, an installation and the daemon that runs there; killed with the value.
#[derive(Debug)]
pub struct Kept {
    /// The daemon.
    pub daemon: Background,
    /// The lab: two ENIs on one subnet, where the cloud drops a wrong source.
    pub lab: Lab,
    /// The installation.
    pub steer: Steer,
}

impl Kept {
    /// Starts the daemon with these arguments on a new lab's host, and waits until the policy
    /// is applied.
    #[track_caller]
    pub fn by(args: &[&str]) -> Self {
        let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
        Self::on(lab, Steer::new(), args)
    }

    /// The same for a lab and an installation that are there.
    #[track_caller]
    pub fn on(lab: Lab, steer: Steer, args: &[&str]) -> Self {
        let daemon = steer.call(args).start_in_background(&lab.host);
        let kept = Self { daemon, lab, steer };
        kept.settles("the policy");
        kept
    }

    /// Another daemon in the same place. The one before is to be gone.
    pub fn start(&self, args: &[&str]) -> Background {
        self.steer.call(args).start_in_background(&self.lab.host)
    }

    /// Waits until the plan is empty for the policy in force.
    #[track_caller]
    pub fn settles(&self, what: &str) {
        assert!(
            eventually(SOON, || self.steer.run(&self.lab, &["plan"]).code()
                == Some(0)),
            "{what} is applied; the plan: {}\nthe daemon says:\n{}",
            self.steer.run(&self.lab, &["plan"]),
            self.daemon.output()
        );
    }

    /// Waits until rules and routes of ours are these again.
    #[track_caller]
    pub fn heals(&self, before: &BTreeSet<String>, what: &str) {
        assert!(
            eventually(SOON, || all_ours(&self.lab.host) == *before),
            "{what} comes back; the daemon says:\n{}\nbefore: {before:#?}\nnow: {:#?}",
            self.daemon.output(),
            all_ours(&self.lab.host)
        );
    }

    /// `ip` with these words on the host; it has to succeed.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        crate::ip(&self.lab.host, words);
    }

    /// Whether `ip` with these words succeeds on the host.
    pub fn run_ip(&self, words: &str) -> bool {
        run(&self.lab.host, "ip", words.split_whitespace()).success()
    }

    /// How often the daemon's threads gave up a CPU because they had nothing to do.
    #[track_caller]
    pub fn wake_ups(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.daemon.pid()));
        let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = thread.expect("it runs").path().join("status");
            let status = std::fs::read_to_string(status).expect("it runs");
            proc_number(&status, "voluntary_ctxt_switches:")
        };
        threads.expect("it runs").map(of_thread).sum()
    }

    /// What `status` says of the daemon.
    pub fn report(&self) -> serde_json::Value {
        self.steer.json(&self.lab, &["status"])["daemon"].clone()
    }
}

/// The lines that `ip` with these arguments prints of objects with our protocol number.
pub fn ours(ns: &NetNs, what: &[&str]) -> BTreeSet<String> {
    run_ok(ns, "ip", what)
        .lines()
        .filter(|line| line.contains("proto 229"))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// Our rules and routes of both families.
pub fn all_ours(ns: &NetNs) -> BTreeSet<String> {
    let lists: [&[&str]; 4] = [
        &["-4", "rule"],
        &["-6", "rule"],
        &["-4", "route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
    ];
    lists.iter().flat_map(|list| ours(ns, list)).collect()
}

/// The number behind a name, as proc(5) writes it.
#[track_caller]
pub fn proc_number(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {status}"))
}
