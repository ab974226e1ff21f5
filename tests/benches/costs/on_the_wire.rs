//! What counting adds to a packet on its way from the wire to a socket, beside what people would
//! use instead.

use crate::Benchmark;
use crate::receiver::{Counting, Receiver};
use crate::report::Finding;
use crate::samples::{Samples, added, interleaved};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "on-the-wire",
    about: "receiving a packet of 64 bytes by a veth (XDP live frames)",
    measure,
};

/// Packets per measurement, and measurements of each case.
const PACKETS: u32 = 24_000;
const ROUNDS: usize = 41;

const CASES: [(Counting, &str); 5] = [
    (Counting::Nothing, "nothing"),
    (Counting::EmptyProgram, "an empty program"),
    (Counting::EniSteer, "eni-steer, counting"),
    (
        Counting::Nftables,
        "nftables, update @set { ip saddr counter }",
    ),
    (Counting::Tcpdump, "tcpdump -w /dev/null"),
];

fn measure() -> Vec<Finding> {
    let mut findings = Vec::new();
    let ([_, _, steer, nftables, tcpdump], process) = costs("", 0, &mut findings);
    let of =
        |what: &str, value: f64| Finding::new(format!("eni-steer adds, of {what}"), value, "x");
    findings.extend([
        Finding::new("tcpdump's own process, beside that", process, "ns"),
        of("what nftables adds", steer / nftables).at_most(0.7),
        of(
            "what tcpdump takes, its process included",
            steer / (tcpdump + process),
        )
        .at_most(0.4),
        of("what tcpdump adds, without its process", steer / tcpdump),
    ]);
    costs("65,536 sources: ", 16, &mut findings);
    findings
}

/// Returns what each case adds to the empty case, and the time of tcpdump's own process, in
/// nanoseconds.
fn costs(what: &str, bits: u32, findings: &mut Vec<Finding>) -> ([f64; 5], f64) {
    let mut receivers = CASES.map(|(counting, _)| Receiver::new(counting, bits));
    for receiver in &mut receivers {
        // This fills the socket, the caches and the maps.
        receiver.receive(20 * PACKETS);
    }
    let mut of_process = Samples::default();
    let samples = interleaved(ROUNDS, &mut receivers, |receiver| {
        let (cost, process) = receiver.receive_and_tell(PACKETS);
        if process > 0.0 {
            of_process.push(process);
        }
        cost
    });
    let mut more = [0.0; 5];
    for (n, (_, name)) in CASES.iter().enumerate() {
        more[n] = added(&samples, n, 0);
        let (value, word) = match n {
            0 => (samples[0].median(), ""),
            _ => (more[n], ", added"),
        };
        findings.push(Finding::new(format!("{what}{name}{word}"), value, "ns"));
    }
    (more, of_process.median())
}
