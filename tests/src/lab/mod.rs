//! The lab as the tests hold it: its namespaces, and the questions one asks it. [`Builder`]
//! makes it.

mod batch;
mod builder;
mod scripts;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::source_check;
use crate::topology::{self, Eni, Mac, Role, Shape, mac, peer_v4, peer_v6};
use crate::{DeviceCounters, FailureReport, NetNs, Seen, run_ok};

pub use builder::{Builder, DefaultRoute};

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

impl Lab {
    /// A lab of this shape, still to be refined: two ENIs, one address of each
    /// family, default route through eth0, no container, no peer, a source
    /// check that only counts.
    pub fn builder(shape: Shape) -> Builder {
        Builder::new(shape)
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
}
