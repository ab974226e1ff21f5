//! Ingress: finds the owner of the destination address and counts the packet. It never changes
//! what happens to the packet.

use aya_ebpf::programs::TcContext;
use eni_steer_common::{Class, Count, Direction, NO_ENI, Owner, Settings};

use crate::{
    clock, config,
    counters::{self, Stray},
    events,
    ip::{Header, Ip, Packet},
    owners,
    packet::{self, Frame},
    sources, wire,
};

const IN: Direction = Direction::Ingress;

/// Counts the packet. If another ENI owns its destination, it also sends an event.
#[inline(always)]
pub fn ingress(ctx: &TcContext) {
    let count = wire::ingress(ctx);
    let Some(settings) = config::settings() else {
        return;
    };
    let stray = match packet::frame(ctx) {
        Frame::V4(header) => ip(&header, settings, count),
        Frame::V6(header) => ip(&header, settings, count),
        Frame::Malformed(class) => return counters::total(IN, class, count),
        Frame::Tagged | Frame::Other => return counters::total(IN, Class::Other, count),
    };
    if let Some((packet, &Owner { address, eni, .. })) = stray {
        let now = clock::now();
        counters::stray(IN, address, Stray::Passed, count, now);
        if eni != NO_ENI {
            events::send(ctx, &packet, settings, IN, eni, 0, now);
        }
    }
}

/// Counts an IP packet in the totals, at its address and in the source table.
///
/// If this ENI does not own the destination but another one does, or two ENIs have it, the
/// function returns the packet with that owner; the caller counts it as a stray.
#[inline(always)]
fn ip<A: Ip>(
    header: &Header<A>,
    settings: &Settings,
    count: Count,
) -> Option<(Packet, &'static Owner)> {
    counters::total(IN, A::CLASS, count);
    // Keep references up to the end. If the owner were copied, compilers would read the (unused)
    // fields of an absent one from stack memory that nothing has written, and the verifier of
    // Linux 5.10 refuses that.
    let owner = match header.destination.owner() {
        None if settings.prefixes != 0 => {
            owners::by_prefix(A::FAMILY, header.destination.address())
        }
        owner => owner,
    };
    let stray = owner.filter(|owner| owner.eni != config::own_slot());
    if let (Some(owner), None) = (owner, stray) {
        counters::home(IN, owner.address, count);
    }
    let mismatched = stray.is_some_and(|owner| owner.eni != NO_ENI);
    let source = header.source.folded(settings);
    sources::count(IN, A::FAMILY, source, mismatched, count);
    stray.map(|owner| (Packet::new(header, count), owner))
}
