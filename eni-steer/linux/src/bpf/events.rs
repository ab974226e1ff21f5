//! Mismatches, one by one, as the programs report them.

use std::{collections::VecDeque, io, net::IpAddr};

use aya::maps::{Map, MapData, RingBuf};
use bytes::Bytes;
use eni_steer_common::{Direction, Event, Fate, names};
use serde::Serialize;
use tokio::io::{Interest, unix::AsyncFd};

use super::{convert, error::BpfError, maps::Maps};
use eni_steer_core::{counters::EniId, model::IfIndex};

/// A packet whose local address belongs to another ENI. Sampled: counters are complete, this
/// is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Which way it went.
    pub direction: Direction,
    /// The ENI it was seen on.
    pub eni: EniId,
    /// Its interface index, if the ENI is still there.
    pub ifindex: Option<IfIndex>,
    /// The ENI that owns the local address.
    pub owner: EniId,
    /// Its interface index, if the ENI is still there.
    pub owner_ifindex: Option<IfIndex>,
    /// Source address.
    pub source: IpAddr,
    /// Source port; 0: none, or not readable.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; 0: none, or not readable.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// `skb->mark`
    pub mark: u32,
    /// Bytes on the wire.
    pub bytes: u32,
    /// What became of it (egress only), as in [`eni_steer_common::Fate::label`].
    pub fate: Option<&'static str>,
}

/// The stream of mismatches. A ring buffer gives each record to one reader only: there must be
/// one.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    waiting: VecDeque<Bytes>,
    maps: Maps,
}

impl Events {
    /// Opens the ring buffer. Needs a tokio runtime with I/O enabled.
    pub fn open(maps: Maps) -> Result<Self, BpfError> {
        let path = maps.root.map(names::EVENTS);
        let what = || format!("open {}", path.display());
        let ring = MapData::from_pin(&path)
            .and_then(|map| RingBuf::try_from(Map::RingBuf(map)))
            .map_err(|cause| BpfError::map(what(), cause))?;
        // SAFETY: the ring buffer owns its descriptor, always answers with it, and is dropped
        // with the AsyncFd.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let ring = ring.map_err(|cause| BpfError::io(what(), cause.into()))?;
        Ok(Self {
            ring,
            waiting: VecDeque::new(),
            maps,
        })
    }

    /// The next mismatch. Cancelling loses none.
    pub async fn next(&mut self) -> Result<Mismatch, BpfError> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                match parse(&record) {
                    Some(event) => return self.describe(&event),
                    None => tracing::warn!(bytes = record.len(), "not an event: skipped"),
                }
                continue;
            }
            let failed = |cause: io::Error| BpfError::io("read events", cause);
            let mut ready = self.ring.readable_mut().await.map_err(failed)?;
            let ring = ready.get_inner_mut();
            while let Some(record) = ring.next() {
                self.waiting.push_back(Bytes::copy_from_slice(&record));
            }
            ready.clear_ready();
        }
    }

    fn describe(&self, event: &Event) -> Result<Mismatch, BpfError> {
        let rows = self.maps.eni_rows()?;
        let ifindex = |slot: u16| {
            let (_, row) = rows.iter().find(|(known, _)| *known == slot)?;
            IfIndex::new(row.home)
        };
        Ok(Mismatch {
            ifindex: ifindex(event.eni),
            owner_ifindex: ifindex(event.owner),
            ..mismatch(event)
        })
    }
}

fn mismatch(event: &Event) -> Mismatch {
    let family = convert::family_from(event.family).unwrap_or(eni_steer_common::Family::V6);
    let direction = if event.direction == Direction::Ingress as u8 {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    Mismatch {
        time: event.time,
        direction,
        eni: EniId(event.eni),
        ifindex: None,
        owner: EniId(event.owner),
        owner_ifindex: None,
        source: convert::ip(family, event.source),
        source_port: event.source_port,
        destination: convert::ip(family, event.destination),
        destination_port: event.destination_port,
        protocol: event.protocol,
        mark: event.mark,
        bytes: event.bytes,
        fate: match direction {
            Direction::Ingress => None,
            Direction::Egress => Fate::ALL
                .get(usize::from(event.fate))
                .map(|fate| fate.label()),
        },
    }
}

/// A record of the ring buffer as a mismatch, without the interfaces of its ENIs.
pub(crate) fn read(record: &[u8]) -> Option<Mismatch> {
    parse(record).map(|event| mismatch(&event))
}

/// A record of the ring buffer; `None` if it has not the size of one.
fn parse(record: &[u8]) -> Option<Event> {
    if record.len() != size_of::<Event>() {
        return None;
    }
    // SAFETY: the length is that of an Event, every bit pattern is a valid Event (it is Pod),
    // and the read is an unaligned one.
    Some(unsafe { std::ptr::read_unaligned(record.as_ptr().cast()) })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_record_of_the_right_size_is_an_event() {
        for length in 0..200 {
            assert_eq!(
                parse(&vec![0xff; length]).is_some(),
                length == 64,
                "{length}"
            );
        }
    }
}
