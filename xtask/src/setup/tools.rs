//! Provides the programs that the lab and the demo call, and those for booting other kernels.

use super::{Apt, State, Step, Way};
use crate::run;

/// Programs, each with the package that has it in Debian (most other distributions use the same
/// names).
const TOOLS: [(&str, &str); 14] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("bridge", "iproute2"),
    ("ping", "iputils-ping"),
    ("jq", "jq"),
    ("script", "bsdutils"),
    ("nft", "nftables"),
    ("iperf3", "iperf3"),
    ("tcpdump", "tcpdump"),
    ("nc", "netcat-openbsd"),
    ("conntrack", "conntrack"),
    ("bpftool", "bpftool"),
    ("ethtool", "ethtool"),
    ("systemd-analyze", "systemd"),
];

/// Programs that fetch a kernel and boot it.
const OF_KERNELS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("modprobe", "kmod"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
];

pub const STEP: Step = Step {
    name: "network tools",
    check: || check(&TOOLS),
    ways: |apt| ways(apt, &TOOLS),
    by_hand: || by_hand(&TOOLS),
};

pub const KERNELS: Step = Step {
    name: "virtual machines",
    check: || check(&OF_KERNELS),
    ways: |apt| ways(apt, &OF_KERNELS),
    by_hand: || by_hand(&OF_KERNELS),
};

/// Returns the programs that the lab and the demo call.
pub fn of_the_lab() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|(program, _)| *program)
}

type Tool = (&'static str, &'static str);

fn missing(tools: &[Tool]) -> impl Iterator<Item = &Tool> {
    tools
        .iter()
        .filter(|(program, _)| run::on_path(program).is_none())
}

fn missing_packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing(tools).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn by_hand(tools: &[Tool]) -> String {
    format!("install the packages {}", missing_packages(tools).join(" "))
}

fn check(tools: &[Tool]) -> State {
    let missing: Vec<_> = missing(tools).map(|(program, _)| *program).collect();
    if missing.is_empty() {
        State::Ready("all on the PATH".to_owned())
    } else {
        State::Needed(format!("not on the PATH: {}", missing.join(" ")))
    }
}

fn ways(apt: &Apt, tools: &[Tool]) -> Vec<Way> {
    let why = "from the distribution";
    let install = apt
        .install(&missing_packages(tools))
        .map(|command| vec![command]);
    install
        .map(|commands| Way { why, commands })
        .into_iter()
        .collect()
}
