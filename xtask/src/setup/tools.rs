//! The programs that the lab and the demo call.

use super::{Apt, State, Step, Way};
use crate::run;

/// A program, and the package that has it in Debian (most others agree).
const TOOLS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
    ("nft", "nftables"),
    ("iperf3", "iperf3"),
    ("tcpdump", "tcpdump"),
    ("nc", "netcat-openbsd"),
    ("conntrack", "conntrack"),
    ("bpftool", "bpftool"),
    ("ethtool", "ethtool"),
];

pub const STEP: Step = Step {
    name: "network tools",
    check,
    ways,
    by_hand: || format!("install the packages {}", missing_packages().join(" ")),
};

fn missing() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    TOOLS
        .iter()
        .filter(|(program, _)| run::on_path(program).is_none())
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<_> = missing().map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn check() -> State {
    let missing: Vec<_> = missing().map(|(program, _)| *program).collect();
    if missing.is_empty() {
        State::Ready("all on the PATH".to_owned())
    } else {
        State::Needed(format!("not on the PATH: {}", missing.join(" ")))
    }
}

fn ways(apt: &Apt) -> Vec<Way> {
    let why = "from the distribution";
    let install = apt
        .install(&missing_packages())
        .map(|command| vec![command]);
    install
        .map(|commands| Way { why, commands })
        .into_iter()
        .collect()
}
