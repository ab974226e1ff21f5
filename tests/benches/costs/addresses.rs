//! How fast an unconnected UDP sender is on a host with many addresses. The kernel routes each
//! datagram, and looks at rules one after another.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use eni_steer_tests::{NetNs, Steer, Until, run_ok, udp_blast, write_sysctl};

use crate::Benchmark;
use crate::batch::ip_batch;
use crate::report::Finding;
use crate::samples::{interleaved, ratio};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "addresses",
    about: "datagrams a second of an unconnected UDP sender, from the middle one of N addresses of eth1",
    measure,
};

const NUMBERS: [u32; 5] = [1, 10, 100, 1000, 4000];
const ROUNDS: usize = 15;
const TIME: Duration = Duration::from_millis(100);

/// What makes the sender's datagrams leave by eth1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `ip rule add from ADDRESS lookup TABLE` for each address.
    Textbook,
    /// eni-steer's rules.
    Rules,
    /// eni-steer's rules for adjacent addresses, which fill prefixes.
    RulesOfPrefixes,
    /// No rules: main sends everything by eth0, and eni-steer redirects all of it.
    Steering,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Textbook, "textbook rules"),
    (Way::Rules, "eni-steer's rules, no two addresses adjacent"),
    (
        Way::RulesOfPrefixes,
        "eni-steer's rules, adjacent addresses",
    ),
    (Way::Steering, "eni-steer's steering, no rules"),
];

/// A host, and the far ends of its cables.
struct Host {
    ns: NetNs,
    _sink: NetNs,
    _steer: Steer,
    from: Ipv4Addr,
}

fn measure() -> Vec<Finding> {
    let mut hosts: Vec<Host> = WAYS
        .iter()
        .flat_map(|(way, _)| NUMBERS.map(|number| host(*way, number)))
        .collect();
    let to = SocketAddr::from(([198, 51, 100, 1], 9));
    let samples = interleaved(ROUNDS, &mut hosts, |host| {
        let from = Some(host.from.into());
        udp_blast(&host.ns, from, &[to], 18, Until::Elapsed(TIME)).per_second()
    });
    let mut findings = Vec::new();
    for ((_, name), of_way) in WAYS.iter().zip(samples.chunks(NUMBERS.len())) {
        for (number, samples) in NUMBERS.iter().zip(of_way) {
            let what = format!("{name}, N = {number}");
            let value = samples.median().round();
            findings.push(Finding::new(what, value, "/s").at(name, f64::from(*number)));
        }
        let last = ratio(&of_way[NUMBERS.len() - 1], &of_way[0]);
        let finding = Finding::new(format!("  {name}, N = 4000 of N = 1"), last, "x");
        findings.push(match *name == WAYS[3].1 {
            true => finding.at_least(0.95),
            false => finding,
        });
    }
    findings
}

/// Makes a host with two ENIs, of which eth1 has this many addresses, and their gateways.
fn host(way: Way, number: u32) -> Host {
    let (ns, sink) = (NetNs::new("host"), NetNs::new("sink"));
    write_sysctl(&ns, "net/ipv6/conf/default/disable_ipv6", 1);
    let step = if way == Way::RulesOfPrefixes { 1 } else { 2 };
    let first = u32::from(Ipv4Addr::new(10, 100, 0, 0)) + 16;
    let addresses: Vec<Ipv4Addr> = (0..number)
        .map(|n| Ipv4Addr::from(first + n * step))
        .collect();
    let mut script = vec!["-4 link set lo up".to_owned()];
    for eni in ["eth0", "eth1"] {
        let far = format!("far-{eni} netns {}", sink.path());
        script.push(format!("-4 link add {eni} type veth peer name {far}"));
        script.push(format!("-4 link set {eni} up"));
    }
    script.push("-4 address add 10.200.0.2/24 dev eth0".to_owned());
    let add = |address| format!("-4 address add {address}/16 dev eth1");
    script.extend(addresses.iter().map(add));
    for (gateway, eni) in [("10.200.0.1", "eth0"), ("10.100.255.254", "eth1")] {
        let lladdr = "02:00:00:00:00:fe";
        script.push(format!(
            "-4 neigh replace {gateway} lladdr {lladdr} dev {eni} nud permanent"
        ));
    }
    script.push("-4 route add default via 10.200.0.1 dev eth0".to_owned());
    if way == Way::Textbook {
        let route = "-4 route add default via 10.100.255.254 dev eth1 table 1001";
        script.push(route.to_owned());
        let rule = |address| format!("-4 rule add from {address} lookup 1001");
        script.extend(addresses.iter().map(rule));
    }
    ip_batch(&ns, &script);
    for eni in ["eth0", "eth1"] {
        run_ok(&sink, "ip", ["link", "set", &format!("far-{eni}"), "up"]);
    }
    let steer = Steer::new();
    if way != Way::Textbook {
        let modes: [&str; 4] = match way {
            Way::Steering => ["--rules", "off", "--mode", "steer"],
            _ => ["--rules", "on", "--mode", "count"],
        };
        let enis = ["apply", "--eni", "eth0", "--eni", "eth1"];
        let gateway = ["--gateway", "eth1=10.100.255.254"];
        let call = steer.call(&enis).args(gateway).args(modes);
        drop(
            call.timeout(Duration::from_secs(120))
                .run(&ns)
                .expect_success(),
        );
    }
    Host {
        ns,
        _sink: sink,
        _steer: steer,
        from: addresses[addresses.len() / 2],
    }
}
