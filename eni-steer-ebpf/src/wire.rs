//! How many packets and bytes a packet of the kernel is on the wire.
//!
//! A super-packet is cut into segments after egress, or was put together from segments before
//! ingress, and every segment has its own copy of the headers:
//!
//! - packets: the kernel's `gso_segs`; where nobody has counted them (a packet from a guest),
//!   payload divided by `gso_size`;
//! - bytes, egress: the queueing layer has done the sum just before us (`wire_len`), and knows
//!   better than we do where the headers inside a tunnel end. Where it could not (it has seen
//!   no transport header), the sum is ours;
//! - bytes, ingress: always our sum. There `wire_len` is the length without the Ethernet header
//!   on some kernels, and without the headers of the other segments on most;
//! - a VLAN tag that travels beside the packet is four bytes on the wire, in each segment;
//! - the hop-by-hop header of IPv6 BIG TCP is taken out before the wire.

use aya_ebpf::programs::TcContext;
use eni_steer_common::Count;

use crate::{headers, opaque, skb};

/// `gso_size` of a packet that is segmented by its fragments (SCTP).
const BY_FRAGMENTS: u32 = 0xffff;
const TAG: u32 = 4;

/// A packet on its way out.
#[inline(always)]
pub fn egress(ctx: &TcContext) -> Count {
    if skb::gso_size(ctx) == 0 {
        return one(ctx);
    }
    many(ctx, skb::wire_len(ctx))
}

/// A packet that came in.
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

/// `estimate`: bytes of all segments, if it is more than the length of the super-packet.
#[inline(always)]
fn many(ctx: &TcContext, estimate: u32) -> Count {
    let length = skb::len(ctx);
    let headers = headers::walk(ctx.skb.skb);
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
