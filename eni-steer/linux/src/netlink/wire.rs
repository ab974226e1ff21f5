//! Splits datagrams into messages and attributes, and converts values that several files need.
//!
//! Links, addresses, routes and rules come in thousands, so they are decoded from the bytes, and
//! only the attributes that eni-steer needs. The wire library (netlink-packet-route) decodes
//! everything else.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage, route::RouteAddress};

use eni_steer_core::model::Family;

/// Ends an answer: an error, or an acknowledgement if the errno in it is 0 (netlink(7)).
pub(crate) const ERROR: u16 = libc::NLMSG_ERROR as u16;
/// Ends the messages of a dump (netlink(7)).
pub(crate) const DONE: u16 = libc::NLMSG_DONE as u16;

/// One message of a netlink datagram, still encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Iterates over the messages of a datagram (netlink(7): each begins with a header of 16 bytes,
    /// and lengths are padded to 4). Ends at the first message that is cut short.
    pub fn all(datagram: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = datagram;
        std::iter::from_fn(move || {
            let header = rest.first_chunk::<16>()?;
            let length = u32_at(header, 0)? as usize;
            let message = Self {
                kind: u16_at(header, 4)?,
                flags: u16_at(header, 6)?,
                sequence: u32_at(header, 8)?,
                payload: rest.get(16..length)?,
            };
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(message)
        })
    }

    /// Decodes the message with the wire library. Logs a warning and returns `None` if the library
    /// cannot read it.
    pub fn parse(&self) -> Option<RouteNetlinkMessage> {
        use rtnetlink::packet_core::NetlinkDeserializable;
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        match RouteNetlinkMessage::deserialize(&header, self.payload) {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::warn!(
                    "ignored a netlink message of the kernel that cannot be decoded: {error}"
                );
                None
            }
        }
    }

    /// Splits the payload into a header of `HEADER` bytes and the attributes behind it.
    pub fn split<const HEADER: usize>(&self) -> Option<(&'a [u8; HEADER], Attributes<'a>)> {
        let (header, attributes) = self.payload.split_first_chunk::<HEADER>()?;
        Some((header, Attributes(attributes)))
    }
}

/// Iterates over attributes as pairs of number and value (rtnetlink(7): each begins with a header
/// of 4 bytes, and lengths are padded to 4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        // The two highest bits are flags about the value (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Reads a number in host byte order at this offset.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a number in host byte order at this offset.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Decodes a text that ends with a zero byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Decodes an address; `None` if the length does not fit the family.
pub(super) fn address(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        Family::V6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    })
}

/// Encodes a request and appends it to a datagram.
pub(super) fn append(
    requests: &mut Vec<u8>,
    request: RouteNetlinkMessage,
    flags: u16,
    sequence: u32,
) {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = requests.len();
    let end = start + message.buffer_len();
    requests.resize(end.next_multiple_of(4), 0);
    message.serialize(&mut requests[start..end]);
}

/// Appends a request that the wire library does not know to a datagram: its number, and what follows
/// the header (netlink(7)).
pub(super) fn append_raw(
    requests: &mut Vec<u8>,
    (kind, payload): (u16, &[u8]),
    flags: u16,
    sequence: u32,
) {
    let length = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
    requests.extend(length.to_ne_bytes());
    requests.extend(kind.to_ne_bytes());
    requests.extend(flags.to_ne_bytes());
    requests.extend(sequence.to_ne_bytes());
    requests.extend([0; 4]);
    requests.extend(payload);
    requests.resize(requests.len().next_multiple_of(4), 0);
}

/// Encodes a message as the kernel would send it.
#[cfg(test)]
pub(super) fn bytes_of(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, message, 0, 0);
    bytes
}

pub(super) fn family_to_wire(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The family that a header names; `None` for families other than IPv4 and IPv6, such as MPLS or
/// multicast routing.
pub(super) fn family_of_byte(byte: u8) -> Option<Family> {
    match AddressFamily::from(byte) {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

pub(super) fn address_to_wire(address: IpAddr) -> RouteAddress {
    RouteAddress::from(address)
}

/// A prefix with its host bits cleared, as the kernel stores prefixes.
pub(super) fn prefix(address: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(address, length).ok().map(|net| net.trunc())
}
