//! Sends a packet out of the ENI that owns its source.

use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, bpf_redir_neigh, bpf_tunnel_key},
    helpers::generated::{bpf_redirect_neigh, bpf_skb_set_tunnel_key},
    programs::TcContext,
};
use aya_log_ebpf::{debug, trace};
use eni_steer_common::{Address, EniRow, Family, Fate, NextHop, NextHopKind};

use crate::{config, headers, ip::Packet, owners, packet::ETHERNET, skb};

/// Bytes of `bpf_tunnel_key` that are passed: the tunnel id and the remote IPv4 address. Every
/// kernel from 5.10 on accepts this size; old kernels refuse a size that includes later fields.
const TUNNEL_KEY: u32 = 8;

/// Redirects the packet to the ENI at slot `eni`, or returns why not and leaves it where it is.
///
/// It uses neither the host's rules and tables nor IP forwarding, because it is needed most when
/// they are gone: the next hop comes from a map that holds a copy of the owner's table.
#[inline(always)]
pub fn steer(ctx: &TcContext, packet: &Packet, eni: u16) -> Fate {
    let Packet {
        family,
        destination,
        ..
    } = *packet;
    let owner = match config::eni(eni) {
        Some(owner) if owner.ifindex != 0 => owner,
        _ => {
            debug!(ctx, "not steered: the owner at slot {} is absent", eni);
            return Fate::OwnerAbsent;
        }
    };
    let Some(hop) = owners::next_hop(eni, owner, family, destination) else {
        debug!(ctx, "not steered: slot {} has no route", eni);
        return Fate::NoNextHop;
    };
    let (neighbours, neighbour) = match (NextHopKind::from_u8(hop.kind), family) {
        (NextHopKind::OnLink, family) => (family, destination),
        (NextHopKind::ViaV6, _) => (Family::V6, hop.gateway),
        (NextHopKind::ViaV4, Family::V4) => (Family::V4, hop.gateway),
        // Neither the helper nor Linux' own routes can send IPv6 through an IPv4 gateway.
        (NextHopKind::ViaV4, Family::V6) => return Fate::NoNextHop,
        (NextHopKind::Refuse, _) => {
            debug!(ctx, "not steered: the table of slot {} refuses", eni);
            return Fate::Refused;
        }
    };
    if too_large(ctx, owner, hop) {
        debug!(ctx, "not steered: too large for ifindex {}", owner.ifindex);
        return Fate::Mtu;
    }
    redirect(ctx, owner.ifindex, neighbours, neighbour)
}

/// Returns whether the packet, or a segment of it, exceeds the MTU of the route or of the owner.
/// The kernel has cut the packet for the ENI it was leaving by, and nobody would cut it again.
#[inline(always)]
fn too_large(ctx: &TcContext, owner: &EniRow, hop: &NextHop) -> bool {
    let mtu = match hop.mtu {
        0 => owner.mtu,
        mtu if mtu < owner.mtu => mtu,
        _ => owner.mtu,
    };
    let ethernet = ETHERNET as u32;
    let size = skb::gso_size(ctx);
    if size == 0 {
        return skb::len(ctx) > mtu + ethernet;
    }
    let headers = headers::parse_headers(ctx.skb.skb);
    let segment = headers.repeated(ctx.skb.skb) - u32::from(headers.phantom) + size;
    segment > mtu + ethernet
}

#[inline(always)]
fn redirect(ctx: &TcContext, ifindex: u32, family: Family, neighbour: Address) -> Fate {
    // The packet must forget its route first. While the neighbour is not resolved, the packet waits
    // in the neighbour's queue. When the answer comes, the kernel looks the neighbour up again by
    // the packet's route (`__neigh_update`), which is the wrong ENI's. The first packets would
    // leave by the right ENI with the wrong ENI's MAC addresses, and the helper would still report
    // success. Setting a tunnel key replaces the route by a metadata destination, which has no
    // neighbour look-up of its own. Nothing else reads the key on an Ethernet device.
    let mut key = 0u64;
    // SAFETY: the helper reads TUNNEL_KEY (8) bytes, all of `key`, and keeps no pointer to it.
    let forgotten = unsafe {
        bpf_skb_set_tunnel_key(
            ctx.skb.skb,
            core::ptr::from_mut(&mut key).cast::<bpf_tunnel_key>(),
            TUNNEL_KEY,
            0,
        )
    };
    if forgotten != 0 {
        debug!(
            ctx,
            "not steered: bpf_skb_set_tunnel_key says {}", forgotten
        );
        return Fate::HelperFailed;
    }
    let mut target = Target {
        family: family as u32,
        neighbour,
    };
    // SAFETY: `Target` has the fields and the size of `struct bpf_redir_neigh`, which is copied.
    let result = unsafe {
        bpf_redirect_neigh(
            ifindex,
            core::ptr::from_mut(&mut target).cast::<bpf_redir_neigh>(),
            size_of::<Target>() as i32,
            0,
        )
    };
    if result != i64::from(TC_ACT_REDIRECT) {
        debug!(ctx, "not steered: bpf_redirect_neigh says {}", result);
        return Fate::HelperFailed;
    }
    trace!(ctx, "steered to ifindex {}", ifindex);
    Fate::Steered
}

/// `struct bpf_redir_neigh` (include/uapi/linux/bpf.h) with its union written as an [`Address`]:
/// an IPv4 address is the first word.
#[repr(C)]
struct Target {
    family: u32,
    neighbour: Address,
}

const _: () = assert!(size_of::<Target>() == size_of::<bpf_redir_neigh>());
