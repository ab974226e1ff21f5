//! Names, hardware addresses and IP addresses of the lab. It does no I/O.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How the ENIs are spread over subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All ENIs in 172.16.20.0/24 and fd00:20::/64, behind one gateway.
    SameSubnet,
    /// ENI `i` in 172.16.(20+i).0/24 and fd00:(20+i)::/64, each with a gateway.
    DifferentSubnets,
}

impl Shape {
    /// Both shapes, for tests that promise the same in each.
    pub const ALL: [Self; 2] = [Self::SameSubnet, Self::DifferentSubnets];

    pub(crate) fn subnet_of(self, eni: usize) -> usize {
        match self {
            Self::SameSubnet => 0,
            Self::DifferentSubnets => eni,
        }
    }

    pub(crate) fn subnets(self, enis: usize) -> usize {
        match self {
            Self::SameSubnet => 1,
            Self::DifferentSubnets => enis,
        }
    }

    /// Returns the router's device in a subnet, which has the gateway's addresses.
    pub(crate) fn bridge(self, subnet: usize) -> String {
        match self {
            Self::SameSubnet => "vpc".to_owned(),
            Self::DifferentSubnets => format!("vpc{subnet}"),
        }
    }
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// To whom a hardware address belongs; its second byte shows it in a capture.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Eni = 0xe0,
    RouterPort = 0xe1,
    Gateway = 0xfd,
    Client = 0xc0,
    Container = 0x42,
    Peer = 0x50,
}

pub(crate) fn mac(role: Role, number: usize) -> Mac {
    let n = u8::try_from(number).expect("fewer than 256 of each role");
    Mac([0x02, role as u8, 0, 0, 0, n])
}

/// The client's IPv4 address.
pub(crate) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The client's IPv6 address.
pub(crate) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// The router's IPv4 address on the client's side.
pub(crate) const CLIENT_GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The router's IPv6 address on the client's side.
pub(crate) const CLIENT_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The container's IPv4 address.
pub(crate) const CONTAINER_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// The container's IPv6 address.
pub(crate) const CONTAINER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x17, 0, 0, 0, 0, 0, 2);
/// The IPv4 address of docker0.
pub(crate) const DOCKER0_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// The IPv6 address of docker0.
pub(crate) const DOCKER0_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x17, 0, 0, 0, 0, 0, 1);

const FIRST_ENI_HOST: u8 = 176;
const GATEWAY_HOST: u8 = 253;
const PEER_HOST: u8 = 50;

/// An ENI of the host, and the router's port to which it is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eni {
    /// 0 for eth0, 1 for eth1 ...
    pub index: usize,
    /// The interface on the host: `eth<index>`.
    pub name: String,
    /// The router's end of the cable: `r<index>`.
    pub port: String,
    /// The router's device with the gateway's addresses: `vpc` or `vpc<index>`.
    pub gateway_device: String,
    /// The ENI's hardware address.
    pub mac: Mac,
    /// The gateway's hardware address.
    pub gateway_mac: Mac,
    /// The gateway's IPv4 address.
    pub gateway_v4: Ipv4Addr,
    /// The gateway's IPv6 address.
    pub gateway_v6: Ipv6Addr,
    /// All IPv4 addresses, the primary one first; each is in a /24.
    pub v4s: Vec<Ipv4Addr>,
    /// All IPv6 addresses, the primary one first; each is in a /64.
    pub v6s: Vec<Ipv6Addr>,
}

impl Eni {
    /// Returns the primary IPv4 address.
    pub fn v4(&self) -> Ipv4Addr {
        self.v4s[0]
    }

    /// Returns the primary IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        self.v6s[0]
    }

    /// Returns the primary addresses, IPv4 and then IPv6, for tests that promise the same for
    /// both.
    pub fn both(&self) -> [IpAddr; 2] {
        [self.v4().into(), self.v6().into()]
    }

    /// Returns the gateway of an address's family.
    pub fn gateway(&self, family_of: IpAddr) -> IpAddr {
        match family_of {
            IpAddr::V4(_) => self.gateway_v4.into(),
            IpAddr::V6(_) => self.gateway_v6.into(),
        }
    }

    pub(crate) fn plan(shape: Shape, enis: usize, addresses: usize) -> Vec<Self> {
        (0..enis)
            .map(|i| {
                let subnet = shape.subnet_of(i);
                let hosts = host_numbers(shape, enis, addresses, i);
                Self {
                    index: i,
                    name: format!("eth{i}"),
                    port: format!("r{i}"),
                    gateway_device: shape.bridge(subnet),
                    mac: mac(Role::Eni, i),
                    gateway_mac: mac(Role::Gateway, subnet),
                    gateway_v4: v4_in(subnet, GATEWAY_HOST),
                    gateway_v6: v6_in(subnet, GATEWAY_HOST),
                    v4s: hosts.iter().map(|&h| v4_in(subnet, h)).collect(),
                    v6s: hosts.iter().map(|&h| v6_in(subnet, h)).collect(),
                }
            })
            .collect()
    }
}

pub(crate) fn peer_v4(subnet: usize) -> Ipv4Addr {
    v4_in(subnet, PEER_HOST)
}

pub(crate) fn peer_v6(subnet: usize) -> Ipv6Addr {
    v6_in(subnet, PEER_HOST)
}

fn v4_in(subnet: usize, host: u8) -> Ipv4Addr {
    let third = u8::try_from(20 + subnet).expect("fewer than 236 subnets");
    Ipv4Addr::new(172, 16, third, host)
}

/// Returns an IPv6 address whose digits read like those of the IPv4 address: fd00:20::176.
fn v6_in(subnet: usize, host: u8) -> Ipv6Addr {
    format!("fd00:{}::{host}", 20 + subnet)
        .parse()
        .expect("decimal digits are hexadecimal digits")
}

/// Returns the last bytes of an ENI's addresses: its primary one, then its share of those that
/// are not a primary, gateway or peer address.
fn host_numbers(shape: Shape, enis: usize, addresses: usize, eni: usize) -> Vec<u8> {
    let primary = |i: usize| FIRST_ENI_HOST + u8::try_from(i).expect("few ENIs");
    let primaries = primary(0)..primary(enis);
    let free = (1..GATEWAY_HOST).filter(|h| *h != PEER_HOST && !primaries.contains(h));
    let more = addresses - 1;
    let skip = match shape {
        Shape::SameSubnet => eni * more,
        Shape::DifferentSubnets => 0,
    };
    let hosts: Vec<u8> = std::iter::once(primary(eni))
        .chain(free.skip(skip).take(more))
        .collect();
    assert!(
        hosts.len() == addresses,
        "{enis} ENIs with {addresses} addresses each do not fit the subnets of {shape:?}"
    );
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_addresses_are_the_textbook_addresses() {
        let same = Eni::plan(Shape::SameSubnet, 2, 1);
        assert_eq!(same[0].v4().to_string(), "172.16.20.176");
        assert_eq!(same[1].v4().to_string(), "172.16.20.177");
        assert_eq!(same[1].v6().to_string(), "fd00:20::177");
        assert_eq!(same[1].gateway_v4.to_string(), "172.16.20.253");
        assert_eq!(same[0].gateway_mac, same[1].gateway_mac);
        let different = Eni::plan(Shape::DifferentSubnets, 2, 1);
        assert_eq!(different[1].v4().to_string(), "172.16.21.177");
        assert_eq!(different[1].gateway_v6.to_string(), "fd00:21::253");
        assert_ne!(different[0].gateway_mac, different[1].gateway_mac);
    }

    #[test]
    fn no_address_is_given_twice() {
        for (shape, enis, addresses) in [
            (Shape::SameSubnet, 4, 50),
            (Shape::SameSubnet, 2, 120),
            (Shape::DifferentSubnets, 15, 50),
            (Shape::DifferentSubnets, 2, 200),
        ] {
            let plan = Eni::plan(shape, enis, addresses);
            let mut all: Vec<_> = plan.iter().flat_map(|e| e.v4s.clone()).collect();
            all.extend(plan.iter().map(|e| e.gateway_v4).take(shape.subnets(enis)));
            all.extend((0..shape.subnets(enis)).map(peer_v4));
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{shape:?} {enis} {addresses}");
        }
    }
}
