//! Mismatches, one by one, for whoever listens: sampled, never complete.

use aya_ebpf::{macros::map, maps::RingBuf, programs::TcContext};
use eni_steer_common::{Direction, Event, Loss, Settings};

use crate::{config, counters, headers, ip::Packet, skb};

#[map]
static EVENTS: RingBuf = RingBuf::pinned(4096, 0);

/// Sends an event, if somebody wants it and the limit allows.
#[inline(always)]
pub fn send(
    ctx: &TcContext,
    packet: &Packet,
    settings: &Settings,
    direction: Direction,
    owner: u16,
    fate: u8,
    now: u64,
) {
    let limit = u64::from(settings.events_per_second);
    // With a limit of 0 nobody wants events, and none is lost.
    if limit == 0 || !counters::within_budget(now, limit) {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        return counters::lost(Loss::EventDropped);
    };
    let headers = headers::walk(ctx.skb.skb);
    let (source_port, destination_port) = headers.ports(ctx.skb.skb);
    entry.write(Event {
        time: now,
        source: packet.source,
        destination: packet.destination,
        mark: skb::mark(ctx),
        bytes: packet.count.bytes as u32,
        eni: config::own_slot(),
        owner,
        source_port,
        destination_port,
        family: packet.family as u8,
        protocol: headers.protocol,
        direction: direction as u8,
        fate,
        zero: [0; 4],
    });
    entry.submit(0);
}
