//! 15 ENIs with 50 addresses of each family, from nothing: next to `ip`, given the same objects:
//! the ENIs' group, routes, rules.

use std::time::{Duration, Instant};

use eni_steer_tests::{DefaultRoute, Lab, NetNs, Shape, Steer, all_ours, ours, run_ok};

use crate::Benchmark;
use crate::batch::ip_batch;
use crate::report::Finding;
use crate::samples::Samples;

pub const BENCHMARK: Benchmark = Benchmark {
    name: "from-nothing",
    about: "tables and rules of 15 ENIs with 50 IPv4 and 50 IPv6 addresses each",
    measure,
};

const ENIS: usize = 15;
const ADDRESSES: usize = 50;
const ROUNDS: usize = 25;
/// Of what takes a second each time.
const SLOW_ROUNDS: usize = 3;

fn measure() -> Vec<Finding> {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .enis(ENIS)
        .addresses(ADDRESSES)
        .default_route(DefaultRoute::AllWithMetric(200))
        .build();
    let steer = Steer::new();
    let rules_only = ["--programs", "off"];
    // Also the gateways' neighbours are resolved now, for everybody.
    steer.apply(&lab, &rules_only);
    let groups = groups(&lab);
    let script = [groups.clone(), script(&lab.host)].concat();
    let objects = script.len() - groups.len();
    let mut findings = vec![Finding::new("rules and routes", objects as f64, "")];

    let [mut apply, mut nothing, mut batch, mut single, mut whole] =
        [const { Vec::new() }; 5].map(Times);
    for round in 0..ROUNDS {
        nothing.time(|| drop(steer.apply(&lab, &rules_only)));
        steer.ok(&lab, &["remove"]);
        apply.time(|| drop(steer.apply(&lab, &rules_only)));
        steer.ok(&lab, &["remove"]);
        batch.time(|| ip_batch(&lab.host, &script));
        clear(&lab);
        if round < SLOW_ROUNDS {
            single.time(|| one_by_one(&lab.host, &script));
            clear(&lab);
            whole.time(|| drop(steer.apply(&lab, &["--programs", "on"])));
            steer.ok(&lab, &["remove"]);
        }
        steer.apply(&lab, &rules_only);
    }
    let [apply, nothing, batch, single, whole] =
        [apply, nothing, batch, single, whole].map(|times| times.median());
    let ms = |what: &str, value| Finding::new(what, value, "ms");
    findings.extend([
        ms("eni-steer apply --programs off", apply),
        ms("ip -batch", batch),
        ms("one ip process for each", single),
        ms(
            "eni-steer apply --programs off, with nothing to do",
            nothing,
        ),
        ms("eni-steer apply, with programs", whole),
        Finding::new("apply, of ip -batch", apply / batch, "x").at_most(1.0),
        Finding::new("nothing to do, of ip -batch", nothing / batch, "x").at_most(0.5),
    ]);
    findings
}

/// Times of the same thing.
struct Times(Vec<Duration>);

impl Times {
    fn time(&mut self, work: impl FnOnce()) {
        let began = Instant::now();
        work();
        self.0.push(began.elapsed());
    }

    /// Milliseconds.
    fn median(&self) -> f64 {
        let times: Samples = self.0.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.median()
    }
}

/// What puts the ENIs into the group that a rule of ours speaks of, and they are in now.
fn groups(lab: &Lab) -> Vec<String> {
    let group = |name: &str| {
        let link = run_ok(&lab.host, "ip", ["-json", "link", "show", "dev", name]);
        let link: serde_json::Value = serde_json::from_str(&link).expect("ip writes JSON");
        let group = link[0]["group"].as_str().expect("a group").to_owned();
        assert_ne!(group, "default", "{name}");
        format!("link set dev {name} group {group}")
    };
    lab.enis().iter().map(|eni| group(&eni.name)).collect()
}

/// What makes the objects of ours that are there now, routes before rules.
fn script(ns: &NetNs) -> Vec<String> {
    let mut script = Vec::new();
    for family in ["-4", "-6"] {
        // As `ip` shows them is how `ip` takes them, but for two words.
        let routes = ours(ns, &[family, "-details", "route", "show", "table", "all"]);
        let routes = routes.iter().map(|route| route.replace(" pref medium", ""));
        script.extend(routes.map(|route| format!("{family} route add {route}")));
    }
    for family in ["-4", "-6"] {
        for rule in ours(ns, &[family, "rule"]) {
            let (priority, rule) = rule.split_once(":\t").expect("a priority");
            script.push(format!("{family} rule add pref {priority} {rule}"));
        }
    }
    script
}

fn clear(lab: &Lab) {
    let ns = &lab.host;
    for eni in lab.enis() {
        let words = ["link", "set", "dev", &eni.name, "group", "default"];
        run_ok(ns, "ip", words);
    }
    for family in ["-4", "-6"] {
        run_ok(ns, "ip", [family, "rule", "flush", "protocol", "229"]);
        let flush = [family, "route", "flush", "table", "all", "proto", "229"];
        run_ok(ns, "ip", flush);
    }
    assert!(all_ours(ns).is_empty(), "{:#?}", all_ours(ns));
}

fn one_by_one(ns: &NetNs, script: &[String]) {
    for line in script {
        run_ok(ns, "ip", line.split_whitespace());
    }
}
