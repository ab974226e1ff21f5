//! How long the daemon takes to repair the host: from the last event of a disturbance, as the
//! kernel reports it, to the last change by which the daemon restores what was there.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use eni_steer_linux::netlink::{Event, Notification, Watch};
use eni_steer_tests::{Kept, Lab, NetNs, SOON, Shape, Steer, all_ours, ours};
use nix::sys::signal::Signal;

use crate::Benchmark;
use crate::batch::ip_batch;
use crate::report::Finding;
use crate::samples::Samples;

pub const BENCHMARK: Benchmark = Benchmark {
    name: "repair",
    about: "from the last event of a disturbance to the daemon's last repair",
    measure,
};

const RUN: [&str; 5] = ["run", "--eni", "eth0", "--eni", "eth1"];

/// Rounds of all disturbances.
const ROUNDS: usize = 100;
/// Rounds per daemon. If objects were deleted more often, the daemon would take it for a fight.
const OF_ONE_DAEMON: usize = 3;
/// If no event comes for this long, a disturbance and its repair are over.
const QUIET: Duration = Duration::from_millis(100);
/// Bound of the 99th percentile in milliseconds.
const BOUND: f64 = 50.0;

/// A disturbance of the host: lines for `ip -batch`.
struct Disturbance {
    what: &'static str,
    lines: Vec<String>,
    samples: Samples,
}

fn measure() -> Vec<Finding> {
    let lab = Lab::builder(Shape::SameSubnet).addresses(3).build();
    let events = events(&lab.host);
    let mut kept = Kept::on(lab, Steer::new(), &RUN);
    let before = all_ours(&kept.lab.host);
    let mut disturbances = disturbances(&kept);
    for round in 0..ROUNDS {
        if round % OF_ONE_DAEMON == 0 && round > 0 {
            restart(&mut kept);
        }
        for disturbance in &mut disturbances {
            let time = disturb(&kept, &events, &before, disturbance);
            disturbance.samples.push(time.as_secs_f64() * 1e3);
        }
    }
    let mut findings = Vec::new();
    for Disturbance { what, samples, .. } in disturbances {
        let p = |percent| samples.percentile(percent);
        findings.push(Finding::new(format!("{what}, median"), p(50.0), "ms"));
        findings.push(Finding::new(format!("{what}, p99"), p(99.0), "ms").at_most(BOUND));
    }
    findings
}

/// Stops the daemon, with whatever it remembers, and starts another one.
fn restart(kept: &mut Kept) {
    kept.daemon.signal(Signal::SIGKILL);
    kept.daemon.wait(SOON);
    kept.daemon = kept.start(&RUN);
    kept.settles("the policy");
}

fn disturbances(kept: &Kept) -> Vec<Disturbance> {
    let eni = kept.lab.eni(1);
    let disturbance = |what, lines: Vec<String>| Disturbance {
        what,
        lines,
        samples: Samples::default(),
    };
    let rules = ["-4", "-6"].map(|family| {
        let rules = ours(&kept.lab.host, &[family, "rule"]).len();
        vec![format!("{family} rule del protocol 229"); rules]
    });
    let families = ["-4", "-6"].into_iter();
    let tables = families
        .map(|family| format!("{family} route flush table 21001"))
        .collect();
    let v6s = eni.v6s.iter();
    let flap = [
        "-4 link set eth1 down".to_owned(),
        "-4 link set eth1 up".to_owned(),
    ]
    .into_iter()
    // The kernel removes IPv6 addresses with the link.
    .chain(v6s.map(|v6| format!("-6 address add {v6}/64 dev eth1 nodad")));
    let address =
        |family: &str, verb: &str, of: &str| format!("{family} address {verb} {of} dev eth1");
    // With the first IPv4 address of a subnet the kernel removes the others.
    let mut addresses = vec![address("-4", "del", &format!("{}/24", eni.v4()))];
    addresses.extend(
        eni.v4s
            .iter()
            .map(|v4| address("-4", "add", &format!("{v4}/24"))),
    );
    addresses.push(address("-6", "del", &format!("{}/64", eni.v6())));
    addresses.push(address("-6", "add", &format!("{}/64 nodad", eni.v6())));
    vec![
        disturbance(
            "one rule deleted",
            vec![format!("-4 rule del from {} lookup 21001", eni.v4())],
        ),
        disturbance("all rules deleted", rules.concat()),
        disturbance("tables flushed", tables),
        disturbance("link down and up", flap.collect()),
        disturbance("addresses deleted and added", addresses),
    ]
}

/// Disturbs the host and waits until everything is as before; returns how long after the last
/// event of the disturbance that was.
fn disturb(
    kept: &Kept,
    events: &Receiver<(Instant, Notification)>,
    before: &BTreeSet<String>,
    disturbance: &Disturbance,
) -> Duration {
    while events.recv_timeout(QUIET).is_ok() {}
    let began = Instant::now();
    ip_batch(&kept.lab.host, &disturbance.lines);
    let mut seen = Vec::new();
    loop {
        match events.recv_timeout(QUIET) {
            Ok(event) => seen.push(event),
            Err(RecvTimeoutError::Timeout) => {
                if all_ours(&kept.lab.host) == *before {
                    return latency(&seen, disturbance.what);
                }
                assert!(
                    began.elapsed() < SOON,
                    "after '{}' the host was not repaired: {:#?} of {before:#?}; the daemon wrote {}",
                    disturbance.what,
                    all_ours(&kept.lab.host),
                    kept.daemon.output()
                );
            }
            Err(RecvTimeoutError::Disconnected) => panic!("the subscription broke off"),
        }
    }
}

/// Returns the time from the last event that the daemon did not cause to the last that it caused.
fn latency(seen: &[(Instant, Notification)], what: &str) -> Duration {
    let restores = |one: &Notification| {
        use eni_steer_core::model::Protocol;
        const OURS: Protocol = Protocol(229);
        matches!(
            one.event,
            Event::Rule { protocol, deleted: false } | Event::Route { protocol, deleted: false }
                if protocol == OURS
        )
    };
    let last = |by_daemon: bool| {
        let port = seen.iter().find(|(_, one)| restores(one));
        let port = port.map(|(_, one)| one.port);
        let port = port.unwrap_or_else(|| panic!("'{what}' disturbed nothing: {seen:?}"));
        let mut those = seen.iter().rev();
        those
            .find(|(_, one)| (one.port == port) == by_daemon)
            .map(|(at, _)| *at)
            .unwrap_or_else(|| panic!("the kernel did not report '{what}': {seen:?}"))
    };
    last(true).saturating_duration_since(last(false))
}

/// Returns every change in a namespace, with the time at which it was reported.
fn events(ns: &NetNs) -> Receiver<(Instant, Notification)> {
    let (sender, receiver) = mpsc::channel();
    let (ready, wait) = mpsc::channel();
    let thread = ns.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut watch = Watch::open().expect("a subscription");
            ready.send(()).expect("somebody waits");
            while let Some(notification) = watch.next().await {
                if sender.send((Instant::now(), notification)).is_err() {
                    break; // nobody listens any more
                }
            }
        });
    });
    wait.recv().expect("the thread subscribes");
    // The thread ends with the receiver, or with the process.
    drop(thread);
    receiver
}
