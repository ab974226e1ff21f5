//! Runs many lines in one `ip`.

use std::time::Duration;

use eni_steer_tests::{Call, NetNs};

/// Runs `ip -4 -batch` for the lines that begin with `-4`, then `ip -6 -batch` for those with
/// `-6`; panics unless every line succeeds.
pub fn ip_batch(ns: &NetNs, lines: &[String]) {
    for family in ["-4", "-6"] {
        let lines = lines.iter().filter_map(|line| line.strip_prefix(family));
        let script: String = lines.map(|line| format!("{line}\n")).collect();
        if !script.is_empty() {
            let batch = Call::new("ip").args([family, "-batch", "-"]).stdin(script);
            let batch = batch.timeout(Duration::from_secs(120));
            drop(batch.run(ns).expect_success());
        }
    }
}
