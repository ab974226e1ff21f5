//! Parses a frame for the model.

use std::net::IpAddr;

use eni_steer_common::Class;
use eni_steer_tests::packets::protocol;

const ETHERNET: usize = 14;
/// Protocols, besides TCP and UDP, whose headers begin with ports.
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
/// How many extension headers are followed.
const CHAIN: usize = 8;

/// A frame as the model sees it.
#[derive(Debug)]
pub struct Headers {
    /// The class that counts it.
    pub class: Class,
    /// What it contains.
    pub content: Content,
    /// Its Ethernet header addresses a group of stations.
    pub to_group: bool,
    /// Where its IP header begins, or would begin.
    pub layer3: usize,
    /// Bytes of headers that each segment of a super-packet repeats.
    pub repeated: usize,
    /// Bytes of a header that a super-packet has and its segments do not have.
    pub jumbo: usize,
}

/// What a frame carries.
#[derive(Debug)]
pub enum Content {
    /// Something behind a VLAN tag, which is not examined.
    Tagged,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// Its EtherType says IP, but its header is not valid.
    Malformed,
    /// An IP packet.
    Ip(Ip),
}

/// What the model reads of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Protocol of the upper layer, or of the first header that can not be read.
    pub protocol: u8,
    /// Source and destination port; zero if there are none.
    pub ports: (u16, u16),
}

/// Where the upper layer begins and what it is; `whole` if all headers before it could be read.
struct Upper {
    at: usize,
    protocol: u8,
    whole: bool,
    jumbo: usize,
}

impl Headers {
    /// Parses a frame; `tagged` if the driver has removed a VLAN tag from it.
    pub fn read(frame: &[u8], tagged: bool) -> Self {
        let mut layer3 = ETHERNET;
        let mut ether_type = u16_at(frame, 12).expect("the kernel accepts no shorter frame");
        let in_frame = is_tag(ether_type);
        // The kernel also follows two tags when it cuts a super-packet.
        for _ in 0..2 {
            if is_tag(ether_type) {
                ether_type = u16_at(frame, layer3 + 2).unwrap_or(0);
                layer3 += 4;
            }
        }
        let (ip, upper) = match ether_type {
            0x0800 => ipv4(frame, layer3).unzip(),
            0x86dd => ipv6(frame, layer3).unzip(),
            _ => (None, None),
        };
        let (class, content) = match ether_type {
            _ if tagged || in_frame => (Class::Other, Content::Tagged),
            0x0800 => (Class::Ipv4, content(ip)),
            0x86dd => (Class::Ipv6, content(ip)),
            _ => (Class::Other, Content::NotIp),
        };
        let jumbo = upper.as_ref().map_or(0, |upper| upper.jumbo);
        Self {
            class,
            content,
            to_group: frame[0] & 1 != 0,
            layer3,
            repeated: upper.map_or(layer3, |upper| transport_end(frame, &upper)) - jumbo,
            jumbo,
        }
    }
}

fn content(ip: Option<Ip>) -> Content {
    ip.map_or(Content::Malformed, Content::Ip)
}

fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8)
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    let bytes = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn ipv4(frame: &[u8], at: usize) -> Option<(Ip, Upper)> {
    let header: &[u8; 20] = frame.get(at..at + 20)?.try_into().ok()?;
    let length = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 || length < 20 || frame.len() < at + length {
        return None;
    }
    let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let upper = Upper {
        at: at + length,
        protocol: header[9],
        whole: !later,
        jumbo: 0,
    };
    let address =
        |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let ip = Ip {
        source: address(12),
        destination: address(16),
        protocol: upper.protocol,
        ports: ports(frame, &upper),
    };
    Some((ip, upper))
}

fn ipv6(frame: &[u8], at: usize) -> Option<(Ip, Upper)> {
    let header: &[u8; 40] = frame.get(at..at + 40)?.try_into().ok()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| -> IpAddr {
        let bytes: [u8; 16] = header[at..at + 16].try_into().expect("sixteen bytes");
        bytes.into()
    };
    let upper = chain(frame, at, header[6]);
    let ip = Ip {
        source: address(8),
        destination: address(24),
        protocol: upper.protocol,
        ports: ports(frame, &upper),
    };
    Some((ip, upper))
}

/// Follows extension headers (RFC 8200, 4302, 6275, 7401, 5533).
fn chain(frame: &[u8], layer3: usize, first: u8) -> Upper {
    let (mut protocol, mut at, mut jumbo) = (first, layer3 + 40, 0);
    for _ in 0..CHAIN {
        let units = match protocol {
            protocol::FRAGMENT => 0,
            protocol::AUTHENTICATION
            | protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => frame.get(at + 1).copied().unwrap_or(0),
            _ => break,
        };
        let units = usize::from(units);
        let Some(header) = frame.get(at..at + 4) else {
            let whole = false;
            return Upper {
                at,
                protocol,
                whole,
                jumbo,
            };
        };
        // A super-packet of more than 64 KiB has its length in an option.
        let is_jumbo = protocol == protocol::HOP_BY_HOP
            && at == layer3 + 40
            && units == 0
            && header[2..4] == [0xc2, 4]
            && frame[layer3 + 4..layer3 + 6] == [0, 0];
        if is_jumbo {
            jumbo = 8;
        }
        let later =
            protocol == protocol::FRAGMENT && u16::from_be_bytes([header[2], header[3]]) >> 3 != 0;
        at += match protocol {
            protocol::AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        protocol = header[0];
        if later {
            let whole = false;
            return Upper {
                at,
                protocol,
                whole,
                jumbo,
            };
        }
    }
    Upper {
        at,
        protocol,
        whole: true,
        jumbo,
    }
}

fn ports(frame: &[u8], upper: &Upper) -> (u16, u16) {
    let has = matches!(
        upper.protocol,
        protocol::TCP | protocol::UDP | DCCP | SCTP | UDP_LITE
    );
    match (u16_at(frame, upper.at), u16_at(frame, upper.at + 2)) {
        (Some(from), Some(to)) if has && upper.whole => (from, to),
        _ => (0, 0),
    }
}

/// Returns where the payload of the upper layer begins.
fn transport_end(frame: &[u8], upper: &Upper) -> usize {
    let length = match upper.protocol {
        protocol::TCP => frame
            .get(upper.at + 12)
            .map_or(0, |byte| usize::from(byte >> 4) * 4),
        protocol::UDP => 8,
        _ => 0,
    };
    upper.at + length
}
