//! The counters at one moment, as values: without maps, CPUs or any I/O.
//!
//! What they promise (the maps behind them are described in `eni_steer_common`):
//!
//! - [`EniCounters::totals`] are exact: every packet that came in by the ENI or left by it.
//! - [`AddressCounters`]s are exact: one for each owned address (or delegated prefix), each ENI it was seen
//!   on, and each direction.
//! - [`Source`]s are a table of bounded size: entries can have been evicted.
//!
//! So for each ENI, direction and IP family,
//!
//! ```text
//! totals = listed sources + other
//! ```
//!
//! where the listed sources are
//!
//! - ingress: the entries of [`Snapshot::sources`];
//! - egress: those entries (sources without an exact owner), and the cells of owned addresses,
//!   of which the packets that left by this ENI (passed and exempt, not steered or dropped).
//!   A delegated prefix is no source: the addresses in it are in the table one by one.
//!
//! and *other* ([`Snapshot::other`]) is what no entry shows: evicted ones, and packets whose
//! IP header was cut off or wrong. For the class of everything that is not IP there are no
//! sources, so all of it is other.

pub mod describe;
mod since;

use std::{collections::BTreeMap, time::Duration};

use eni_steer_common::Class;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Direction, Family, IfIndex, Mac};

/// Packets and bytes as they are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count {
    /// Wire packets: a super-packet counts as its segments.
    pub packets: u64,
    /// Wire bytes, with Ethernet headers.
    pub bytes: u64,
}

/// An ENI in the tables. It stays the same when the ENI is unplugged and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EniId(pub u16);

/// Counts by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByClass {
    /// IPv4 without a VLAN tag.
    pub ipv4: Count,
    /// IPv6 without a VLAN tag.
    pub ipv6: Count,
    /// Everything else.
    pub other: Count,
}

/// Counts by direction and class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Came in.
    pub ingress: ByClass,
    /// Left. Not what was steered away or dropped.
    pub egress: ByClass,
}

/// One ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EniCounters {
    /// Its place in the tables, to which cells and sources refer.
    pub id: EniId,
    /// Its MAC address.
    pub mac: Mac,
    /// Its interface index; `None`: it is not under management now.
    pub ifindex: Option<IfIndex>,
    /// The name of the interface, if it is there.
    pub name: Option<String>,
    /// Exact totals.
    pub totals: Totals,
    /// Egress packets that did not simply leave by the owner of their source, by what became
    /// of them ([`eni_steer_common::Fate::label`]); those that are zero are left out.
    pub fates: BTreeMap<&'static str, Count>,
    /// What could not be written down ([`eni_steer_common::Loss::label`]); zeros left out.
    pub losses: BTreeMap<&'static str, u64>,
}

/// One owned address seen on one ENI in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressCounters {
    /// The address (a host prefix) or the delegated prefix.
    pub address: IpNet,
    /// The ENI that owned it when this was counted; `None`: two had it, so nobody.
    pub owner: Option<EniId>,
    /// The ENI it was seen on.
    pub eni: EniId,
    /// Which way.
    pub direction: Direction,
    /// Went its way by this ENI. On another ENI than the owner: the asymmetry.
    pub passed: Count,
    /// Redirected to the owner, where it is counted as passed.
    pub steered: Count,
    /// Dropped.
    pub dropped: Count,
    /// Went its way by the wrong ENI because the configuration or the protocol says so.
    pub exempt: Count,
    /// CLOCK_MONOTONIC nanoseconds of the first packet; `None` where it is not kept (on the
    /// owner, whose packets are too many to look at the clock).
    pub first_seen: Option<u64>,
    /// Likewise of the last packet.
    pub last_seen: Option<u64>,
}

/// One source on one ENI in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The source, or the prefix into which sources are folded.
    pub source: IpNet,
    /// The ENI it was seen on.
    pub eni: EniId,
    /// Which way.
    pub direction: Direction,
    /// What went its way by this ENI.
    pub count: Count,
    /// Of these, packets whose local address another ENI owns.
    pub mismatched: u64,
    /// CLOCK_MONOTONIC nanoseconds of the last packet.
    pub last_seen: u64,
}

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// CLOCK_MONOTONIC nanoseconds: the clock of `first_seen` and `last_seen`.
    pub monotonic: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// What one map costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapMemory {
    /// Its name.
    pub name: &'static str,
    /// Entries in use; `None` for arrays and rings, which are always whole. Of sources: those of
    /// all CPUs together, each of which has entries of its own.
    pub entries: Option<u32>,
    /// Entries it can hold (of a ring: bytes).
    pub capacity: u32,
    /// Bytes it takes now, an estimate.
    pub bytes: u64,
    /// Bytes it can grow to, an estimate.
    pub bytes_at_most: u64,
}

/// All counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// When they were read.
    pub taken_at: Timestamp,
    /// Since when they count: of a difference, the earlier moment; else `None`: since attach.
    pub since: Option<Timestamp>,
    /// ENIs that are or were under management.
    pub enis: Vec<EniCounters>,
    /// Owned addresses by ENI and direction; only where something was counted.
    pub cells: Vec<AddressCounters>,
    /// Sources by ENI and direction.
    pub sources: Vec<Source>,
    /// What the maps take.
    pub maps: Vec<MapMemory>,
}

impl Count {
    /// Adds.
    #[must_use]
    pub fn wrapping_add(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    /// Subtracts, not below zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Nothing was counted.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl From<eni_steer_common::Count> for Count {
    fn from(count: eni_steer_common::Count) -> Self {
        Self {
            packets: count.packets,
            bytes: count.bytes,
        }
    }
}

impl ByClass {
    /// The count of a class.
    pub fn get(&self, class: Class) -> Count {
        match class {
            Class::Ipv4 => self.ipv4,
            Class::Ipv6 => self.ipv6,
            Class::Other => self.other,
        }
    }

    /// All classes together.
    pub fn sum(&self) -> Count {
        self.ipv4.wrapping_add(self.ipv6).wrapping_add(self.other)
    }
}

impl Totals {
    /// The counts of a direction.
    pub fn get(&self, direction: Direction) -> &ByClass {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl Timestamp {
    /// How long before this moment a CLOCK_MONOTONIC time was.
    pub fn age(&self, monotonic: u64) -> Duration {
        Duration::from_nanos(self.monotonic.saturating_sub(monotonic))
    }
}

impl AddressCounters {
    /// What left by this ENI, or came in by it.
    pub fn went(&self) -> Count {
        self.passed.wrapping_add(self.exempt)
    }

    /// Whether the ENI it was seen on is its owner.
    pub fn is_home(&self) -> bool {
        self.owner == Some(self.eni)
    }

    /// An address rather than a prefix.
    pub fn is_address(&self) -> bool {
        self.address.prefix_len() == self.address.max_prefix_len()
    }
}

impl Snapshot {
    /// The counters of an ENI.
    pub fn eni(&self, id: EniId) -> Option<&EniCounters> {
        self.enis.iter().find(|eni| eni.id == id)
    }

    /// The counters of an interface.
    pub fn interface(&self, ifindex: IfIndex) -> Option<&EniCounters> {
        self.enis.iter().find(|eni| eni.ifindex == Some(ifindex))
    }

    /// What the listed sources of an ENI account for (see the module).
    pub fn listed(&self, eni: EniId, direction: Direction, class: Class) -> Count {
        let family = match class {
            Class::Ipv4 => Family::V4,
            Class::Ipv6 => Family::V6,
            Class::Other => return Count::default(),
        };
        let sources = self
            .sources
            .iter()
            .filter(|source| source.eni == eni && source.direction == direction)
            .filter(|source| Family::of_net(source.source) == family)
            .map(|source| source.count);
        let cells = self
            .cells
            .iter()
            .filter(|_| direction == Direction::Egress)
            .filter(|cell| cell.eni == eni && cell.direction == direction && cell.is_address())
            .filter(|cell| Family::of_net(cell.address) == family)
            .map(AddressCounters::went);
        sources
            .chain(cells)
            .fold(Count::default(), Count::wrapping_add)
    }

    /// What no listed source accounts for; `None` for an ENI that is not there.
    pub fn other(&self, eni: EniId, direction: Direction, class: Class) -> Option<Count> {
        let total = self.eni(eni)?.totals.get(direction).get(class);
        Some(total.saturating_sub(self.listed(eni, direction, class)))
    }
}
