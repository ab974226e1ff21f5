//! The lab's devices, addresses and routes as lines for `ip -batch` and `bridge -batch`.

use std::fmt::Write as _;

use super::{
    Builder, DefaultRoute, Lab,
    batch::{Batch, batch},
};
use crate::topology::{self, Role, mac, peer_v4, peer_v6};

impl Builder {
    /// Bridges and cables. They are made in the router's namespace; the far ends are created in
    /// their own.
    pub(super) fn cables(&self, lab: &Lab) -> Batch {
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

    /// The gateways' addresses, and the neighbours that the VPC knows without asking.
    pub(super) fn router_script(&self, lab: &Lab) -> Batch {
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

    pub(super) fn host_script(&self, lab: &Lab) -> Batch {
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

    pub(super) fn peer_script(&self, lab: &Lab) -> Batch {
        let mut ip = Batch::default();
        ip.line("link set lo up");
        for subnet in 0..self.shape.subnets(self.enis) {
            let device = format!("p{subnet}");
            ip.line(format!("link set {device} up"));
            ip.addresses(&device, peer_v4(subnet), 24, peer_v6(subnet));
        }
        for eni in &lab.enis {
            // On a LAN both ENIs would answer an ARP request for either's address.
            ip.permanent_neighbours(eni, &format!("p{}", self.shape.subnet_of(eni.index)));
        }
        let gateway = &lab.enis[0];
        ip.line(format!("route add 0.0.0.0/0 via {}", gateway.gateway_v4));
        ip.line(format!("route add ::/0 via {}", gateway.gateway_v6));
        ip
    }
}

pub(super) fn client_script() -> Batch {
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

pub(super) fn container_script() -> Batch {
    let mut ip = Batch::default();
    ip.line("link set lo up");
    ip.line("link set eth0 up");
    ip.addresses("eth0", topology::CONTAINER_V4, 16, topology::CONTAINER_V6);
    ip.line(format!("route add 0.0.0.0/0 via {}", topology::DOCKER0_V4));
    ip.line(format!("route add ::/0 via {}", topology::DOCKER0_V6));
    ip
}

pub(super) const MASQUERADE: &str = "
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

/// Fills the VPC's forwarding table: at which port each hardware address is.
pub(super) fn fdb(lab: &Lab, with_peer: bool) {
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
