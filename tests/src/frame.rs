//! A captured frame, and questions about it.

use std::net::IpAddr;
use std::time::SystemTime;

use etherparse::{EtherType, SlicedPacket};

use crate::Mac;

/// How the kernel classified a frame, as seen from the device on which it was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketType {
    /// Received, addressed to the device.
    Host,
    /// Received, addressed to all stations.
    Broadcast,
    /// Received, addressed to a group.
    Multicast,
    /// Received, addressed to another hardware address.
    OtherHost,
    /// Sent by the device.
    Outgoing,
}

/// An 802.1Q or 802.1ad tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag {
    /// 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN id.
    pub tci: u16,
}

/// A complete frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The frame as it is on the wire. If the kernel has removed a VLAN tag, it is back in its
    /// place.
    pub data: Vec<u8>,
    /// How the kernel classified it.
    pub packet_type: PacketType,
    /// When the kernel saw it.
    pub at: SystemTime,
    /// The VLAN tag that the kernel had removed, if any.
    pub stripped_vlan: Option<VlanTag>,
    /// The payload bytes per segment if this is a super-packet (GSO, GRO); otherwise 0.
    pub gso_size: u16,
    /// The transport checksum is not filled in yet.
    pub partial_checksum: bool,
}

impl Frame {
    /// Returns whether the device on which it was captured has sent it.
    pub fn is_outgoing(&self) -> bool {
        self.packet_type == PacketType::Outgoing
    }

    /// Returns the destination hardware address.
    pub fn dst_mac(&self) -> Mac {
        Mac(self.data[0..6].try_into().expect("a frame has a header"))
    }

    /// Returns the source hardware address.
    pub fn src_mac(&self) -> Mac {
        Mac(self.data[6..12].try_into().expect("a frame has a header"))
    }

    /// Returns the EtherType behind any VLAN tags.
    pub fn ether_type(&self) -> EtherType {
        let mut at = 12;
        loop {
            let Some(&[high, low]) = self.data.get(at..at + 2) else {
                return EtherType(0);
            };
            match u16::from_be_bytes([high, low]) {
                0x8100 | 0x88a8 => at += 4,
                other => return EtherType(other),
            }
        }
    }

    /// Returns the layers, as far as they can be parsed.
    pub fn layers(&self) -> Option<SlicedPacket<'_>> {
        SlicedPacket::from_ethernet(&self.data).ok()
    }

    /// Returns source and destination address, if it is IP.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.layers()?.net? {
            etherparse::NetSlice::Ipv4(ip) => {
                let header = ip.header();
                Some((
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ))
            }
            etherparse::NetSlice::Ipv6(ip) => {
                let header = ip.header();
                Some((
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ))
            }
            _ => None,
        }
    }

    /// Returns the source address, if it is IP.
    pub fn source(&self) -> Option<IpAddr> {
        self.addresses().map(|(source, _)| source)
    }

    /// Returns the destination address, if it is IP.
    pub fn destination(&self) -> Option<IpAddr> {
        self.addresses().map(|(_, destination)| destination)
    }

    /// Returns whether it goes from `source` to `destination`.
    pub fn is_between(&self, source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> bool {
        self.addresses() == Some((source.into(), destination.into()))
    }

    /// Returns the ICMP or ICMPv6 type, if it has one.
    pub fn icmp_type(&self) -> Option<u8> {
        match self.layers()?.transport? {
            etherparse::TransportSlice::Icmpv4(icmp) => Some(icmp.type_u8()),
            etherparse::TransportSlice::Icmpv6(icmp) => Some(icmp.type_u8()),
            _ => None,
        }
    }

    /// Returns whether it is the question of a ping.
    pub fn is_echo_request(&self) -> bool {
        let request = match self.source() {
            Some(IpAddr::V6(_)) => 128,
            _ => 8,
        };
        self.icmp_type() == Some(request)
    }

    /// Returns whether it is the answer to a ping.
    pub fn is_echo_reply(&self) -> bool {
        let reply = match self.source() {
            Some(IpAddr::V6(_)) => 129,
            _ => 0,
        };
        self.icmp_type() == Some(reply)
    }

    /// Returns in how many frames and in how many bytes it goes over a real cable, where a
    /// super-packet is cut and each segment gets its own headers.
    pub fn on_the_wire(&self) -> (u64, u64) {
        let length = self.data.len() as u64;
        let payload = match self.layers().and_then(|layers| layers.transport) {
            Some(etherparse::TransportSlice::Tcp(tcp)) => tcp.payload().len() as u64,
            Some(etherparse::TransportSlice::Udp(udp)) => udp.payload().len() as u64,
            _ => 0,
        };
        if self.gso_size == 0 || payload == 0 {
            return (1, length);
        }
        let frames = payload.div_ceil(u64::from(self.gso_size));
        (frames, length + (frames - 1) * (length - payload))
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = if self.is_outgoing() { "out" } else { "in" };
        write!(f, "{way} {} > {}", self.src_mac(), self.dst_mac())?;
        match self.addresses() {
            Some((source, destination)) => write!(f, " {source} > {destination}")?,
            None => write!(f, " {:?}", self.ether_type())?,
        }
        write!(f, " {} bytes", self.data.len())
    }
}
