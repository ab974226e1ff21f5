//! A lab whose host the daemon keeps in order.

use std::{collections::BTreeSet, time::Duration};

use crate::{Background, Lab, NetNs, Shape, Steer, eventually, run, run_ok};

/// How long a repair may take: far longer than it takes even on a busy machine. What is not
/// repaired by then is a failure.
pub const SOON: Duration = Duration::from_secs(15);

/// A lab, an installation and the daemon that runs there. Dropping the value stops the daemon.
#[derive(Debug)]
pub struct Kept {
    /// The running daemon.
    pub daemon: Background,
    /// The lab: two ENIs on one subnet, and a cloud that drops packets with a wrong source.
    pub lab: Lab,
    /// The installation that the daemon belongs to.
    pub steer: Steer,
}

impl Kept {
    /// Starts the daemon with these arguments on a new lab's host, and waits until it has applied
    /// the policy.
    #[track_caller]
    pub fn by(args: &[&str]) -> Self {
        let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
        Self::on(lab, Steer::new(), args)
    }

    /// Does the same with a lab and an installation that exist already.
    #[track_caller]
    pub fn on(lab: Lab, steer: Steer, args: &[&str]) -> Self {
        let daemon = steer.call(args).start_in_background(&lab.host);
        let kept = Self { daemon, lab, steer };
        kept.settles("the policy");
        kept
    }

    /// Starts another daemon in the same place. The previous one must have ended.
    pub fn start(&self, args: &[&str]) -> Background {
        self.steer.call(args).start_in_background(&self.lab.host)
    }

    /// Waits until the plan for the policy in effect is empty; panics if that takes too long.
    #[track_caller]
    pub fn settles(&self, what: &str) {
        assert!(
            eventually(SOON, || self.steer.run(&self.lab, &["plan"]).code()
                == Some(0)),
            "{what} was not applied; the plan: {}\nthe daemon wrote:\n{}",
            self.steer.run(&self.lab, &["plan"]),
            self.daemon.output()
        );
    }

    /// Waits until eni-steer's rules and routes are exactly these again; panics if that takes too
    /// long.
    #[track_caller]
    pub fn heals(&self, before: &BTreeSet<String>, what: &str) {
        assert!(
            eventually(SOON, || all_ours(&self.lab.host) == *before),
            "{what} did not come back; the daemon wrote:\n{}\nbefore: {before:#?}\nnow: {:#?}",
            self.daemon.output(),
            all_ours(&self.lab.host)
        );
    }

    /// Runs `ip` with these words on the host; panics unless it succeeds.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        crate::ip(&self.lab.host, words);
    }

    /// Runs `ip` with these words on the host and returns whether it succeeded.
    pub fn run_ip(&self, words: &str) -> bool {
        run(&self.lab.host, "ip", words.split_whitespace()).success()
    }

    /// Returns how often the daemon's threads gave up a CPU because they had nothing to do.
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

    /// Returns what `status` reports about the daemon.
    pub fn report(&self) -> serde_json::Value {
        self.steer.json(&self.lab, &["status"])["daemon"].clone()
    }
}

/// Returns the lines that `ip` with these arguments prints about objects with eni-steer's
/// protocol number.
pub fn ours(ns: &NetNs, what: &[&str]) -> BTreeSet<String> {
    run_ok(ns, "ip", what)
        .lines()
        .filter(|line| line.contains("proto 229"))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// Returns eni-steer's rules and routes of both families.
pub fn all_ours(ns: &NetNs) -> BTreeSet<String> {
    let lists: [&[&str]; 4] = [
        &["-4", "rule"],
        &["-6", "rule"],
        &["-4", "route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
    ];
    lists.iter().flat_map(|list| ours(ns, list)).collect()
}

/// Returns the number after a name in a file of /proc, see proc(5).
#[track_caller]
pub fn proc_number(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {status}"))
}
