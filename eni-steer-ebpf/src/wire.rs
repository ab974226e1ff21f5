//! Computes how many packets and bytes one packet of the kernel is on the wire.
//!
//! A super-packet is a packet that the kernel or the network card cuts into segments after egress
//! (GSO), or has put together from segments before ingress (GRO). Every segment has its own copy
//! of the headers:
//!
//! - packets: the kernel's `gso_segs`. If nobody has counted them (a packet from a guest), the
//!   payload divided by `gso_size`;
//! - bytes on egress: `wire_len`, which the queueing layer has computed just before the hook. It
//!   knows better than these programs where the headers inside a tunnel end. If it had no
//!   transport header to go by, the programs compute the sum themselves;
//! - bytes on ingress: always the programs' own sum. There `wire_len` is the length without the
//!   Ethernet header on some kernels, and without the headers of the other segments on most;
//! - a VLAN tag in the packet's metadata adds four bytes to each segment;
//! - the hop-by-hop header of IPv6 BIG TCP is removed before the wire and does not count.

use aya_ebpf::programs::TcContext;
use eni_steer_common::Count;

use crate::{headers, opaque, skb};

/// `gso_size` of a super-packet that is cut where its fragments end (SCTP): the kernel's
/// `GSO_BY_FRAGS`.
const BY_FRAGMENTS: u32 = 0xffff;
const TAG: u32 = 4;

/// Returns what a packet on its way out is on the wire.
#[inline(always)]
pub fn egress(ctx: &TcContext) -> Count {
    if skb::gso_size(ctx) == 0 {
        return one(ctx);
    }
    many(ctx, skb::wire_len(ctx))
}

/// Returns what a packet that came in was on the wire.
#[inline(always)]
pub fn ingress(ctx: &TcContext) -> Count {
    if skb::gso_size(ctx) == 0 {
        return one(ctx);
    }
    many(ctx, 0)
}

#[inline(always)]
fn one(ctx: &TcContext) -> Count {
    let tag = if skb::vlan_present(ctx) != 0 { TAG } else { 0 };
    Count {
        packets: 1,
        bytes: u64::from(skb::len(ctx) + tag),
    }
}

/// Returns what a super-packet is on the wire.
///
/// `estimate` is the sum of the bytes of all segments, if somebody has computed it. It counts
/// only if it is more than the length of the super-packet.
#[inline(always)]
fn many(ctx: &TcContext, estimate: u32) -> Count {
    let length = skb::len(ctx);
    let headers = headers::parse_headers(ctx.skb.skb);
    let phantom = u32::from(headers.phantom);
    let repeated = headers.repeated(ctx.skb.skb);
    let mut segments = skb::gso_segs(ctx);
    if segments == 0 {
        segments = match skb::gso_size(ctx) {
            0 | BY_FRAGMENTS => 1,
            size => length.saturating_sub(repeated).div_ceil(size),
        };
    }
    if segments == 0 {
        segments = 1;
    }
    let bytes = if estimate > length {
        estimate
    } else {
        length + (segments - 1) * repeated
    };
    let tag = if skb::vlan_present(ctx) != 0 { TAG } else { 0 };
    Count {
        packets: opaque::number(ctx.skb.skb, u64::from(segments)),
        bytes: opaque::number(
            ctx.skb.skb,
            u64::from((bytes + segments * tag).saturating_sub(segments * phantom)),
        ),
    }
}
