//! Building the lab, and the questions one asks it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::source_check::{self, nft};
use crate::topology::{self, Eni, Mac, Role, Shape, mac, peer_v4, peer_v6};
use crate::{Call, DeviceCounters, FailureReport, NetNs, Seen, eventually, run_ok, sysctl};

/// Which ENIs the host's main table has default routes through, in both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultRoute {
    /// Through eth0 only: what clouds' images configure.
    Eth0,
    /// Through eth0, and through eth1, eth2 ... with this metric, one more for each.
    AllWithMetric(u32),
    /// None at all.
    Absent,
}

/// What the lab is to be; [`build`](Self::build) makes it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    shape: Shape,
    enis: usize,
    addresses: usize,
    default_route: DefaultRoute,
    container: bool,
    masquerade: bool,
    peer: bool,
    offloads: bool,
    drop_wrong: bool,
    rp_filter: u8,
}

/// The lab. Dropping it is the end of its namespaces.
#[derive(Debug)]
pub struct Lab {
    /// The machine under test.
    pub host: NetNs,
    /// The VPC.
    pub router: NetNs,
    /// The remote client.
    pub client: NetNs,
    container: Option<NetNs>,
    peer: Option<NetNs>,
    shape: Shape,
    enis: Vec<Eni>,
}

impl Builder {
    /// How many ENIs the host has: eth0, eth1 ... Two unless said otherwise.
    pub fn enis(mut self, count: usize) -> Self {
        self.enis = count;
        self
    }

    /// How many addresses of each family an ENI has. One unless said otherwise.
    pub fn addresses(mut self, per_eni: usize) -> Self {
        assert!(per_eni > 0, "an ENI has an address");
        self.addresses = per_eni;
        self
    }

    /// The host's default routes.
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

    /// Adds the container, and hides it behind the host's address on its way
    /// out (`table ip nat`, `table ip6 nat`).
    pub fn masquerade(mut self) -> Self {
        self.masquerade = true;
        self.container()
    }

    /// Adds the on-link neighbour: one interface `p<n>` in each subnet, and the
    /// client reachable through the router.
    pub fn peer(mut self) -> Self {
        self.peer = true;
        self
    }

    /// With `false` no device of the lab segments, coalesces or leaves checksums
    /// to others: each counts every frame as it would be on a cable.
    pub fn offloads(mut self, on: bool) -> Self {
        self.offloads = on;
        self
    }

    /// The source check drops what it finds wrong; otherwise it only counts.
    pub fn drop_wrong_source(mut self) -> Self {
        self.drop_wrong = true;
        self
    }

    /// The host's net.ipv4.conf.*.rp_filter. 0 unless said otherwise.
    pub fn rp_filter(mut self, value: u8) -> Self {
        self.rp_filter = value;
        self
    }

    /// Makes the namespaces, cables, addresses and routes, and returns when
    /// every address can be used.
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
        ip_batch(&lab.client, &client_script());
        ip_batch(&lab.host, &self.host_script(&lab));
        if let Some(container) = &lab.container {
            ip_batch(container, &container_script());
        }
        if let Some(peer) = &lab.peer {
            ip_batch(peer, &self.peer_script(&lab));
        }
        ip_batch(&lab.router, &self.router_script(&lab));
        fdb(&lab, self.peer);
        nft(
            &lab.router,
            &source_check::ruleset(&lab.enis, self.drop_wrong),
        );
        if self.masquerade {
            nft(&lab.host, MASQUERADE);
        }
        if !self.offloads {
            lab.namespaces().for_each(turn_offloads_off);
        }
        lab.wait_until_usable();
        lab
    }

    /// Sysctls first, before there are devices: namespaces inherit IPv4's from
    /// the machine, whatever those may be, and the noise of router
    /// solicitation, duplicate address detection and slow multicast reports
    /// would be counted in the middle of a test.
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
                    // Forwarding first: writing it resets other settings.
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

    /// Bridges and cables, made in the router's namespace; the far ends are
    /// born in theirs.
    fn cables(&self, lab: &Lab) -> Batch {
        let mut ip = Batch::default();
        ip.line("link set lo up");
        for subnet in 0..self.shape.subnets(self.enis) {
            let bridge = self.shape.bridge(subnet);
            let address = mac(Role::Gateway, subnet);
            ip.line(format!(
                "link add {bridge} address {address} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
            ));
            ip.line(format!("link set {bridge} up"));
        }
        for (i, eni) in lab.enis.iter().enumerate() {
            ip.cable(
                (&eni.port, mac(Role::RouterPort, i)),
                (&eni.name, eni.mac, &lab.host),
            );
            ip.line(format!(
                "link set {} master {}",
                eni.port, eni.gateway_device
            ));
            ip.line(format!(
                "link set {} type bridge_slave isolated on learning off",
                eni.port
            ));
            ip.line(format!("link set {} up", eni.port));
        }
        ip.cable(
            ("rc", mac(Role::Client, 1)),
            ("c0", mac(Role::Client, 10), &lab.client),
        );
        ip.line("link set rc up");
        if let Some(peer) = &lab.peer {
            for subnet in 0..self.shape.subnets(self.enis) {
                let port = format!("rp{subnet}");
                ip.cable(
                    (&port, mac(Role::RouterPort, 100 + subnet)),
                    (&format!("p{subnet}"), mac(Role::Peer, subnet), peer),
                );
                ip.line(format!(
                    "link set {port} master {}",
                    self.shape.bridge(subnet)
                ));
                ip.line(format!("link set {port} type bridge_slave learning off"));
                ip.line(format!("link set {port} up"));
            }
        }
        ip
    }

    /// The gateways' addresses, and what the VPC knows without asking.
    fn router_script(&self, lab: &Lab) -> Batch {
        let mut ip = Batch::default();
        ip.addresses(
            "rc",
            topology::CLIENT_GATEWAY_V4,
            24,
            topology::CLIENT_GATEWAY_V6,
        );
        for subnet in 0..self.shape.subnets(self.enis) {
            let first = lab
                .enis
                .iter()
                .find(|eni| self.shape.subnet_of(eni.index) == subnet)
                .expect("a subnet has an ENI");
            ip.addresses(
                &first.gateway_device,
                first.gateway_v4,
                24,
                first.gateway_v6,
            );
        }
        for eni in &lab.enis {
            ip.permanent_neighbours(eni, &eni.gateway_device);
        }
        ip
    }

    fn host_script(&self, lab: &Lab) -> Batch {
        let mut ip = Batch::default();
        ip.line("link set lo up");
        for eni in &lab.enis {
            ip.line(format!("link set {} up", eni.name));
            for (v4, v6) in eni.v4s.iter().zip(&eni.v6s) {
                ip.addresses(&eni.name, *v4, 24, *v6);
            }
        }
        for eni in &lab.enis {
            let metric = match (self.default_route, eni.index) {
                (DefaultRoute::Absent, _) | (DefaultRoute::Eth0, 1..) => continue,
                (DefaultRoute::Eth0 | DefaultRoute::AllWithMetric(_), 0) => String::new(),
                (DefaultRoute::AllWithMetric(first), i) => {
                    format!(" metric {}", first as usize + i - 1)
                }
            };
            ip.line(format!(
                "route add 0.0.0.0/0 via {} dev {}{metric}",
                eni.gateway_v4, eni.name
            ));
            ip.line(format!(
                "route add ::/0 via {} dev {}{metric}",
                eni.gateway_v6, eni.name
            ));
        }
        if let Some(container) = &lab.container {
            ip.line(format!(
                "link add docker0 address {} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
                mac(Role::Container, 1)
            ));
            ip.cable(
                ("veth0", mac(Role::Container, 3)),
                ("eth0", mac(Role::Container, 2), container),
            );
            ip.line("link set veth0 master docker0");
            ip.line("link set veth0 up");
            ip.line("link set docker0 up");
            ip.addresses("docker0", topology::DOCKER0_V4, 16, topology::DOCKER0_V6);
        }
        ip
    }

    fn peer_script(&self, lab: &Lab) -> Batch {
        let mut ip = Batch::default();
        ip.line("link set lo up");
        for subnet in 0..self.shape.subnets(self.enis) {
            let device = format!("p{subnet}");
            ip.line(format!("link set {device} up"));
            ip.addresses(&device, peer_v4(subnet), 24, peer_v6(subnet));
        }
        for eni in &lab.enis {
            // A LAN would let both ENIs answer an ARP request for either's address.
            ip.permanent_neighbours(eni, &format!("p{}", self.shape.subnet_of(eni.index)));
        }
        let gateway = &lab.enis[0];
        ip.line(format!("route add 0.0.0.0/0 via {}", gateway.gateway_v4));
        ip.line(format!("route add ::/0 via {}", gateway.gateway_v6));
        ip
    }
}

fn client_script() -> Batch {
    let mut ip = Batch::default();
    ip.line("link set lo up");
    ip.line("link set c0 up");
    ip.addresses("c0", topology::CLIENT_V4, 24, topology::CLIENT_V6);
    ip.line(format!(
        "route add 0.0.0.0/0 via {}",
        topology::CLIENT_GATEWAY_V4
    ));
    ip.line(format!(
        "route add ::/0 via {}",
        topology::CLIENT_GATEWAY_V6
    ));
    ip
}

fn container_script() -> Batch {
    let mut ip = Batch::default();
    ip.line("link set lo up");
    ip.line("link set eth0 up");
    ip.addresses("eth0", topology::CONTAINER_V4, 16, topology::CONTAINER_V6);
    ip.line(format!("route add 0.0.0.0/0 via {}", topology::DOCKER0_V4));
    ip.line(format!("route add ::/0 via {}", topology::DOCKER0_V6));
    ip
}

const MASQUERADE: &str = "
table ip nat {
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        ip saddr 172.17.0.0/16 oifname != \"docker0\" masquerade
    }
}
table ip6 nat {
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        ip6 saddr fd00:17::/64 oifname != \"docker0\" masquerade
    }
}
";

impl Lab {
    /// A lab of this shape, still to be refined: two ENIs, one address of each
    /// family, default route through eth0, no container, no peer, a source
    /// check that only counts.
    pub fn builder(shape: Shape) -> Builder {
        Builder {
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

    /// Which shape it has.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The ENI `eth<index>`.
    #[track_caller]
    pub fn eni(&self, index: usize) -> &Eni {
        &self.enis[index]
    }

    /// All ENIs, in order.
    pub fn enis(&self) -> &[Eni] {
        &self.enis
    }

    /// The container; panics if the lab was built without.
    #[track_caller]
    pub fn container(&self) -> &NetNs {
        self.container
            .as_ref()
            .expect("the lab was built with .container()")
    }

    /// The on-link neighbour; panics if the lab was built without.
    #[track_caller]
    pub fn peer(&self) -> &NetNs {
        self.peer.as_ref().expect("the lab was built with .peer()")
    }

    /// The client's IPv4 address.
    pub fn client_v4(&self) -> Ipv4Addr {
        topology::CLIENT_V4
    }

    /// The client's IPv6 address.
    pub fn client_v6(&self) -> Ipv6Addr {
        topology::CLIENT_V6
    }

    /// The client's address of the same family.
    pub fn client_address(&self, family_of: IpAddr) -> IpAddr {
        match family_of {
            IpAddr::V4(_) => topology::CLIENT_V4.into(),
            IpAddr::V6(_) => topology::CLIENT_V6.into(),
        }
    }

    /// The container's IPv4 address.
    pub fn container_v4(&self) -> Ipv4Addr {
        topology::CONTAINER_V4
    }

    /// The container's IPv6 address.
    pub fn container_v6(&self) -> Ipv6Addr {
        topology::CONTAINER_V6
    }

    /// The peer's IPv4 address in an ENI's subnet.
    pub fn peer_v4(&self, eni: usize) -> Ipv4Addr {
        peer_v4(self.shape.subnet_of(eni))
    }

    /// The peer's IPv6 address in an ENI's subnet.
    pub fn peer_v6(&self, eni: usize) -> Ipv6Addr {
        peer_v6(self.shape.subnet_of(eni))
    }

    /// The peer's hardware address in an ENI's subnet.
    pub fn peer_mac(&self, eni: usize) -> Mac {
        mac(Role::Peer, self.shape.subnet_of(eni))
    }

    /// All namespaces of this lab.
    pub fn namespaces(&self) -> impl Iterator<Item = &NetNs> {
        [&self.host, &self.router, &self.client]
            .into_iter()
            .chain(&self.container)
            .chain(&self.peer)
    }

    /// What the source check has counted on an ENI's port since the lab was built.
    #[track_caller]
    pub fn router_seen(&self, eni: usize) -> Seen {
        source_check::read(&self.router, &self.enis[eni])
    }

    /// Tells the VPC that an ENI owns one more address, or prefix
    /// (`172.16.20.192/28`): the source check knows it, and the router sends
    /// what is addressed to it to that ENI.
    #[track_caller]
    pub fn allow(&self, eni: usize, address: &str) {
        let eni = &self.enis[eni];
        let bare = address.split('/').next().unwrap_or(address);
        let ip: IpAddr = bare
            .parse()
            .unwrap_or_else(|e| panic!("{address} is not an address or prefix: {e}"));
        source_check::allow(&self.router, eni, ip, address);
        let via = match ip {
            IpAddr::V4(_) => IpAddr::V4(eni.v4()),
            IpAddr::V6(_) => IpAddr::V6(eni.v6()),
        };
        // By way of the ENI's first address, whose hardware address is known:
        // right for an address of the subnet, one of elsewhere, and a prefix.
        run_ok(
            &self.router,
            "ip",
            [
                "route",
                "replace",
                address,
                "via",
                &via.to_string(),
                "dev",
                &eni.gateway_device,
            ],
        );
    }

    /// Types the textbook's cure for an ENI, in both families: a table 1001 (1002
    /// for eth2 ...) that holds a default route through it and nothing else, and
    /// a rule from its primary address, without a priority.
    #[track_caller]
    pub fn textbook_cure(&self, eni: usize) {
        let eni = &self.enis[eni];
        let table = (1000 + eni.index).to_string();
        for source in eni.both() {
            let family = if source.is_ipv4() { "-4" } else { "-6" };
            let (source, gateway) = (source.to_string(), eni.gateway(source).to_string());
            let route = [
                family, "route", "add", "default", "via", &gateway, "dev", &eni.name, "table",
                &table,
            ];
            run_ok(&self.host, "ip", route);
            let rule = [family, "rule", "add", "from", &source, "lookup", &table];
            run_ok(&self.host, "ip", rule);
        }
    }

    /// The device's own counters; devices as in the drawing.
    #[track_caller]
    pub fn device_counters(&self, ns: &NetNs, ifname: &str) -> DeviceCounters {
        DeviceCounters::read(ns, ifname)
    }

    /// Everything of a namespace's network configuration, as comparable text.
    #[track_caller]
    pub fn dump(&self, ns: &NetNs) -> String {
        crate::dump(ns)
    }

    /// Prints the host's rules, routes, neighbours, links and the source
    /// check's counters if the test panics while the guard is held.
    pub fn on_failure_print(&self) -> FailureReport<'_> {
        FailureReport::new(self)
    }

    /// IPv6 has no addresses to use until the carrier is there; the source of
    /// truth is the kernel's own list. A bridge's state is in dumps.
    #[track_caller]
    fn wait_until_usable(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        for ns in self.namespaces() {
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
        // The kernel says so some time after a bridge has a port that is up.
        let bridge_is_up = || {
            let words = ["-brief", "link", "show", "docker0"];
            let said = run_ok(&self.host, "ip", words);
            said.split_whitespace().nth(1) == Some("UP")
        };
        assert!(
            self.container.is_none() || eventually(Duration::from_secs(10), bridge_is_up),
            "docker0 is not up"
        );
    }
}

/// Devices without a link-local address, and devices with a tentative address.
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

/// The VPC's forwarding table: where each hardware address is plugged in.
fn fdb(lab: &Lab, with_peer: bool) {
    let mut script = String::new();
    let mut add = |mac, port: &str| {
        writeln!(script, "fdb add {mac} dev {port} master static").expect("a string");
    };
    for eni in &lab.enis {
        add(eni.mac, &eni.port);
    }
    if with_peer {
        for subnet in 0..lab.shape.subnets(lab.enis.len()) {
            add(mac(Role::Peer, subnet), &format!("rp{subnet}"));
        }
    }
    batch(&lab.router, "bridge", &script);
}

/// ethtool takes one device a call.
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

#[track_caller]
fn ip_batch(ns: &NetNs, script: &Batch) {
    batch(ns, "ip", &script.0);
}

#[track_caller]
fn batch(ns: &NetNs, program: &str, script: &str) {
    let output = Call::new(program)
        .args(["-batch", "-"])
        .stdin(script)
        .run(ns);
    assert!(output.success(), "{output}\nscript:\n{script}");
}

/// Lines for `ip -batch -`: one process instead of one per line.
#[derive(Default)]
struct Batch(String);

impl Batch {
    fn line(&mut self, line: impl AsRef<str>) {
        self.0 += line.as_ref();
        self.0.push('\n');
    }

    /// A veth pair: the near end here, the far end in another namespace.
    fn cable(&mut self, near: (&str, topology::Mac), far: (&str, topology::Mac, &NetNs)) {
        self.line(format!(
            "link add {} address {} type veth peer name {} address {} netns {}",
            near.0,
            near.1,
            far.0,
            far.1,
            far.2.path()
        ));
    }

    fn addresses(&mut self, device: &str, v4: Ipv4Addr, v4_len: u8, v6: Ipv6Addr) {
        self.line(format!("address add {v4}/{v4_len} brd + dev {device}"));
        self.line(format!("address add {v6}/64 dev {device} nodad"));
    }

    fn permanent_neighbours(&mut self, eni: &Eni, device: &str) {
        let v4s = eni.v4s.iter().map(|a| IpAddr::V4(*a));
        let v6s = eni.v6s.iter().map(|a| IpAddr::V6(*a));
        for address in v4s.chain(v6s) {
            self.line(format!(
                "neigh replace {address} lladdr {} dev {device} nud permanent",
                eni.mac
            ));
        }
    }
}
