//! Prints the network configuration of a namespace as text that can be compared. If nothing
//! changes, two dumps are equal.

use std::fmt::Write as _;

use crate::{Call, NetNs, diff, tcx};

/// Returns rules, routes, nexthops, addresses, links with their groups, qdiscs, filters, TCX
/// programs, the sysctls that matter here and the nftables ruleset. It leaves out what changes by
/// itself (counters, lifetimes, timers).
#[track_caller]
pub fn dump(ns: &NetNs) -> String {
    let devices = devices(ns);
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        writeln!(text, "== {title}").expect("a string can be written to");
        for line in lines {
            text += &line;
            text.push('\n');
        }
    };
    for family in ["-4", "-6"] {
        // The order of rules matters, because the kernel searches them in it. The order of routes
        // does not: it depends on when they were added, so they are sorted.
        section(
            &format!("ip {family} rule"),
            show(ns, "ip", family, "rule show"),
        );
        let routes = show(ns, "ip", family, "route show table all");
        section(
            &format!("ip {family} route"),
            sorted(without(&routes, &["expires"])),
        );
    }
    section("ip nexthop", show(ns, "ip", "-d", "nexthop show"));
    section(
        "ip address",
        by_device(without(
            &show(ns, "ip", "-o", "address show"),
            &["valid_lft", "preferred_lft"],
        )),
    );
    section(
        "ip link",
        by_device(without(
            &show(ns, "ip", "-d -o", "link show"),
            VOLATILE_OF_LINKS,
        )),
    );
    section("tc qdisc", show(ns, "tc", "-d", "qdisc show"));
    for (_, device) in &devices {
        let filters = ["ingress", "egress"]
            .map(|hook| show(ns, "tc", "-d", &format!("filter show dev {device} {hook}")));
        section(&format!("tc filter {device}"), filters.concat());
    }
    for (index, device) in &devices {
        section(&format!("tcx {device}"), ns.run(|| tcx::programs(*index)));
    }
    section("sysctl", sysctls(ns));
    let ruleset = crate::run_ok(ns, "nft", ["-s", "list", "ruleset"]);
    section("nft", ruleset.lines().map(str::to_owned).collect());
    text
}

/// Panics with the difference if two dumps are not equal.
#[track_caller]
pub fn assert_unchanged(before: &str, after: &str) {
    let difference = diff(before, after);
    assert!(
        difference.is_empty(),
        "changed (- before, + after):\n{difference}"
    );
}

/// Words in the output of `ip -d link` whose values change by themselves.
const VOLATILE_OF_LINKS: &[&str] = &[
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "hold_timer",
    "message_age_timer",
    "forward_delay_timer",
];

/// Returns index and name of every device.
fn devices(ns: &NetNs) -> Vec<(u32, String)> {
    show(ns, "ip", "-o", "link show")
        .iter()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ": ");
            let index = parts.next()?.parse().ok()?;
            let name = parts.next()?.split('@').next()?;
            Some((index, name.to_owned()))
        })
        .collect()
}

/// Returns what a command of `ip` or `tc` prints. The command is passed as a batch, so its words
/// need not be split into arguments.
#[track_caller]
fn show(ns: &NetNs, program: &str, options: &str, command: &str) -> Vec<String> {
    let output = Call::new(program)
        .args(options.split(' '))
        .args(["-batch", "-"])
        .stdin(format!("{command}\n"))
        .run(ns)
        .expect_success();
    output
        .stdout
        .lines()
        .map(|l| l.trim_end().to_owned())
        .collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// `ip -o` prints an object on one line, with `\` in the place of line ends. This makes each part
/// a line again, which begins with the device, so that a difference is short.
fn by_device(lines: Vec<String>) -> Vec<String> {
    let mut apart = Vec::new();
    for line in lines {
        let mut parts = line.split('\\').map(str::trim);
        let head = parts.next().unwrap_or_default();
        let device = head.split_whitespace().nth(1).unwrap_or_default();
        apart.push(head.to_owned());
        apart.extend(
            parts
                .filter(|part| !part.is_empty())
                .map(|part| format!("   {device} {part}")),
        );
    }
    apart
}

/// Returns the lines without these words and the word after each.
fn without(lines: &[String], words: &[&str]) -> Vec<String> {
    lines
        .iter()
        .map(|line| {
            let mut kept = Vec::new();
            let mut parts = line.split_whitespace();
            while let Some(part) = parts.next() {
                if words.contains(&part) {
                    parts.next();
                } else {
                    kept.push(part);
                }
            }
            kept.join(" ")
        })
        .collect()
}

const OF_IPV4: &[&str] = &[
    "accept_local",
    "accept_redirects",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "forwarding",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
    "send_redirects",
    "src_valid_mark",
];

const OF_IPV6: &[&str] = &[
    "accept_ra",
    "accept_redirects",
    "addr_gen_mode",
    "autoconf",
    "disable_ipv6",
    "forwarding",
    "keep_addr_on_down",
    "proxy_ndp",
];

const GLOBAL: &[&str] = &[
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/fwmark_reflect",
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv6/fib_multipath_hash_policy",
    "net/ipv6/ip_nonlocal_bind",
];

fn sysctls(ns: &NetNs) -> Vec<String> {
    ns.run(|| {
        let mut keys: Vec<String> = GLOBAL.iter().map(|key| (*key).to_owned()).collect();
        for (family, names) in [("ipv4", OF_IPV4), ("ipv6", OF_IPV6)] {
            let root = format!("net/{family}/conf");
            for device in std::fs::read_dir(format!("/proc/sys/{root}")).expect("/proc is mounted")
            {
                let device = device.expect("/proc can be listed").file_name();
                let device = device.to_string_lossy();
                keys.extend(names.iter().map(|name| format!("{root}/{device}/{name}")));
            }
        }
        keys.sort();
        keys.iter()
            .filter_map(|key| {
                // If a kernel does not have a sysctl, it is missing before and after.
                let value = std::fs::read_to_string(format!("/proc/sys/{key}")).ok()?;
                Some(format!("{key} = {}", value.trim_end()))
            })
            .collect()
    })
}
