//! Other software that manages the same interfaces, and how it is recognised: by processes that
//! run in this network namespace, and by files.

use super::{
    codes::{self, Entry},
    facts::Facts,
    found::Found,
};

/// A program that runs, by the name of its process (at most 15 bytes, as the kernel keeps it).
struct Process {
    comm: &'static str,
    name: &'static str,
    entry: Entry,
}

const fn process(comm: &'static str, name: &'static str, entry: Entry) -> Process {
    Process { comm, name, entry }
}

const PROCESSES: [Process; 20] = [
    process("NetworkManager", "NetworkManager", codes::NETWORK_MANAGER),
    process("dockerd", "Docker", codes::CONTAINERS),
    process("containerd", "containerd", codes::CONTAINERS),
    process("podman", "Podman", codes::CONTAINERS),
    process("conmon", "Podman or CRI-O", codes::CONTAINERS),
    process("kubelet", "Kubernetes", codes::CONTAINERS),
    process("kube-proxy", "kube-proxy", codes::CONTAINERS),
    process("aws-k8s-agent", "the Amazon VPC CNI", codes::CONTAINERS),
    process("cilium-agent", "Cilium", codes::CONTAINERS),
    process("calico-node", "Calico", codes::CONTAINERS),
    process("flanneld", "flannel", codes::CONTAINERS),
    process("terwayd", "Terway", codes::CONTAINERS),
    process("ovnkube", "OVN-Kubernetes", codes::CONTAINERS),
    process("antrea-agent", "Antrea", codes::CONTAINERS),
    process("keepalived", "keepalived", codes::KEEPALIVED),
    process("tailscaled", "Tailscale", codes::VPN),
    process("openvpn", "OpenVPN", codes::VPN),
    process("charon", "strongSwan", codes::VPN),
    process("netbird", "NetBird", codes::VPN),
    process("mullvad-daemon", "Mullvad", codes::VPN),
];

/// `systemd-networkd`, as the kernel cuts its name.
const NETWORKD: &str = "systemd-network";

/// Names of the processes that `doctor` asks about.
pub fn processes() -> impl Iterator<Item = &'static str> {
    let all = PROCESSES.iter().map(|process| process.comm);
    all.chain([NETWORKD, "nm-cloud-setup"])
}

const NM_TIMER: &str = "etc/systemd/system/timers.target.wants/nm-cloud-setup.timer";
const CLOUD_INIT_RUN: &str = "run/cloud-init/result.json";
const CLOUD_INIT_OFF: &str = "etc/cloud/cloud-init.disabled";
const CLOUD_INIT_NO_NETWORK: &str = "etc/cloud/cloud.cfg.d/99-disable-network-config.cfg";
const EC2_TIMER: &str = "usr/lib/systemd/system/refresh-policy-routes@.timer";
const EC2_LEASES: &str = "run/amazon-ec2-net-utils";

/// Files and directories that `doctor` asks about, without the leading slash.
pub const FILES: [&str; 6] = [
    NM_TIMER,
    CLOUD_INIT_RUN,
    CLOUD_INIT_OFF,
    CLOUD_INIT_NO_NETWORK,
    EC2_TIMER,
    EC2_LEASES,
];

pub(super) fn check(facts: &Facts, found: &mut Found) {
    let runs = |comm: &str| facts.processes.contains(comm);
    let is_there = |file: &str| facts.files.contains(file);
    if runs(NETWORKD) && (facts.networkd_deletes_rules || facts.networkd_deletes_routes) {
        let what = match (facts.networkd_deletes_rules, facts.networkd_deletes_routes) {
            (true, true) => "rules and routes",
            (true, false) => "rules",
            _ => "routes",
        };
        found.add(
            codes::NETWORKD_DELETES,
            "systemd-networkd",
            format!("systemd-networkd runs and deletes {what} of other programs"),
            Some(
                "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' \
                 > /etc/systemd/networkd.conf.d/eni-steer.conf"
                    .to_owned(),
            ),
        );
    }
    if runs("nm-cloud-setup") || is_there(NM_TIMER) {
        found.add(
            codes::NM_CLOUD_SETUP,
            "nm-cloud-setup",
            "nm-cloud-setup runs (timer) and manages the same ENIs".to_owned(),
            Some("systemctl disable --now nm-cloud-setup.timer".to_owned()),
        );
    }
    if is_there(EC2_TIMER) || is_there(EC2_LEASES) {
        found.add(
            codes::EC2_NET_UTILS,
            "amazon-ec2-net-utils",
            "amazon-ec2-net-utils is installed and manages the same ENIs".to_owned(),
            Some("systemctl disable --now 'refresh-policy-routes@*.timer'".to_owned()),
        );
    }
    if is_there(CLOUD_INIT_RUN) && !is_there(CLOUD_INIT_OFF) && !is_there(CLOUD_INIT_NO_NETWORK) {
        found.add(
            codes::CLOUD_INIT,
            "cloud-init",
            "cloud-init writes the network configuration at each boot".to_owned(),
            None,
        );
    }
    for entry in [
        codes::NETWORK_MANAGER,
        codes::CONTAINERS,
        codes::KEEPALIVED,
        codes::VPN,
    ] {
        let of_kind = PROCESSES.iter().filter(|process| process.entry == entry);
        let names: Vec<&str> = of_kind
            .filter(|process| runs(process.comm))
            .map(|process| process.name)
            .collect();
        if !names.is_empty() {
            let verb = if names.len() == 1 { "runs" } else { "run" };
            let text = format!("{} {verb}", names.join(", "));
            found.add(entry, &names.join(", "), text, None);
        }
    }
}
