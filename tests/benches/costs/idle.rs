//! The daemon when nothing happens: how often it wakes up, and how much memory it uses.

use std::fs;
use std::time::Duration;

use eni_steer_tests::packets::Packet;
use eni_steer_tests::{Kept, LiveFrames, proc_number};
use nix::sys::signal::Signal;

use crate::Benchmark;
use crate::report::Finding;

pub const BENCHMARK: Benchmark = Benchmark {
    name: "idle",
    about: "the daemon with 65,536 sources counted and nothing to do",
    measure,
};

/// Shorter than the daemon's timer (60 s) by more than the runtime needs to prepare for it, so
/// anything that wakes the daemon in this time is something else.
const WINDOW: Duration = Duration::from_secs(30);
/// 2^16 random sources; this many packets miss one in a million.
const BITS: u32 = 16;
const PACKETS: u32 = 1_000_000;

fn measure() -> Vec<Finding> {
    let kept = Kept::by(&["run", "--eni", "eth0", "--eni", "eth1"]);
    let eni = kept.lab.eni(0);
    let packet = Packet::udp([192, 0, 2, 10].into(), eni.v4().into(), 22).to(eni.mac.0);
    // A device that gets an XDP program sends an event, so this comes before anything is
    // measured.
    LiveFrames::new(&kept.lab.host, &eni.name, &packet.bytes(), BITS).receive(PACKETS);
    let counters = kept.steer.json(&kept.lab, &["counters", "--all"]);
    let sources = counters["sources"].as_array().map_or(0, Vec::len);
    // Every pass restarts the timer, so it is known when it fires next.
    kept.daemon.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(5));
    let before = kept.wake_ups();
    std::thread::sleep(WINDOW);
    let woken = kept.wake_ups() - before;
    let memory = |field| status(kept.daemon.pid(), field) as f64 / 1024.0;
    vec![
        Finding::new("sources counted", sources as f64, "").at_least(65_000.0),
        Finding::new("wake-ups in 30 s, without the timer's", woken as f64, "").at_most(0.0),
        Finding::new("resident memory", memory("VmRSS:"), "MiB").at_most(16.0),
        Finding::new(
            "  of which its own, not of files",
            memory("RssAnon:"),
            "MiB",
        ),
        Finding::new("at most since it was started", memory("VmHWM:"), "MiB"),
    ]
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    proc_number(&status, name)
}
