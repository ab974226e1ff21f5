//! Sets up 15 ENIs with 50 addresses of each family on an unconfigured host, and compares
//! eni-steer with `ip`, which gets the same objects: the ENIs' group, routes and rules.

use std::time::Instant;

use eni_steer_tests::{DefaultRoute, Lab, NetNs, Shape, Steer, all_ours, ours, run_ok};

use crate::Benchmark;
use crate::batch::ip_batch;
use crate::report::Finding;
use crate::samples::{Samples, ratio};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "from-nothing",
    about: "tables and rules of 15 ENIs with 50 IPv4 and 50 IPv6 addresses each",
    measure,
};

const ENIS: usize = 15;
const ADDRESSES: usize = 50;
const ROUNDS: usize = 40;
/// Rounds of cases that take a second each.
const SLOW_ROUNDS: usize = 3;

fn measure() -> Vec<Finding> {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .enis(ENIS)
        .addresses(ADDRESSES)
        .default_route(DefaultRoute::AllWithMetric(200))
        .build();
    let steer = Steer::new();
    let rules_only = ["--programs", "off"];
    // This also resolves the gateways' neighbours, for both.
    steer.apply(&lab, &rules_only);
    let groups = groups(&lab);
    let script = [groups.clone(), script(&lab.host)].concat();
    let objects = script.len() - groups.len();
    let mut findings = vec![Finding::new("rules and routes", objects as f64, "")];

    let [mut apply, mut nothing, mut batch, mut single, mut whole] =
        std::array::from_fn(|_| Samples::default());
    for round in 0..ROUNDS {
        time(&mut nothing, || drop(steer.apply(&lab, &rules_only)));
        steer.ok(&lab, &["remove"]);
        time(&mut apply, || drop(steer.apply(&lab, &rules_only)));
        steer.ok(&lab, &["remove"]);
        time(&mut batch, || ip_batch(&lab.host, &script));
        clear(&lab);
        if round < SLOW_ROUNDS {
            time(&mut single, || one_by_one(&lab.host, &script));
            clear(&lab);
            time(&mut whole, || {
                drop(steer.apply(&lab, &["--programs", "on"]))
            });
            steer.ok(&lab, &["remove"]);
        }
        steer.apply(&lab, &rules_only);
    }
    let ms = |what: &str, samples: &Samples| Finding::new(what, samples.median(), "ms");
    findings.extend([
        ms("eni-steer apply --programs off", &apply),
        ms("ip -batch", &batch),
        ms("one ip process for each", &single),
        ms(
            "eni-steer apply --programs off, with nothing to do",
            &nothing,
        ),
        ms("eni-steer apply, with programs", &whole),
        Finding::new("apply, of ip -batch", ratio(&apply, &batch), "x").at_most(1.0),
        Finding::new("nothing to do, of ip -batch", ratio(&nothing, &batch), "x").at_most(0.5),
    ]);
    findings
}

/// Measures how long the work takes, in milliseconds, and adds the sample.
fn time(samples: &mut Samples, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    samples.push(began.elapsed().as_secs_f64() * 1e3);
}

/// Returns the commands that put the ENIs into the group that eni-steer's rule uses, as they are
/// now.
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

/// Returns the commands that make eni-steer's present objects, routes before rules.
fn script(ns: &NetNs) -> Vec<String> {
    let mut script = Vec::new();
    for family in ["-4", "-6"] {
        // `ip` accepts the form in which it prints them, except for two words.
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
