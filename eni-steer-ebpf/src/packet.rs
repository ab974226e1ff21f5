//! Classifies a frame and reads its addresses.

use aya_ebpf::programs::TcContext;
use eni_steer_common::Class;

use crate::{
    ip::{Header, V4, V6},
    skb,
};

/// Length of an Ethernet header in bytes.
pub const ETHERNET: usize = 14;
/// Length in bytes of an IPv4 header without options.
const IPV4: usize = 20;
/// Length in bytes of an IPv6 header without extension headers.
const IPV6: usize = 40;

/// EtherType of IPv4, in host byte order like the others below.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag (802.1Q).
pub const TYPE_VLAN: u16 = 0x8100;
/// EtherType of an outer VLAN tag (802.1ad).
pub const TYPE_QINQ: u16 = 0x88a8;

/// A frame, sorted by what the programs do with it.
pub enum Frame {
    /// An IPv4 packet whose header is complete.
    V4(Header<V4>),
    /// An IPv6 packet whose header is complete.
    V6(Header<V6>),
    /// The EtherType says IP, but the header is cut off, or its version or its length is wrong.
    /// The class is that of the EtherType.
    Malformed(Class),
    /// A frame with a VLAN tag, in the frame itself or in the packet's metadata. It belongs to a
    /// VLAN interface, not to the ENI.
    Tagged,
    /// Anything else, for example ARP.
    Other,
}

/// Classifies the frame. The EtherType is read from the frame and not from `skb->protocol`,
/// because the frame is what is on the wire.
#[inline(always)]
pub fn frame(ctx: &TcContext) -> Frame {
    if skb::vlan_present(ctx) != 0 {
        return Frame::Tagged;
    }
    let ether_type = if let Some(start) = skb::linear::<ETHERNET>(ctx) {
        // SAFETY: `linear` has checked that ETHERNET (14) bytes are readable from `start` on, and
        // the two bytes at 12 are the last of them.
        unsafe { skb::half(start.add(12)) }
    } else {
        match skb::copy::<u16>(ctx.skb.skb, 12) {
            Some(ether_type) => ether_type,
            None => return Frame::Other,
        }
    };
    match u16::from_be(ether_type) {
        TYPE_IPV4 => match ipv4(ctx) {
            Some(header) => Frame::V4(header),
            None => Frame::Malformed(Class::Ipv4),
        },
        TYPE_IPV6 => match ipv6(ctx) {
            Some(header) => Frame::V6(header),
            None => Frame::Malformed(Class::Ipv6),
        },
        TYPE_VLAN | TYPE_QINQ => Frame::Tagged,
        _ => Frame::Other,
    }
}

#[inline(always)]
fn ipv4(ctx: &TcContext) -> Option<Header<V4>> {
    let (first, source, destination) = if let Some(start) = skb::linear::<{ ETHERNET + IPV4 }>(ctx)
    {
        // SAFETY: `linear` has checked that ETHERNET + IPV4 (34) bytes are readable from `start`
        // on, and the last word read ends there.
        unsafe {
            let ip = start.add(ETHERNET);
            (*ip, skb::word(ip.add(12)), skb::word(ip.add(16)))
        }
    } else {
        let words: [u32; IPV4 / 4] = skb::copy(ctx.skb.skb, ETHERNET as u32)?;
        (words[0].to_ne_bytes()[0], words[3], words[4])
    };
    let header_length = u32::from(first & 0x0f) * 4;
    if first >> 4 != 4
        || header_length < IPV4 as u32
        // The code above has read the shortest header, so it is there. Only a header with options
        // is compared with the length of the packet, which costs a load.
        || (header_length > IPV4 as u32 && ETHERNET as u32 + header_length > skb::len(ctx))
    {
        return None;
    }
    Some(Header {
        source: V4(source),
        destination: V4(destination),
    })
}

#[inline(always)]
fn ipv6(ctx: &TcContext) -> Option<Header<V6>> {
    let (first, source, destination) = if let Some(start) = skb::linear::<{ ETHERNET + IPV6 }>(ctx)
    {
        // SAFETY: `linear` has checked that ETHERNET + IPV6 (54) bytes are readable from `start`
        // on, and the last word read ends there.
        unsafe {
            let ip = start.add(ETHERNET);
            let word = |at: usize| skb::word(ip.add(at));
            (
                *ip,
                [word(8), word(12), word(16), word(20)],
                [word(24), word(28), word(32), word(36)],
            )
        }
    } else {
        let words: [u32; IPV6 / 4] = skb::copy(ctx.skb.skb, ETHERNET as u32)?;
        let [start, _, a, b, c, d, e, f, g, h] = words;
        (start.to_ne_bytes()[0], [a, b, c, d], [e, f, g, h])
    };
    if first >> 4 != 6 {
        return None;
    }
    Some(Header {
        source: V6(source),
        destination: V6(destination),
    })
}

/// Returns whether the Ethernet header addresses more than one station.
///
/// This recognises the broadcast address of a subnet, which no map here knows: by now the kernel
/// has resolved it to the broadcast MAC address.
#[inline(always)]
pub fn to_a_group(ctx: &TcContext) -> bool {
    let first = match skb::linear::<ETHERNET>(ctx) {
        // SAFETY: `linear` has checked that ETHERNET (14) bytes are readable from `start` on, and
        // this reads the first.
        Some(start) => Some(unsafe { *start }),
        None => skb::copy::<u8>(ctx.skb.skb, 0),
    };
    first.is_some_and(|first| first & 1 != 0)
}
