//! Describes a lab and builds it: namespaces, settings, devices, and the wait until every address
//! can be used.

use std::time::{Duration, Instant};

use super::{Lab, batch::ip_batch, scripts};
use crate::source_check::{self, nft};
use crate::topology::{Eni, Shape};
use crate::{NetNs, eventually, run_ok, sysctl};

/// Through which ENIs the host's main table has default routes, in both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultRoute {
    /// Through eth0 only. Cloud images configure this.
    Eth0,
    /// Through eth0, and through eth1, eth2 ... with this metric, plus one for each further ENI.
    AllWithMetric(u32),
    /// There are no default routes.
    Absent,
}

/// Describes a lab; [`build`](Self::build) makes it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    pub(super) shape: Shape,
    pub(super) enis: usize,
    pub(super) addresses: usize,
    pub(super) default_route: DefaultRoute,
    pub(super) container: bool,
    pub(super) masquerade: bool,
    pub(super) peer: bool,
    pub(super) offloads: bool,
    pub(super) drop_wrong: bool,
    pub(super) rp_filter: u8,
}

impl Builder {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            enis: 2,
            addresses: 1,
            default_route: DefaultRoute::Eth0,
            container: false,
            masquerade: false,
            peer: false,
            offloads: true,
            drop_wrong: false,
            rp_filter: 0,
        }
    }

    /// Sets how many ENIs the host has: eth0, eth1 ... The default is two.
    pub fn enis(mut self, count: usize) -> Self {
        self.enis = count;
        self
    }

    /// Sets how many addresses of each family an ENI has. The default is one.
    pub fn addresses(mut self, per_eni: usize) -> Self {
        assert!(per_eni > 0, "an ENI has an address");
        self.addresses = per_eni;
        self
    }

    /// Sets the host's default routes.
    pub fn default_route(mut self, which: DefaultRoute) -> Self {
        self.default_route = which;
        self
    }

    /// Adds the container behind docker0, and turns the host's forwarding on,
    /// as a container engine does.
    pub fn container(mut self) -> Self {
        self.container = true;
        self
    }

    /// Adds the container, and hides it behind the host's address on its way out (`table ip nat`,
    /// `table ip6 nat`).
    pub fn masquerade(mut self) -> Self {
        self.masquerade = true;
        self.container()
    }

    /// Adds the on-link neighbour, with one interface `p<n>` in each subnet; it reaches the
    /// client through the router.
    pub fn peer(mut self) -> Self {
        self.peer = true;
        self
    }

    /// With `false`, no device of the lab segments or coalesces packets or leaves checksums to
    /// other devices, so each counts every frame as it would be on a cable.
    pub fn offloads(mut self, on: bool) -> Self {
        self.offloads = on;
        self
    }

    /// Makes the source check drop packets with a wrong source. Without this it only counts them.
    pub fn drop_wrong_source(mut self) -> Self {
        self.drop_wrong = true;
        self
    }

    /// Sets the host's net.ipv4.conf.*.rp_filter. The default is 0.
    pub fn rp_filter(mut self, value: u8) -> Self {
        self.rp_filter = value;
        self
    }

    /// Makes the namespaces, cables, addresses and routes. Returns when every address can be
    /// used.
    #[track_caller]
    pub fn build(self) -> Lab {
        let lab = Lab {
            host: NetNs::new("host"),
            router: NetNs::new("router"),
            client: NetNs::new("client"),
            container: self.container.then(|| NetNs::new("container")),
            peer: self.peer.then(|| NetNs::new("peer")),
            shape: self.shape,
            enis: Eni::plan(self.shape, self.enis, self.addresses),
        };
        self.quiet_the_kernel(&lab);
        ip_batch(&lab.router, &self.cables(&lab));
        ip_batch(&lab.client, &scripts::client_script());
        ip_batch(&lab.host, &self.host_script(&lab));
        if let Some(container) = &lab.container {
            ip_batch(container, &scripts::container_script());
        }
        if let Some(peer) = &lab.peer {
            ip_batch(peer, &self.peer_script(&lab));
        }
        ip_batch(&lab.router, &self.router_script(&lab));
        scripts::fdb(&lab, self.peer);
        nft(
            &lab.router,
            &source_check::ruleset(&lab.enis, self.drop_wrong),
        );
        if self.masquerade {
            nft(&lab.host, scripts::MASQUERADE);
        }
        if !self.offloads {
            lab.namespaces().for_each(turn_offloads_off);
        }
        wait_until_usable(&lab);
        lab
    }

    /// Sets sysctls before there are devices. Namespaces inherit IPv4's values from the machine,
    /// whatever they are. Router solicitation, duplicate address detection and late multicast
    /// reports would otherwise be counted in the middle of a test.
    fn quiet_the_kernel(&self, lab: &Lab) {
        let host_rp_filter = self.rp_filter.to_string();
        for ns in lab.namespaces() {
            let rp_filter = if ns.name() == "host" {
                host_rp_filter.as_str()
            } else {
                "0"
            };
            let forwarding = match ns.name() {
                "router" => "1",
                "host" if self.container => "1",
                _ => "0",
            };
            sysctl::write_all(
                ns,
                &[
                    // Forwarding comes first, because writing it resets other settings.
                    ("net/ipv4/ip_forward", forwarding),
                    ("net/ipv6/conf/all/forwarding", forwarding),
                    ("net/ipv6/conf/default/forwarding", forwarding),
                    ("net/ipv4/conf/all/rp_filter", "0"),
                    ("net/ipv4/conf/default/rp_filter", rp_filter),
                    ("net/ipv4/conf/all/arp_ignore", "0"),
                    ("net/ipv4/conf/default/arp_ignore", "0"),
                    ("net/ipv4/conf/all/arp_announce", "0"),
                    ("net/ipv4/conf/default/arp_announce", "0"),
                    ("net/ipv4/conf/all/send_redirects", "0"),
                    ("net/ipv4/conf/default/send_redirects", "0"),
                    ("net/ipv4/icmp_ratelimit", "0"),
                    ("net/ipv6/conf/default/accept_ra", "0"),
                    ("net/ipv6/conf/default/autoconf", "0"),
                    ("net/ipv6/conf/default/router_solicitations", "0"),
                    ("net/ipv6/conf/all/accept_dad", "0"),
                    ("net/ipv6/conf/default/accept_dad", "0"),
                    ("net/ipv6/conf/default/dad_transmits", "0"),
                    (
                        "net/ipv6/conf/default/mldv1_unsolicited_report_interval",
                        "1",
                    ),
                    (
                        "net/ipv6/conf/default/mldv2_unsolicited_report_interval",
                        "1",
                    ),
                ],
            );
        }
    }
}

/// IPv6 addresses can not be used until the carrier is up; the kernel's own list shows when. The
/// state of a bridge is part of dumps, so this waits for it too.
#[track_caller]
fn wait_until_usable(lab: &Lab) {
    let deadline = Instant::now() + Duration::from_secs(10);
    for ns in lab.namespaces() {
        loop {
            let waiting = ns.run(unusable);
            if waiting.is_empty() {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "IPv6 of {} is not usable on {waiting:?}\n{}",
                ns.name(),
                run_ok(ns, "ip", ["-d", "address"])
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    // The kernel reports it some time after the bridge has a port that is up.
    let bridge_is_up = || {
        let words = ["-brief", "link", "show", "docker0"];
        let said = run_ok(&lab.host, "ip", words);
        said.split_whitespace().nth(1) == Some("UP")
    };
    assert!(
        lab.container.is_none() || eventually(Duration::from_secs(10), bridge_is_up),
        "docker0 is not up"
    );
}

/// Returns the devices without a link-local address and those with a tentative address.
fn unusable() -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).expect("/proc is mounted");
    let addresses = read("/proc/thread-self/net/if_inet6");
    let rows: Vec<Vec<&str>> = addresses
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    const IFA_F_TENTATIVE: u32 = 0x40;
    read("/proc/thread-self/net/dev")
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next())
        .map(str::trim)
        .filter(|device| *device != "lo")
        .filter(|device| {
            let mut own = rows.iter().filter(|row| row.get(5) == Some(device));
            let tentative = own.clone().any(|row| {
                u32::from_str_radix(row[4], 16).is_ok_and(|flags| flags & IFA_F_TENTATIVE != 0)
            });
            tentative || !own.any(|row| row[0].starts_with("fe80"))
        })
        .map(str::to_owned)
        .collect()
}

/// ethtool accepts one device per call.
fn turn_offloads_off(ns: &NetNs) {
    let devices = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
    let devices = devices.expect("/proc is mounted");
    for device in devices.lines().skip(2).filter_map(|l| l.split(':').next()) {
        let device = device.trim();
        if device == "lo" {
            continue;
        }
        let features = ["tx", "rx", "sg", "tso", "gso", "gro"];
        let args = ["-K", device]
            .into_iter()
            .chain(features.into_iter().flat_map(|feature| [feature, "off"]));
        run_ok(ns, "ethtool", args);
    }
}
