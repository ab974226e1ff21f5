//! Ingress: who sent it, and whose address it is for.

use aya_ebpf::programs::TcContext;
use eni_steer_common::{Class, Count, Direction, NO_ENI};

use crate::{
    config,
    counters::{self, Stray},
    events,
    ip::{Header, Ip},
    owners,
    packet::{self, Frame},
    wire,
};

const IN: Direction = Direction::Ingress;

/// Counts the packet.
#[inline(always)]
pub fn ingress(ctx: &TcContext) {
    let count = wire::ingress(ctx);
    match packet::frame(ctx) {
        Frame::V4(header) => ip(ctx, header, count),
        Frame::V6(header) => ip(ctx, header, count),
        Frame::Malformed(class) => counters::total(IN, class, count),
        Frame::Tagged | Frame::Other => counters::total(IN, Class::Other, count),
    }
}

#[inline(always)]
fn ip<A: Ip>(ctx: &TcContext, header: Header<A>, count: Count) {
    counters::total(IN, A::CLASS, count);
    let Some(settings) = config::settings() else {
        return;
    };
    let owner = match header.destination.owner() {
        Some(owner) => Some(owner),
        None if settings.prefixes != 0 => owners::by_prefix(&header.destination),
        None => None,
    };
    let mut mismatched = false;
    if let Some(owner) = owner {
        let eni = owner.eni;
        if eni == config::own_slot() {
            counters::home(IN, owner.address, count);
        } else {
            mismatched = eni != NO_ENI;
            counters::stray(IN, owner.address, Stray::Passed, count);
            if mismatched {
                events::ingress(ctx, &header, eni, count);
            }
        }
    }
    counters::source::<A>(IN, header.source.folded(settings), mismatched, count);
}
