//! What `doctor` can find: a code that never changes, what it means, why it matters, and how to
//! end it. docs/codes.md is written from this list.

use crate::findings::Severity;

/// One kind of finding of `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its code. It never changes and is never given to another kind.
    pub code: &'static str,
    /// The subject, as the report names it.
    pub area: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is the case, in a few words.
    pub title: &'static str,
    /// What follows from it.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal $severity:ident $area:literal: $title:literal, $why:literal, $fix:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Entry = Entry {
                code: $code,
                area: $area,
                severity: Severity::$severity,
                title: $title,
                why: $why,
                fix: $fix,
            };
        )*
        /// Every kind, in the order of the codes.
        pub const ALL: &[Entry] = &[$($name),*];
    };
}

codes! {
    KERNEL_TOO_OLD = "ES0101" Failure "kernel":
        "the kernel is older than 5.10",
        "eni-steer's programs need BPF functions of Linux 5.10. Rules and tables work without them, but nothing counts packets and nothing is redirected.",
        "Upgrade the kernel, or use rules alone: `eni-steer apply --programs off`.";
    PRIVILEGE_MISSING = "ES0102" Failure "privileges":
        "root or a capability is missing",
        "Routing is changed with CAP_NET_ADMIN, programs are loaded with CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN).",
        "Run eni-steer with sudo. In a container or service, add the capability.";
    BPFFS_MISSING = "ES0103" Failure "bpffs":
        "no BPF file system is mounted",
        "Maps and programs that eni-steer pins there stay when the command ends. Without it, no programs can be attached.",
        "`mount -t bpf bpf /sys/fs/bpf`, or name another mount point with `--bpffs`.";
    MEMLOCK_LOW = "ES0104" Warning "limits":
        "the limit of locked memory is low",
        "Kernels before 5.11 count BPF maps against this limit, and refuse them beyond it.",
        "`ulimit -l unlimited`, or `LimitMEMLOCK=infinity` in the service.";
    FILES_LOW = "ES0105" Warning "limits":
        "the limit of open files is low",
        "eni-steer keeps about four files open for each ENI, and a dozen for its maps.",
        "`ulimit -n 1024`, or `LimitNOFILE=1024` in the service.";
    NO_BTF = "ES0106" Info "kernel":
        "the kernel has no type information (BTF)",
        "`explain --live` reads the kernel's own lookups and needs it. Everything else works.",
        "Use a kernel with CONFIG_DEBUG_INFO_BTF.";
    UNREADABLE = "ES0107" Failure "host":
        "a part of the host cannot be read",
        "What cannot be read cannot be judged: the rest of the report does not cover it.",
        "See the error. `eni-steer remove` followed by `eni-steer apply` replaces pins that are damaged.";

    LEFT_OUT = "ES0201" Info "ENIs":
        "an interface is not managed",
        "eni-steer finds ENIs by itself: physical Ethernet interfaces that are up, belong to no bridge, bond or VRF, and have a global address and a gateway. The report names the condition that an interface lacks.",
        "To manage it, name it: `--eni NAME --gateway NAME=ADDRESS`.";
    LOOKS_LIKE_AN_ENI = "ES0202" Warning "ENIs":
        "an interface looks like an ENI and has no known gateway",
        "Replies from its addresses use the main table and probably leave by another interface.",
        "Name its gateway: `eni-steer apply --eni NAME --gateway NAME=ADDRESS`.";
    ENI_DOWN = "ES0203" Failure "ENIs":
        "an ENI is down or has no carrier",
        "Nothing comes in or leaves by it. The kernel deletes the routes of an interface that is set down.",
        "`ip link set NAME up`; with no carrier, look at the cloud's console.";
    NO_ENI = "ES0204" Failure "ENIs":
        "no ENI was found",
        "There is nothing that eni-steer could do.",
        "Name the interfaces: `--eni NAME --gateway NAME=ADDRESS`.";
    ADDRESS_TWICE = "ES0205" Warning "ENIs":
        "two ENIs have the same address",
        "eni-steer cannot tell which of them owns it. It counts its packets and never steers them.",
        "Remove the address from one of them: `ip addr del ADDRESS dev NAME`.";
    RP_FILTER_STRICT = "ES0206" Warning "rp_filter":
        "reverse path filtering is strict",
        "The kernel drops a packet that comes in by another interface than the one by which it would send to the packet's source. The effective value is the larger of the interface's and that of `all`.",
        "`eni-steer apply` sets it to 2 (loose) on ENIs. By hand: `sysctl -w net.ipv4.conf.NAME.rp_filter=2`.";
    ARP_SHARED = "ES0207" Warning "ARP":
        "ENIs of one subnet answer ARP for each other's addresses",
        "Neighbours learn the MAC address of the wrong ENI, so packets arrive by the wrong one, and the cloud drops them.",
        "`eni-steer apply` sets arp_ignore = 1 and arp_announce = 2 on these ENIs.";
    MTU_DIFFERS = "ES0208" Warning "MTU":
        "ENIs have different MTUs",
        "A packet that was made for the larger MTU does not fit through the ENI with the smaller one. Where it is redirected there, it is answered as a router would answer.",
        "Give the ENIs the same MTU: `ip link set NAME mtu 1500`, or the one that the cloud documents.";
    ROUTE_MTU = "ES0209" Warning "MTU":
        "a route has a larger MTU than its interface",
        "The kernel uses the smaller one, so the route's value has no effect. Somebody expects larger packets than the interface sends.",
        "Correct the route, or `ip link set NAME mtu BYTES`.";
    GATEWAY_SILENT = "ES0210" Failure "gateway":
        "a gateway does not answer",
        "Every packet beyond the ENI's subnet is lost. The address is wrong, or the gateway is down.",
        "Correct the gateway in the configuration or with `--gateway NAME=ADDRESS`, then `eni-steer apply`.";
    GATEWAY_UNKNOWN = "ES0211" Info "gateway":
        "nothing is known of a gateway",
        "The kernel does not ask there, for example because the ENI is down.",
        "See the ENI.";
    PROGRAM_FIRST = "ES0212" Warning "programs":
        "another program's BPF program runs before eni-steer's",
        "eni-steer does not count what that program drops or redirects.",
        "Nothing, if that is intended. `eni-steer status -v` shows how programs are attached.";
    PROGRAM_AFTER = "ES0213" Info "programs":
        "another program's BPF program is attached too",
        "It sees the packets after eni-steer's programs.",
        "Nothing.";
    XDP = "ES0214" Warning "programs":
        "an XDP program is attached to an ENI",
        "XDP runs before everything else on the way in. eni-steer does not count what it drops, redirects or answers.",
        "Nothing, if that is intended. `ip link set NAME xdp off` removes it.";
    NETFILTER_HOOK = "ES0215" Info "programs":
        "netfilter has chains on an ENI itself",
        "A chain on ingress or egress of the interface can drop a packet before or after eni-steer counts it. The kernel does not run the owner's egress chain for a packet that was redirected there.",
        "Nothing, if that is intended. `nft list ruleset netdev` shows the chains.";
    OFFLOAD_BLINDS = "ES0216" Warning "offloads":
        "an offload hides packets from programs",
        "With hw-tc-offload or l2-fwd-offload, the interface forwards or drops packets itself, so no program sees them. LRO merges packets in a way that cannot be counted back.",
        "`ethtool -K NAME hw-tc-offload off l2-fwd-offload off lro off`.";
    ONE_QUEUE = "ES0217" Info "queues":
        "an ENI has one queue and the host has several CPUs",
        "One CPU handles all packets that come in by the ENI.",
        "`ethtool -L NAME combined NUMBER`, where the cloud's interface allows it.";
    GATEWAY_CONFLICT = "ES0218" Warning "gateway":
        "sources name different gateways for an ENI",
        "A configuration, a route and a DHCP lease disagree. eni-steer uses the one that the report names.",
        "Name the right one in the configuration or with `--gateway NAME=ADDRESS`.";
    ADDRESS_WITHOUT_OWNER = "ES0219" Warning "ENIs":
        "this host answers for an address that no ENI owns",
        "Replies from it leave as the main table says, mostly by the primary ENI.",
        "Name its ENI: `addresses = [\"ADDRESS\"]` under `[[eni]]`.";
    ARP_IGNORE_LEFT = "ES0220" Info "ARP":
        "arp_ignore of an ENI is left as it is",
        "The ENI answers ARP requests for addresses that are not on it, and would stop to do so.",
        "Nothing.";
    NOT_SERVED = "ES0221" Failure "ENIs":
        "eni-steer cannot do for an ENI what the policy asks for",
        "It serves the others.",
        "See the hint of the finding.";
    PRIMARY_RULES = "ES0222" Info "ENIs":
        "the primary ENI has rules of its own",
        "The main table alone does not decide about the addresses of the primary: another ENI is in its subnet, or main has further default routes.",
        "Nothing.";

    WRONG_WAY = "ES0301" Failure "routing":
        "packets of an address leave by the wrong interface",
        "A cloud drops packets whose source belongs to another ENI.",
        "The report names the rule and the command. If nothing is applied yet: `eni-steer apply`.";
    DEAD_RULE = "ES0302" Warning "rules":
        "a rule looks up a table without routes",
        "The rule does nothing. Mostly it was left by a script whose other half is gone.",
        "Delete it: `ip rule del ...`, and look for the script (rc.local, cloud-init).";
    NO_PRIORITY = "ES0303" Warning "rules":
        "a rule seems to have been added without a priority",
        "The kernel then puts it right before the rule that comes second: its place depends on who came first, and may be another one after the next boot.",
        "Add it again with a priority, then delete this one.";
    REDUNDANT_RULE = "ES0304" Info "rules":
        "a rule does the same as one of eni-steer's",
        "It does no harm. It may outlive the address it was made for.",
        "Delete it.";
    MAIN_RULE_MISSING = "ES0305" Failure "rules":
        "the kernel's rule for the main table is gone",
        "Packets that no other rule serves have no route.",
        "`ip -4 rule add pref 32766 lookup main`. The daemon does it with `restore-default-rules = true`.";
    POLICY_REFUSED = "ES0306" Failure "policy":
        "this host does not allow the policy",
        "`apply` refuses to do it, because it would not work or would cut connections.",
        "See the hint of the finding.";
    TUNNEL = "ES0307" Warning "rules":
        "a VPN that takes everything has routes that look specific",
        "eni-steer's first rule leaves specific destinations to main, so replies to them leave through the VPN.",
        "See the hint of the finding.";
    BAND_MOVED = "ES0308" Info "rules":
        "eni-steer's rules stand in front of rules that have no priority of their own",
        "Rules without a priority were added right before eni-steer's, so its band moved in front of them.",
        "Give those rules a priority.";

    NETWORKD_DELETES = "ES0401" Warning "others":
        "systemd-networkd deletes rules or routes that it did not make",
        "When networkd restarts or reconfigures an interface, eni-steer's rules or routes are gone until the daemon restores them.",
        "In /etc/systemd/networkd.conf.d/eni-steer.conf: `[Network]`, `ManageForeignRoutingPolicyRules=no`, `ManageForeignRoutes=no`; then `systemctl restart systemd-networkd`.";
    NM_CLOUD_SETUP = "ES0402" Warning "others":
        "nm-cloud-setup manages the same ENIs",
        "It installs rules of its own with priorities from 30200, and changes them every few minutes.",
        "`systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service`.";
    EC2_NET_UTILS = "ES0403" Warning "others":
        "amazon-ec2-net-utils manages the same ENIs",
        "It installs a table and rules for each ENI, and renews them once a minute.",
        "`systemctl disable --now 'refresh-policy-routes@*.timer' 'policy-routes@*.service'`.";
    CLOUD_INIT = "ES0404" Info "others":
        "cloud-init writes the network configuration at each boot",
        "What it writes may add default routes or rules for further ENIs.",
        "`network: {config: disabled}` in /etc/cloud/cloud.cfg.d/99-network.cfg keeps the configuration as it is.";
    NETWORK_MANAGER = "ES0405" Info "others":
        "NetworkManager runs",
        "It sets addresses and routes of the interfaces it manages. It leaves eni-steer's rules and tables alone.",
        "Nothing.";
    CONTAINERS = "ES0406" Info "others":
        "container software or a CNI runs",
        "It makes interfaces, routes and sometimes rules. eni-steer's first rule leaves what main says about them in place.",
        "Nothing. If its rules have priorities below eni-steer's, see `eni-steer explain`.";
    KEEPALIVED = "ES0407" Info "others":
        "keepalived runs",
        "It moves addresses between hosts, and can install rules and routes. An address that comes is owned by its ENI within milliseconds, while the daemon runs.",
        "Nothing; run the daemon.";
    VPN = "ES0408" Info "others":
        "VPN software runs",
        "It installs rules before main. eni-steer's first rule leaves specific destinations to main.",
        "Nothing. See `eni-steer explain SRC --to DST` for a destination behind the VPN.";

    NOT_PERSISTENT = "ES0501" Warning "reboot":
        "after a reboot nothing installs the policy again",
        "Rules, tables and programs vanish at a reboot.",
        "`eni-steer persist` installs, enables and starts the service.";
    NO_DAEMON = "ES0502" Info "daemon":
        "the daemon does not run",
        "Nothing restores rules and routes that other programs delete, and nothing follows addresses that come and go.",
        "`eni-steer persist`, or `systemctl start eni-steer`.";
    CONFIGURATION_WRONG = "ES0503" Failure "config":
        "the configuration has a mistake or cannot be read",
        "The daemon keeps the policy that it had. At the next boot it cannot start.",
        "`eni-steer config check` names the place.";
    CONFIGURATION_DIFFERS = "ES0504" Warning "config":
        "the configuration differs from what is applied",
        "What is written takes effect at the next `apply`, reload or boot, perhaps long after you forgot about it.",
        "`eni-steer plan` shows the changes; `eni-steer apply` or `systemctl reload eni-steer` makes them.";
    NOT_APPLIED = "ES0505" Info "policy":
        "nothing is applied",
        "eni-steer has changed nothing on this host.",
        "`eni-steer plan`, then `eni-steer apply --confirm 60s`.";
    DRIFT = "ES0506" Failure "policy":
        "the host differs from the policy",
        "Rules, routes, sysctls or programs are missing or changed.",
        "`eni-steer apply`; the daemon does it within milliseconds.";
    UNCONFIRMED = "ES0507" Warning "policy":
        "a change waits for its confirmation",
        "It is undone if nobody confirms it.",
        "`eni-steer confirm`.";
    SOURCE_UNAVAILABLE = "ES0508" Warning "policy":
        "a source of gateways could not be read",
        "eni-steer keeps the gateway that it knew from there.",
        "Make the file readable.";
    TRAFFIC_WRONG = "ES0509" Failure "traffic":
        "packets were lost or left by the wrong ENI",
        "`verify` shows each address, with the cause where it is known.",
        "`eni-steer verify`.";
    TRAFFIC_UNKNOWN = "ES0510" Info "traffic":
        "no traffic could be judged",
        "No packets came since the last change, or nothing counts them.",
        "`eni-steer verify --window 10s` while clients are active.";
    DAEMON_TROUBLE = "ES0511" Failure "daemon":
        "the daemon reports an error",
        "It tries again with growing pauses.",
        "See the error; `journalctl -u eni-steer` has more.";
    LEASE_IGNORED = "ES0512" Warning "policy":
        "a DHCP lease does not count",
        "Anybody could have written it, it has expired, or its router cannot be right. eni-steer takes no gateway from it.",
        "See the reason. The directory and the file must belong to root or to the DHCP client.";
    STATE_DAMAGED = "ES0513" Failure "policy":
        "the file with the values from before eni-steer's changes is damaged",
        "`remove` cannot restore sysctls and interface groups.",
        "`eni-steer apply` or `remove` sets the file aside; restore the values by hand.";
    UNDO = "ES0514" Warning "policy":
        "an unconfirmed change was not undone as it should have been, or was undone",
        "The host may be between the old and the new state.",
        "See the finding; mostly `eni-steer confirm` or `eni-steer apply`.";
    PRIMARY_NEEDS_DAEMON = "ES0515" Warning "daemon":
        "the primary's table needs the daemon",
        "Its default route does not follow the main table by itself: if the gateway changes, replies of the primary's addresses are lost.",
        "`systemctl enable --now eni-steer`.";
    OFF = "ES0516" Failure "policy":
        "eni-steer is off, the emergency brake",
        "`eni-steer off` has removed everything, and nothing is applied until it is released.",
        "`eni-steer on`.";
}

/// The kind with a code.
pub fn entry(code: &str) -> Option<&'static Entry> {
    ALL.iter()
        .find(|entry| entry.code.eq_ignore_ascii_case(code))
}

/// The text of docs/codes.md.
pub fn reference() -> String {
    let mut text = "# What doctor finds\n\n\
         <!-- Generated from eni-steer/core/src/doctor/codes.rs by ENI_STEER_UPDATE=1. -->\n\n\
         Each finding of `eni-steer doctor` has a code. `eni-steer doctor ES0206` prints the same text \
         as\nthis page.\n\n| code | severity | what |\n|---|---|---|\n"
        .to_owned();
    for entry in ALL {
        let anchor = entry.code.to_lowercase();
        text.push_str(&format!(
            "| [{}](#{anchor}) | {} | {}: {} |\n",
            entry.code,
            severity(entry.severity),
            entry.area,
            entry.title
        ));
    }
    for entry in ALL {
        text.push_str(&format!(
            "\n## {}\n\n**{}: {}** ({})\n\nWhy it matters: {}\n\nWhat to do: {}\n",
            entry.code,
            entry.area,
            entry.title,
            severity(entry.severity),
            entry.why,
            entry.fix
        ));
    }
    text
}

/// The word for a severity.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Failure => "failure",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_each_is_given_once() {
        let codes: Vec<&str> = ALL.iter().map(|entry| entry.code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
        assert!(
            codes
                .iter()
                .all(|code| code.len() == 6 && code.starts_with("ES0"))
        );
        assert_eq!(entry("es0101").map(|entry| entry.code), Some("ES0101"));
        assert_eq!(entry("ES9999"), None);
    }

    #[test]
    fn each_code_has_its_page_and_the_page_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/codes.md");
        if std::env::var_os("ENI_STEER_UPDATE").is_some() {
            std::fs::write(path, reference()).expect("it can be written");
        }
        let page = std::fs::read_to_string(path).expect("docs/codes.md is there");
        assert_eq!(
            page,
            reference(),
            "ENI_STEER_UPDATE=1 writes docs/codes.md anew"
        );
    }
}
