//! Builds packets byte by byte. They are well-formed by default, and every field can be made
//! wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// EtherType of a VLAN tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of an outer VLAN tag.
pub const QINQ: u16 = 0x88a8;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;

/// Protocol numbers.
pub mod protocol {
    #![allow(missing_docs, reason = "the names are the field's own")]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// An Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Hardware address of the receiver.
    pub to: [u8; 6],
    /// Hardware address of the sender.
    pub from: [u8; 6],
    /// VLAN tags in the frame, the outermost first: EtherType and tag of each.
    pub tags: Vec<(u16, u16)>,
    /// EtherType of the payload.
    pub ether_type: u16,
    /// The bytes after the header.
    pub payload: Vec<u8>,
}

/// An IPv4 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Version and header length in words, if they should not be the right ones.
    pub first_byte: Option<u8>,
    /// Options; their length must be a multiple of four bytes.
    pub options: Vec<u8>,
    /// Flags and fragment offset, as the header has them.
    pub fragment: u16,
    /// Protocol of the upper layer.
    pub protocol: u8,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
}

/// An IPv6 header with its extension headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Version; 6 unless it should be wrong.
    pub version: u8,
    /// Extension headers: the protocol number of each, and its bytes without the first one (the
    /// next header), which is filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Payload length, if it should not be the right one.
    pub payload_length: Option<u16>,
    /// Protocol of the upper layer.
    pub protocol: u8,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
}

impl Packet {
    /// Makes a frame between two fixed stations.
    pub fn new(ether_type: u16, payload: Vec<u8>) -> Self {
        Self {
            to: [0x02, 0, 0, 0, 0, 0x01],
            from: [0x02, 0, 0, 0, 0, 0x02],
            tags: Vec::new(),
            ether_type,
            payload,
        }
    }

    /// Makes a UDP packet with ports 1000 and 2000 and this many bytes of payload.
    pub fn udp(source: IpAddr, destination: IpAddr, bytes: usize) -> Self {
        let from = SocketAddr::new(source, 1000);
        ip(
            source,
            destination,
            protocol::UDP,
            udp(from.port(), 2000, bytes),
        )
    }

    /// Makes a TCP packet with ports 1000 and 2000, a header of twenty bytes, and this many bytes
    /// of payload.
    pub fn tcp(source: IpAddr, destination: IpAddr, bytes: usize) -> Self {
        ip(source, destination, protocol::TCP, tcp(1000, 2000, bytes))
    }

    /// Adds a VLAN tag outside of those that are there.
    #[must_use]
    pub fn tagged(mut self, ether_type: u16, tag: u16) -> Self {
        self.tags.insert(0, (ether_type, tag));
        self
    }

    /// Changes the receiver's hardware address.
    #[must_use]
    pub fn to(mut self, station: [u8; 6]) -> Self {
        self.to = station;
        self
    }

    /// Returns the frame as it is on the wire, without FCS and padding.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.to);
        bytes.extend(self.from);
        for (ether_type, tag) in &self.tags {
            bytes.extend(ether_type.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend(self.ether_type.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Makes a packet of the family of its addresses.
///
/// # Panics
///
/// If the addresses are of different families.
#[track_caller]
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: Vec<u8>) -> Packet {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Ipv4::new(source, destination, protocol).packet(&payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ipv6::new(source, destination, protocol).packet(&payload)
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// Returns a UDP header followed by zeros.
pub fn udp(source: u16, destination: u16, bytes: usize) -> Vec<u8> {
    let length = u16::try_from(8 + bytes).unwrap_or(0);
    let mut udp = Vec::new();
    for field in [source, destination, length, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.resize(8 + bytes, 0);
    udp
}

/// Returns a TCP header without options followed by zeros.
pub fn tcp(source: u16, destination: u16, bytes: usize) -> Vec<u8> {
    let mut tcp = vec![0; 20 + bytes];
    tcp[..2].copy_from_slice(&source.to_be_bytes());
    tcp[2..4].copy_from_slice(&destination.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = 0x10; // ACK
    tcp
}

impl Ipv4 {
    /// Makes a header without options and not fragmented.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self {
            first_byte: None,
            options: Vec::new(),
            fragment: 0,
            protocol,
            source,
            destination,
        }
    }

    /// Returns the packet with this payload.
    pub fn packet(&self, payload: &[u8]) -> Packet {
        let length = 20 + self.options.len();
        let mut bytes = vec![0; 20];
        bytes[0] = self.first_byte.unwrap_or(0x40 | (length / 4) as u8);
        let total = u16::try_from(length + payload.len()).unwrap_or(0);
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        bytes[8] = 64;
        bytes[9] = self.protocol;
        bytes[12..16].copy_from_slice(&self.source.octets());
        bytes[16..20].copy_from_slice(&self.destination.octets());
        bytes.extend(&self.options);
        let checksum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(payload);
        Packet::new(0x0800, bytes)
    }
}

impl Ipv6 {
    /// Makes a header without extension headers.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8) -> Self {
        Self {
            version: 6,
            extensions: Vec::new(),
            payload_length: None,
            protocol,
            source,
            destination,
        }
    }

    /// Returns the packet with this payload.
    pub fn packet(&self, payload: &[u8]) -> Packet {
        let kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        let mut following = kinds.into_iter().chain([self.protocol]);
        let first = following.next().unwrap_or(self.protocol);
        let mut rest = Vec::new();
        for ((_, body), next) in self.extensions.iter().zip(following) {
            rest.push(next);
            rest.extend(body);
        }
        rest.extend(payload);
        let length = self
            .payload_length
            .unwrap_or_else(|| u16::try_from(rest.len()).unwrap_or(0));
        let mut bytes = vec![self.version << 4, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([first, 64]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(rest);
        Packet::new(0x86dd, bytes)
    }
}

/// Returns the Internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_is_built_is_what_a_parser_reads() {
        let packet = Packet::tcp(address("10.0.0.1"), address("10.0.0.2"), 7).bytes();
        let headers = PacketHeaders::from_ethernet_slice(&packet).expect("a packet");
        let Some(NetHeaders::Ipv4(ip, _)) = headers.net else {
            panic!("not IPv4: {headers:?}");
        };
        assert_eq!(ip.source, [10, 0, 0, 1]);
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert!(matches!(headers.transport, Some(TransportHeader::Tcp(_))));

        let mut ip = Ipv6::new(
            "fd00::1".parse().expect("an address"),
            "fd00::2".parse().expect("an address"),
            protocol::UDP,
        );
        ip.extensions = vec![
            (protocol::HOP_BY_HOP, vec![0, 1, 4, 0, 0, 0, 0]),
            (protocol::DESTINATION_OPTIONS, vec![0, 1, 4, 0, 0, 0, 0]),
        ];
        let packet = ip.packet(&udp(5, 6, 1)).tagged(VLAN, 5).bytes();
        let headers = PacketHeaders::from_ethernet_slice(&packet).expect("a packet");
        assert!(matches!(headers.transport, Some(TransportHeader::Udp(u)) if u.source_port == 5));
    }
}
