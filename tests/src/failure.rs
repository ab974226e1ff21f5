//! Prints what helps to understand the failure of a test.

use crate::{Lab, run};

/// Prints the state of the host when a panic drops it.
#[derive(Debug)]
pub struct FailureReport<'a> {
    lab: &'a Lab,
}

impl<'a> FailureReport<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        Self { lab }
    }

    /// Returns the report as text, also without a failure.
    pub fn text(&self) -> String {
        let host = &self.lab.host;
        let questions: [(&str, &[&str]); 9] = [
            ("ip", &["-4", "rule"]),
            ("ip", &["-6", "rule"]),
            ("ip", &["-4", "route", "show", "table", "all"]),
            ("ip", &["-6", "route", "show", "table", "all"]),
            ("ip", &["neigh", "show"]),
            ("ip", &["-s", "address"]),
            ("tc", &["qdisc", "show"]),
            ("nft", &["list", "ruleset"]),
            ("ip", &["-s", "link"]),
        ];
        let mut text = String::from("---- the lab at the time of the failure ----\n");
        for (program, args) in questions {
            // It must not panic a second time: if a command fails, its output is printed as it
            // is.
            let output = run(host, program, args);
            text += &format!("== {program} {} (host)\n", args.join(" "));
            text += &output.stdout;
            text += &output.stderr;
        }
        let listed = run(&self.lab.router, "nft", ["list", "counters"]);
        text += "== nft list counters (router: source check)\n";
        text + &listed.stdout + &listed.stderr
    }
}

impl Drop for FailureReport<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.text());
        }
    }
}
