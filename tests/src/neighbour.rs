//! Reads and clears the neighbour tables (ARP, ND) of a namespace.

use std::net::IpAddr;

use crate::{NetNs, run_ok};

/// One entry, as the kernel has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The IP address.
    pub address: IpAddr,
    /// The device on which the neighbour is.
    pub device: String,
    /// The hardware address, as text, if it is known.
    pub lladdr: Option<String>,
    /// REACHABLE, STALE, DELAY, PROBE, FAILED, INCOMPLETE, PERMANENT ...
    pub state: String,
}

/// Returns all entries of both families.
#[track_caller]
pub fn neighbours(ns: &NetNs) -> Vec<Neighbour> {
    let text = run_ok(ns, "ip", ["-j", "neigh", "show"]);
    let listed: serde_json::Value = serde_json::from_str(&text).expect("ip -j writes JSON");
    listed
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| Neighbour {
            address: entry["dst"]
                .as_str()
                .and_then(|a| a.parse().ok())
                .unwrap_or_else(|| panic!("no address in {entry}")),
            device: entry["dev"].as_str().unwrap_or_default().to_owned(),
            lladdr: entry["lladdr"].as_str().map(str::to_owned),
            state: entry["state"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|s| s.as_str())
                .collect::<Vec<_>>()
                .join(","),
        })
        .collect()
}

/// Deletes all entries except permanent ones, so that the next packet has to resolve its
/// neighbour again.
#[track_caller]
pub fn flush_neighbours(ns: &NetNs) {
    run_ok(ns, "ip", ["neigh", "flush", "all"]);
}
