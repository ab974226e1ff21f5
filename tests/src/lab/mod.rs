//! The lab that tests use: its namespaces, and questions about it. [`Builder`] makes it.

mod batch;
mod builder;
mod scripts;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::source_check;
use crate::topology::{self, Eni, Mac, Role, Shape, mac, peer_v4, peer_v6};
use crate::{DeviceCounters, FailureReport, NetNs, Seen, run_ok};

pub use builder::{Builder, DefaultRoute};

/// The lab. Dropping it removes its namespaces.
#[derive(Debug)]
pub struct Lab {
    /// The machine under test.
    pub host: NetNs,
    /// The router of the VPC.
    pub router: NetNs,
    /// The client, somewhere in the Internet.
    pub client: NetNs,
    container: Option<NetNs>,
    peer: Option<NetNs>,
    shape: Shape,
    enis: Vec<Eni>,
}

impl Lab {
    /// Starts the description of a lab with this shape. Its defaults: two ENIs, one address of
    /// each family, a default route through eth0, no container, no peer, a source check that only
    /// counts.
    pub fn builder(shape: Shape) -> Builder {
        Builder::new(shape)
    }

    /// Returns its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the ENI `eth<index>`.
    #[track_caller]
    pub fn eni(&self, index: usize) -> &Eni {
        &self.enis[index]
    }

    /// Returns all ENIs in order.
    pub fn enis(&self) -> &[Eni] {
        &self.enis
    }

    /// Returns the container; panics if the lab was built without one.
    #[track_caller]
    pub fn container(&self) -> &NetNs {
        self.container
            .as_ref()
            .expect("the lab was built with .container()")
    }

    /// Returns the on-link neighbour; panics if the lab was built without one.
    #[track_caller]
    pub fn peer(&self) -> &NetNs {
        self.peer.as_ref().expect("the lab was built with .peer()")
    }

    /// Returns the client's IPv4 address.
    pub fn client_v4(&self) -> Ipv4Addr {
        topology::CLIENT_V4
    }

    /// Returns the client's IPv6 address.
    pub fn client_v6(&self) -> Ipv6Addr {
        topology::CLIENT_V6
    }

    /// Returns the client's address of the same family.
    pub fn client_address(&self, family_of: IpAddr) -> IpAddr {
        match family_of {
            IpAddr::V4(_) => topology::CLIENT_V4.into(),
            IpAddr::V6(_) => topology::CLIENT_V6.into(),
        }
    }

    /// Returns the container's IPv4 address.
    pub fn container_v4(&self) -> Ipv4Addr {
        topology::CONTAINER_V4
    }

    /// Returns the container's IPv6 address.
    pub fn container_v6(&self) -> Ipv6Addr {
        topology::CONTAINER_V6
    }

    /// Returns the peer's IPv4 address in an ENI's subnet.
    pub fn peer_v4(&self, eni: usize) -> Ipv4Addr {
        peer_v4(self.shape.subnet_of(eni))
    }

    /// Returns the peer's IPv6 address in an ENI's subnet.
    pub fn peer_v6(&self, eni: usize) -> Ipv6Addr {
        peer_v6(self.shape.subnet_of(eni))
    }

    /// Returns the peer's hardware address in an ENI's subnet.
    pub fn peer_mac(&self, eni: usize) -> Mac {
        mac(Role::Peer, self.shape.subnet_of(eni))
    }

    /// Returns all namespaces of this lab.
    pub fn namespaces(&self) -> impl Iterator<Item = &NetNs> {
        [&self.host, &self.router, &self.client]
            .into_iter()
            .chain(&self.container)
            .chain(&self.peer)
    }

    /// Returns what the source check has counted on an ENI's port since the lab was built.
    #[track_caller]
    pub fn router_seen(&self, eni: usize) -> Seen {
        source_check::read(&self.router, &self.enis[eni])
    }

    /// Gives an ENI one more address, or a prefix (`172.16.20.192/28`), in the VPC: the source
    /// check accepts it, and the router sends packets for it to that ENI.
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
        // The route goes through the ENI's first address, whose hardware address is known. This
        // works for an address of the subnet, for any other address, and for a prefix.
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

    /// Types the textbook's cure for an ENI in both families: a table 1001 (1002 for eth2 ...)
    /// that contains only a default route through the ENI, and a rule without a priority for its
    /// primary address.
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

    /// Returns the device's own counters; the names of devices are those in the drawing.
    #[track_caller]
    pub fn device_counters(&self, ns: &NetNs, ifname: &str) -> DeviceCounters {
        DeviceCounters::read(ns, ifname)
    }

    /// Returns the whole network configuration of a namespace as text that can be compared.
    #[track_caller]
    pub fn dump(&self, ns: &NetNs) -> String {
        crate::dump(ns)
    }

    /// Returns a guard that prints the host's rules, routes, neighbours and links and the source
    /// check's counters if the test panics while it is alive.
    pub fn on_failure_print(&self) -> FailureReport<'_> {
        FailureReport::new(self)
    }
}
