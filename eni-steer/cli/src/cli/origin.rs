//! Where and when a report is made: the name of the host, the time, the version of eni-steer.

use std::time::SystemTime;

use eni_steer_core::report::Origin;

/// This host, now.
pub(super) fn here() -> Origin {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: name.unwrap_or_default().trim().to_owned(),
        time: now(),
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
