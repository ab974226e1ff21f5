//! Mismatches, one by one, for whoever listens: sampled, never complete.

use aya_ebpf::{
    macros::map,
    maps::{PerCpuArray, RingBuf},
    programs::TcContext,
};
use eni_steer_common::{Count, Direction, Event, EventBudget, Fate, Loss};

use crate::{
    clock, config, counters, headers,
    ip::{Header, Ip},
    skb,
};

#[map]
static EVENTS: RingBuf = RingBuf::pinned(4096, 0);

#[map]
static EVENT_BUDGET: PerCpuArray<EventBudget> = PerCpuArray::pinned(1, 0);

const SECOND: u64 = 1_000_000_000;

/// A packet for an address of the ENI at slot `owner` came in by this one.
#[inline(always)]
pub fn ingress<A: Ip>(ctx: &TcContext, header: &Header<A>, owner: u16, count: Count) {
    send(ctx, header, Direction::Ingress, owner, 0, count);
}

/// A packet from an address of the ENI at slot `owner` was leaving by this one.
#[inline(always)]
pub fn egress<A: Ip>(ctx: &TcContext, header: &Header<A>, owner: u16, fate: Fate, count: Count) {
    send(ctx, header, Direction::Egress, owner, fate as u8, count);
}

#[inline(always)]
fn send<A: Ip>(
    ctx: &TcContext,
    header: &Header<A>,
    direction: Direction,
    owner: u16,
    fate: u8,
    count: Count,
) {
    let limit = match config::settings() {
        Some(settings) => u64::from(settings.events_per_second),
        None => 0,
    };
    if limit == 0 {
        return; // nobody wants events: none is lost
    }
    let time = clock::now();
    if !within_budget(time, limit) {
        return counters::lost(Loss::EventLimited);
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        return counters::lost(Loss::EventDropped);
    };
    let headers = headers::walk(ctx.skb.skb);
    let (source_port, destination_port) = headers.ports(ctx.skb.skb);
    entry.write(Event {
        time,
        source: header.source.address(),
        destination: header.destination.address(),
        mark: skb::mark(ctx),
        bytes: count.bytes as u32,
        eni: config::own_slot(),
        owner,
        source_port,
        destination_port,
        family: A::FAMILY as u8,
        protocol: headers.protocol,
        direction: direction as u8,
        fate,
        zero: [0; 4],
    });
    entry.submit(0);
}

/// Whether this CPU may send another event this second.
#[inline(always)]
fn within_budget(time: u64, limit: u64) -> bool {
    let Some(budget) = EVENT_BUDGET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: an entry of a per-CPU array of this CPU; programs of one CPU do not interrupt
    // each other.
    let budget = unsafe { &mut *budget };
    if time.wrapping_sub(budget.since) >= SECOND {
        budget.since = time;
        budget.sent = 0;
    }
    if budget.sent >= limit {
        return false;
    }
    budget.sent += 1;
    true
}
