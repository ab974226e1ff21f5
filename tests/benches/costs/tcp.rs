//! TCP through the lab with iperf3, from the host to the client: with the programs and without,
//! and with steering and with correct routing.

use std::net::Ipv4Addr;
use std::time::Duration;

use eni_steer_tests::{Background, Call, Lab, Shape, Steer, eventually};

use crate::Benchmark;
use crate::report::Finding;
use crate::samples::{interleaved, ratio};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "tcp",
    about: "iperf3 from the host to the client, one stream",
    measure,
};

const ROUNDS: usize = 31;
const SECONDS: &str = "1";

/// A lab with a server, and the address from which the client fetches.
struct Path {
    lab: Lab,
    _steer: Steer,
    _server: Background,
    from: Ipv4Addr,
}

fn measure() -> Vec<Finding> {
    let mut paths = [
        path(0, None),
        path(0, Some(&["--rules", "off", "--mode", "count"])),
        path(1, Some(&["--rules", "on", "--programs", "off"])),
        path(1, Some(&["--rules", "on", "--mode", "steer"])),
        path(1, Some(&["--rules", "off", "--mode", "steer"])),
    ];
    let samples = interleaved(ROUNDS, &mut paths, transfer);
    let wrong = paths[4].lab.router_seen(0).wrong.packets;
    assert_eq!(wrong, 0, "packets of eth1's address left by eth0");
    let gbit = |what: &str, n: usize| Finding::new(what, samples[n].median(), "Gbit/s");
    let of = |what: &str, n: usize, other: usize| {
        Finding::new(what, ratio(&samples[n], &samples[other]), "x")
    };
    vec![
        gbit("bare", 0),
        gbit("counted", 1),
        of("counted, of bare", 1, 0).at_least(0.98),
        gbit("routed right by rules, no programs", 2),
        gbit("routed right by rules, counted", 3),
        gbit("every packet steered, no rules", 4),
        of("steered, of routed right and counted", 4, 3).at_least(0.95),
        of("steered, of routed right, no programs", 4, 2),
    ]
}

fn path(eni: usize, apply: Option<&[&str]>) -> Path {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    if let Some(args) = apply {
        steer.apply(&lab, args);
    }
    let server = Call::new("iperf3")
        .args(["--server", "--forceflush"])
        .start_in_background(&lab.host);
    let listens = eventually(Duration::from_secs(10), || {
        server.output().contains("listening")
    });
    assert!(listens, "{}", server.output());
    Path {
        from: lab.eni(eni).v4(),
        lab,
        _steer: steer,
        _server: server,
    }
}

/// Returns the rate at which data arrives at the client, in Gbit/s.
fn transfer(path: &mut Path) -> f64 {
    let report = Call::new("iperf3")
        .args(["--client", &path.from.to_string()])
        .args(["--reverse", "--json", "--omit", "0.3", "--time", SECONDS])
        .run(&path.lab.client)
        .expect_success()
        .json();
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    bits.unwrap_or_else(|| panic!("no result in {report:#}")) / 1e9
}
