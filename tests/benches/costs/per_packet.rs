//! What the programs add to a packet, measured with BPF_PROG_TEST_RUN, minus the cost of a
//! program that does nothing.

use aya::TestRunOptions;
use aya::programs::{SchedClassifier, TestRun};
use eni_steer_core::model::{Direction, Mode};
use eni_steer_tests::Bpffs;
use eni_steer_tests::packets::Packet;

use crate::Benchmark;
use crate::programs::{Bench, FAR4, FAR6, OWN4, OWN6, THEIRS4, THEIRS6, empty_program, ip, pinned};
use crate::report::Finding;
use crate::samples::{added, interleaved};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "per-packet",
    about: "what the programs add to a packet of 64 bytes (BPF_PROG_TEST_RUN, without an empty \
            program)",
    measure,
};

/// Runs per measurement, and measurements of each case.
const REPEAT: u32 = 100_000;
const ROUNDS: usize = 40;

/// Nanoseconds that an IPv4 packet may cost. [`IPV6`] is how many times as much an IPv6 packet may
/// cost.
const HOME: f64 = 45.0;
const INGRESS: f64 = 90.0;
const STEERED: f64 = 120.0;
const IPV6: f64 = 1.3;

struct Case<'a> {
    program: &'a SchedClassifier,
    packet: Vec<u8>,
}

fn measure() -> Vec<Finding> {
    let bench = Bench::new(Mode::Steer);
    let bpffs = Bpffs::mount_private();
    let empty = pinned(&empty_program(), &bpffs.path().join("empty"));
    let program = |direction| bench.program(direction).classifier().expect("it is loaded");
    let (inward, out) = (program(Direction::Ingress), program(Direction::Egress));
    // 64 bytes with the Ethernet header.
    let udp = |from: &str, to: &str| {
        let headers = if from.contains(':') { 62 } else { 42 };
        Packet::udp(ip(from), ip(to), 64 - headers).bytes()
    };
    let case = |program, from, to| Case {
        program,
        packet: udp(from, to),
    };
    let mut cases = [
        case(&empty, OWN4, FAR4),
        case(out, OWN4, FAR4),
        case(out, OWN6, FAR6),
        case(inward, FAR4, OWN4),
        case(inward, FAR6, OWN6),
        case(out, THEIRS4, FAR4),
        case(out, THEIRS6, FAR6),
        case(out, FAR4, OWN4),
    ];
    let samples = interleaved(ROUNDS, &mut cases, run);
    let added = |n: usize| added(&samples, n, 0);
    let ns = |what: &str, n: usize| Finding::new(what, added(n), "ns");
    let v6 = |what: &str, n: usize| Finding::new(what, added(n + 1) / added(n), "x").at_most(IPV6);
    vec![
        Finding::new(
            "an empty program, which is not counted below",
            samples[0].median(),
            "ns",
        ),
        ns("egress that belongs here, IPv4", 1).at_most(HOME),
        ns("egress that belongs here, IPv6", 2),
        v6("  IPv6 of IPv4, belongs here", 1),
        ns("ingress, one source, IPv4", 3).at_most(INGRESS),
        ns("ingress, one source, IPv6", 4),
        v6("  IPv6 of IPv4, ingress", 3),
        ns("egress that is steered, IPv4", 5).at_most(STEERED),
        ns("egress that is steered, IPv6", 6),
        v6("  IPv6 of IPv4, steered", 5),
        ns("egress of a source that nobody owns, IPv4", 7),
    ]
}

/// Returns the nanoseconds per run.
fn run(case: &mut Case<'_>) -> f64 {
    let options = TestRunOptions {
        data_in: Some(&case.packet),
        repeat: REPEAT,
        ..TestRunOptions::default()
    };
    let result = case.program.test_run(options).expect("BPF_PROG_TEST_RUN");
    result.duration.as_nanos() as f64
}
