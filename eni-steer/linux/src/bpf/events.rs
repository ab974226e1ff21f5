//! Reads mismatches one by one, as the programs report them.

use std::{collections::VecDeque, io, net::IpAddr};

use aya::maps::{Map, MapData, RingBuf};
use bytes::Bytes;
use eni_steer_common::{Direction, Event, Fate, names};
use serde::Serialize;
use tokio::io::{Interest, unix::AsyncFd};

use super::{convert, error::BpfError, handles::Maps, values::read_pod};
use eni_steer_core::{counters::EniId, model::IfIndex};

/// A packet whose local address belongs to another ENI. The programs report only a sample of such
/// packets; the counters contain all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// When the program saw the packet, in nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Whether the packet arrived or was about to leave.
    pub direction: Direction,
    /// The ENI on which the program saw the packet.
    pub eni: EniId,
    /// Interface index of that ENI, if the ENI still exists.
    pub ifindex: Option<IfIndex>,
    /// The ENI that owns the packet's local address.
    pub owner: EniId,
    /// Interface index of the owning ENI, if it still exists.
    pub owner_ifindex: Option<IfIndex>,
    /// Source address of the packet.
    pub source: IpAddr,
    /// Source port; 0 if the packet has none or the program could not read it.
    pub source_port: u16,
    /// Destination address of the packet.
    pub destination: IpAddr,
    /// Destination port; 0 if the packet has none or the program could not read it.
    pub destination_port: u16,
    /// IP protocol number, for example 6 for TCP.
    pub protocol: u8,
    /// The packet's mark (`skb->mark`, set by netfilter or `SO_MARK`).
    pub mark: u32,
    /// Size of the packet on the wire, in bytes.
    pub bytes: u32,
    /// What the program did with the packet, on egress only: see [`eni_steer_common::Fate::label`].
    pub fate: Option<&'static str>,
}

/// A stream of mismatches. A ring buffer delivers each record to one reader only, so no other
/// process may read it at the same time.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    /// Records that were read from the ring buffer and not yet returned.
    waiting: VecDeque<Bytes>,
    maps: Maps,
}

impl Events {
    /// Opens the ring buffer. Needs a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// The ring buffer is not pinned, or a privilege is missing.
    pub fn open(maps: Maps) -> Result<Self, BpfError> {
        let path = maps.root.map(names::EVENTS);
        let what = || format!("open {}", path.display());
        let ring = MapData::from_pin(maps.directory.entry(names::EVENTS))
            .and_then(|map| RingBuf::try_from(Map::RingBuf(map)))
            .map_err(|cause| BpfError::map(what(), cause))?;
        // SAFETY: the ring buffer owns its descriptor, always returns the same one, and is dropped
        // together with the AsyncFd.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let ring = ring.map_err(|cause| BpfError::io(what(), cause.into()))?;
        Ok(Self {
            ring,
            waiting: VecDeque::new(),
            maps,
        })
    }

    /// Waits for the next mismatch. Cancelling the call loses none.
    ///
    /// # Errors
    /// The ring buffer or the rows of ENIs cannot be read.
    pub async fn next(&mut self) -> Result<Mismatch, BpfError> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                match parse(&record) {
                    Some(event) => return self.describe(&event),
                    None => {
                        tracing::warn!(bytes = record.len(), "skipped a record of unexpected size");
                    }
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

    /// Adds the interfaces of the ENIs to an event.
    fn describe(&self, event: &Event) -> Result<Mismatch, BpfError> {
        let rows = self.maps.eni_rows()?;
        let ifindex = |slot: u16| {
            let (_, row) = rows.iter().find(|(this, _)| *this == slot)?;
            IfIndex::new(row.home)
        };
        Ok(Mismatch {
            ifindex: ifindex(event.eni),
            owner_ifindex: ifindex(event.owner),
            ..mismatch(event)
        })
    }
}

/// Converts an event, without the interfaces of its ENIs.
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

/// Decodes a record of the ring buffer, without the interfaces of its ENIs: the entry point of the
/// fuzzer.
pub(crate) fn decode(record: &[u8]) -> Option<Mismatch> {
    parse(record).map(|event| mismatch(&event))
}

/// Decodes a record of the ring buffer; `None` if it does not have the size of an event.
fn parse(record: &[u8]) -> Option<Event> {
    if record.len() == size_of::<Event>() {
        read_pod(record)
    } else {
        None
    }
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
