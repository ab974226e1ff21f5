//! Events: single mismatched packets, reported to user space through a ring buffer.
//!
//! They are samples. The number per second is limited, and what the limit or a full buffer keeps
//! back is counted, never queued.

use aya_ebpf::{macros::map, maps::RingBuf, programs::TcContext};
use eni_steer_common::{Direction, Event, Loss, Settings};

use crate::{config, counters, headers, ip::Packet, skb};

#[map]
static EVENTS: RingBuf = RingBuf::pinned(4096, 0);

/// Sends an event about `packet`, unless events are off, the limit of this second is used up, or
/// the ring buffer is full. The last two are counted as lost.
///
/// `owner` is the slot of the ENI that owns the local address, `fate` is a
/// [`eni_steer_common::Fate`] as a number (0 on ingress), `now` is in nanoseconds of
/// CLOCK_MONOTONIC.
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
    // A limit of 0 turns events off. Then none is lost, so none is counted as lost.
    if limit == 0 || !counters::within_budget(now, limit) {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        return counters::lost(Loss::EventDropped);
    };
    let headers = headers::parse_headers(ctx.skb.skb);
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
