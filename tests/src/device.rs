//! Reads a device's own counters, as its namespace shows them.

use crate::NetNs;

/// What the device itself has counted, in frames with their Ethernet headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received and discarded.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that should have been sent but were discarded.
    pub tx_dropped: u64,
}

impl DeviceCounters {
    /// Reads the counters. It does not use /sys, which shows the namespace that mounted it to
    /// everybody.
    #[track_caller]
    pub fn read(ns: &NetNs, ifname: &str) -> Self {
        let table = ns
            .run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))
            .expect("/proc is mounted");
        Self::parse(&table, ifname)
            .unwrap_or_else(|| panic!("no device {ifname} in {}:\n{table}", ns.name()))
    }

    fn parse(table: &str, ifname: &str) -> Option<Self> {
        let line = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(ifname)?.strip_prefix(':'))?;
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let mut row = [0; 16];
        for cell in &mut row {
            *cell = numbers.next()?.ok()?;
        }
        Some(Self {
            rx_bytes: row[0],
            rx_packets: row[1],
            rx_dropped: row[3],
            tx_bytes: row[8],
            tx_packets: row[9],
            tx_dropped: row[11],
        })
    }

    /// Returns what was counted since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rx_packets: self.rx_packets - earlier.rx_packets,
            rx_bytes: self.rx_bytes - earlier.rx_bytes,
            rx_dropped: self.rx_dropped - earlier.rx_dropped,
            tx_packets: self.tx_packets - earlier.tx_packets,
            tx_bytes: self.tx_bytes - earlier.tx_bytes,
            tx_dropped: self.tx_dropped - earlier.tx_dropped,
        }
    }
}
