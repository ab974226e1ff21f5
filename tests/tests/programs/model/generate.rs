//! Random packets, which can be unusual in every way.

use eni_steer_core::model::{Datapath, Direction, Mode};
use eni_steer_tests::packets::{self, ARP, Ipv4, Ipv6, Packet, QINQ, VLAN, protocol};
use proptest::{collection::vec, option, prelude::*, sample};

use super::{
    hosts::{tables, v4, v6},
    probe::Probe,
    tagger::Tag,
};
use crate::bench::Metadata;

/// A host, and packets that arrive or leave at the ENI whose programs run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub tables: Datapath,
    pub probes: Vec<Probe>,
}

/// Length of the longest frame. The kernel's limit for a test is a page minus what it needs
/// itself.
const LONGEST: usize = 3600;

/// Generates a host of three ENIs, the first of which has this mode, and packets.
pub fn scenario(mode: Mode) -> impl Strategy<Value = Scenario> {
    let probes = vec(probe(), 1..=48);
    (tables(mode), probes).prop_map(|(tables, probes)| Scenario { tables, probes })
}

/// Generates a packet's mark.
pub fn mark() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(0x40), Just(0x4f), any::<u32>()]
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![4 => plain(), 1 => super_packet()]
}

/// Generates a single packet, well-formed or not.
pub fn plain() -> impl Strategy<Value = Probe> {
    let frame = prop_oneof![
        6 => any_v4(),
        6 => any_v6(),
        1 => not_ip(),
    ];
    let damage = (
        prop_oneof![4 => vec((any::<sample::Index>(), any::<u8>()), 0..1), 1 => vec((any::<sample::Index>(), any::<u8>()), 1..4)],
        option::weighted(0.2, any::<sample::Index>()),
    );
    (direction(), frame, link(), damage, mark(), beside()).prop_map(
        |(direction, packet, link, (changed, cut), mark, tag_beside)| {
            let mut frame = link.put(packet).bytes();
            if let Some(cut) = cut {
                frame.truncate(14 + cut.index(frame.len() - 13));
            }
            // Everything that decides is near the front.
            let front = frame.len().min(100);
            for (place, byte) in changed {
                frame[place.index(front)] = byte;
            }
            frame.truncate(LONGEST);
            Probe {
                direction,
                metadata: Metadata {
                    mark,
                    ..Metadata::default()
                },
                tag_beside,
                frame,
            }
        },
    )
}

/// Generates a super-packet, which is cut into segments after the program.
fn super_packet() -> impl Strategy<Value = Probe> {
    let payload = prop_oneof![1..100usize, 1..2800usize];
    let size = prop_oneof![1..=1500u32, 1..=20u32];
    let parts = (direction(), super_headers(), link(), payload, size);
    let told = (any::<bool>(), option::of(0..3000u32), mark(), beside());
    (parts, told).prop_map(
        |((direction, headers, link, payload, size), (count, more, mark, tag_beside))| {
            let frame = link.put(headers.with(payload)).bytes();
            let segments = u32::try_from(payload).expect("small").div_ceil(size);
            Probe {
                direction,
                metadata: Metadata {
                    mark,
                    gso_size: size,
                    gso_segs: if count { segments } else { 0 },
                    wire_len: more.map_or(0, |more| frame.len() as u32 + more),
                    ..Metadata::default()
                },
                tag_beside,
                frame,
            }
        },
    )
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![1 => Just(Direction::Ingress), 2 => Just(Direction::Egress)]
}

/// What the link layer puts around a packet.
#[derive(Clone, Debug)]
struct Link {
    to: [u8; 6],
    tags: Vec<(u16, u16)>,
}

impl Link {
    fn put(self, packet: Packet) -> Packet {
        Packet {
            to: self.to,
            tags: self.tags,
            ..packet
        }
    }
}

fn link() -> impl Strategy<Value = Link> {
    let station = prop_oneof![
        8 => Just([2, 0, 0, 0, 0, 1]),
        1 => Just([0xff; 6]),
        1 => Just([1, 0, 0x5e, 0, 0, 0xfb]),
    ];
    let tags = prop_oneof![9 => vec(tag(), 0..1), 1 => vec(tag(), 1..3)];
    (station, tags).prop_map(|(to, tags)| Link { to, tags })
}

fn tag() -> impl Strategy<Value = Tag> {
    (prop_oneof![Just(VLAN), Just(QINQ)], any::<u16>())
}

/// Generates a VLAN tag in the packet's metadata, with any content.
fn beside() -> impl Strategy<Value = Option<Tag>> {
    option::weighted(0.1, tag())
}

/// Generates the bytes of an upper layer: its protocol, and how it begins.
fn upper() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let length = prop_oneof![6 => 0..64usize, 2 => 1380..1500usize, 1 => 0..3400usize];
    let ports = (any::<u16>(), any::<u16>(), length.clone());
    const PROTOCOLS: [u8; 8] = [
        protocol::TCP,
        protocol::UDP,
        protocol::ICMP,
        protocol::ICMPV6,
        protocol::ESP,
        protocol::NO_NEXT_HEADER,
        132,
        253,
    ];
    prop_oneof![
        3 => ports.clone().prop_map(|(a, b, n)| (protocol::TCP, packets::tcp(a, b, n))),
        3 => ports.prop_map(|(a, b, n)| (protocol::UDP, packets::udp(a, b, n))),
        2 => (sample::select(&PROTOCOLS[..]), any::<u8>(), length)
            .prop_map(|(protocol, byte, length)| (protocol, vec![byte; length])),
        1 => (any::<u8>(), vec(any::<u8>(), 0..40)),
    ]
}

fn any_v4() -> impl Strategy<Value = Packet> {
    let first = prop_oneof![9 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let fragment = prop_oneof![
        6 => Just(0u16),
        1 => sample::select(&[0x2000, 0x2001, 0x00b9, 0x1fff, 0x8000, 0x4000][..]),
        1 => any::<u16>(),
    ];
    let options = prop_oneof![4 => Just(0usize), 1 => 0..=10usize];
    (v4(), v4(), first, fragment, options, upper()).prop_map(
        |(source, destination, first_byte, fragment, options, (protocol, payload))| {
            let header = Ipv4 {
                first_byte,
                options: vec![1; 4 * options],
                fragment,
                ..Ipv4::new(source, destination, protocol)
            };
            header.packet(&payload)
        },
    )
}

/// Generates an extension header of up to 64 bytes that follows the rules.
fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    const KINDS: [u8; 6] = [
        protocol::HOP_BY_HOP,
        protocol::ROUTING,
        protocol::DESTINATION_OPTIONS,
        protocol::MOBILITY,
        protocol::HIP,
        protocol::SHIM6,
    ];
    prop_oneof![
        6 => (sample::select(&KINDS[..]), 0..8u8).prop_map(|(kind, units)| {
            let mut body = vec![0; 7 + 8 * usize::from(units)];
            body[0] = units;
            (kind, body)
        }),
        1 => (1..8u8).prop_map(|units| {
            let mut body = vec![0; 4 * (usize::from(units) + 2) - 1];
            body[0] = units;
            (protocol::AUTHENTICATION, body)
        }),
        1 => any::<[u8; 7]>().prop_map(|body| (protocol::FRAGMENT, body.to_vec())),
        1 => Just((protocol::FRAGMENT, vec![0, 0, 1, 0, 0, 0, 1])),
        // A jumbo payload option.
        1 => any::<[u8; 4]>().prop_map(|length| {
            (protocol::HOP_BY_HOP, [&[0, 0xc2, 4][..], &length].concat())
        }),
        // Of a length that this header never has.
        1 => (sample::select(&KINDS[..]), vec(any::<u8>(), 0..24)),
    ]
}

fn any_v6() -> impl Strategy<Value = Packet> {
    let extensions = prop_oneof![
        3 => vec(extension(), 0..1),
        2 => vec(extension(), 1..4),
        1 => vec(extension(), 4..12),
    ];
    let version = prop_oneof![9 => Just(6u8), 1 => 0..16u8];
    let length = prop_oneof![4 => Just(None), 1 => any::<u16>().prop_map(Some), 1 => Just(Some(0))];
    (v6(), v6(), version, extensions, length, upper()).prop_map(
        |(source, destination, version, extensions, payload_length, (protocol, payload))| {
            let header = Ipv6 {
                version,
                extensions,
                payload_length,
                ..Ipv6::new(source, destination, protocol)
            };
            header.packet(&payload)
        },
    )
}

fn not_ip() -> impl Strategy<Value = Packet> {
    let known = sample::select(&[ARP, 0x88cc, 0x8864, 0x9100, 0x0008, 0xdd86, 46, 0][..]);
    let ether_type = prop_oneof![2 => known, 1 => any::<u16>()];
    (ether_type, vec(any::<u8>(), 0..100))
        .prop_map(|(ether_type, payload)| Packet::new(ether_type, payload))
}

/// Headers of a super-packet. The kernel only makes complete ones.
#[derive(Clone, Debug)]
struct SuperHeaders {
    ip: Result<Ipv4, Ipv6>,
    /// Length of the TCP options in bytes; `None`: UDP.
    tcp: Option<u8>,
}

impl SuperHeaders {
    fn with(self, payload: usize) -> Packet {
        let upper = match self.tcp {
            None => packets::udp(7, 8, payload),
            Some(words) => {
                let options = 4 * usize::from(words);
                let mut tcp = packets::tcp(7, 8, options + payload);
                tcp[12] = (5 + words) << 4;
                tcp
            }
        };
        match self.ip {
            Ok(header) => header.packet(&upper),
            Err(header) => header.packet(&upper),
        }
    }
}

fn super_headers() -> impl Strategy<Value = SuperHeaders> {
    let tcp = prop_oneof![1 => Just(None), 3 => (0..=10u8).prop_map(Some)];
    let protocol = |tcp: Option<u8>| {
        if tcp.is_some() {
            protocol::TCP
        } else {
            protocol::UDP
        }
    };
    let options = prop_oneof![4 => Just(0usize), 1 => 0..=10usize];
    let of_v4 = (v4(), v4(), options, tcp.clone()).prop_map(move |(source, far, options, tcp)| {
        let mut header = Ipv4::new(source, far, protocol(tcp));
        header.options = vec![1; 4 * options];
        SuperHeaders {
            ip: Ok(header),
            tcp,
        }
    });
    let extension = (
        sample::select(&[protocol::ROUTING, protocol::DESTINATION_OPTIONS][..]),
        0..3u8,
    );
    let extension = extension.prop_map(|(kind, units)| {
        let mut body = vec![0; 7 + 8 * usize::from(units)];
        body[0] = units;
        (kind, body)
    });
    let extensions = prop_oneof![3 => vec(extension.clone(), 0..1), 1 => vec(extension, 1..6)];
    let jumbo = prop::bool::weighted(0.2);
    let of_v6 = (v6(), v6(), extensions, jumbo, tcp).prop_map(
        move |(source, far, mut extensions, jumbo, tcp)| {
            let mut header = Ipv6::new(source, far, protocol(tcp));
            if jumbo {
                extensions.insert(0, (protocol::HOP_BY_HOP, vec![0, 0xc2, 4, 0, 1, 0, 0]));
                header.payload_length = Some(0);
            }
            header.extensions = extensions;
            SuperHeaders {
                ip: Err(header),
                tcp,
            }
        },
    );
    prop_oneof![of_v4, of_v6]
}
