//! A million spoofed sources: what a packet costs then, and how the counters change.

use serde_json::Value;

use crate::Benchmark;
use crate::receiver::{Counting, Receiver};
use crate::report::Finding;
use crate::samples::{added, interleaved};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "hostile",
    about: "packets from 1,048,576 random sources, next to packets from one",
    measure,
};

const PACKETS: u32 = 24_000;
const ROUNDS: usize = 41;
/// Enough that nearly every source has occurred before anything is measured.
const FLOOD: u32 = 4_000_000;
/// 2^20 sources.
const BITS: u32 = 20;

fn measure() -> Vec<Finding> {
    let mut receivers = [
        Receiver::new(Counting::EmptyProgram, 0),
        Receiver::new(Counting::EmptyProgram, BITS),
        Receiver::new(Counting::EniSteer, 0),
        Receiver::new(Counting::EniSteer, BITS),
        Receiver::new(Counting::Nftables, 0),
        Receiver::new(Counting::Nftables, BITS),
    ];
    let mut sent = 0u64;
    for (n, receiver) in receivers.iter_mut().enumerate() {
        let packets = if n == 3 { FLOOD } else { 20 * PACKETS };
        receiver.receive(packets);
        sent += if n == 3 { u64::from(packets) } else { 0 };
    }
    let samples = interleaved(ROUNDS, &mut receivers, |receiver| receiver.receive(PACKETS));
    sent += u64::from(PACKETS) * ROUNDS as u64;
    let cost = |case: usize| samples[case].median();
    let steady = added(&samples, 2, 0);
    let hostile = added(&samples, 3, 1);
    let ns = |what: &str, value: f64| Finding::new(what, value, "ns");
    let mut findings = vec![
        ns("one source, an empty program", cost(0)),
        ns("one source, eni-steer adds", steady),
        ns("one source, nftables adds", added(&samples, 4, 0)),
        ns("a million sources, an empty program", cost(1)),
        ns("a million sources, eni-steer adds", hostile),
        ns("a million sources, nftables adds", added(&samples, 5, 1)),
        Finding::new("a packet costs, of a steady one", cost(3) / cost(2), "x").at_most(3.0),
        Finding::new(
            "eni-steer adds, of what it adds to a steady one",
            hostile / steady,
            "x",
        ),
    ];
    findings.extend(after(&receivers[3], sent));
    findings
}

/// Returns what the flood left behind.
fn after(receiver: &Receiver, sent: u64) -> Vec<Finding> {
    let counters = receiver.counters();
    let rows = |name: &str| counters[name].as_array().cloned().unwrap_or_default();
    let packets = |value: &Value| value["packets"].as_f64().unwrap_or(f64::NAN);
    let totals: f64 = rows("enis")
        .iter()
        .map(|eni| packets(&eni["totals"]["ingress"]["ipv4"]))
        .sum();
    let cells: f64 = rows("cells")
        .iter()
        .filter(|cell| cell["direction"] == "ingress")
        .map(|cell| packets(&cell["passed"]))
        .sum();
    let status = receiver.status();
    let maps = status["maps"].as_array().cloned().unwrap_or_default();
    let bytes: f64 = maps.iter().filter_map(|map| map["bytes"].as_f64()).sum();
    let sent = sent as f64;
    vec![
        Finding::new("packets that the totals miss", (sent - totals).abs(), "").at_most(0.0),
        Finding::new(
            "packets that the address's cell misses",
            (sent - cells).abs(),
            "",
        )
        .at_most(0.0),
        Finding::new("sources listed", rows("sources").len() as f64, ""),
        Finding::new("memory of all maps, by status", bytes / 1048576.0, "MiB").at_most(64.0),
    ]
}
