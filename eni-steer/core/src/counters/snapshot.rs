//! The types of a snapshot, and how its numbers add up.

use std::{collections::BTreeMap, time::Duration};

use eni_steer_common::{Class, Fate, Loss};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Direction, Family, IfIndex, Mac};

/// The name of a counter or a map. An alias, because serde would have a reference borrow from what
/// it reads.
type Label = &'static str;

/// Packets and bytes as they are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count {
    /// Packets on the wire: a super-packet counts as the segments it is cut into.
    pub packets: u64,
    /// Bytes on the wire, with Ethernet headers.
    pub bytes: u64,
}

/// Identifier of an ENI in the counters. An ENI that is unplugged and comes back keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EniId(pub u16);

/// Counts by class of packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByClass {
    /// IPv4 packets without a VLAN tag.
    pub ipv4: Count,
    /// IPv6 packets without a VLAN tag.
    pub ipv6: Count,
    /// All other packets: not IP, or with a VLAN tag.
    pub other: Count,
}

/// Counts of an ENI by direction and class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Packets that came in by the ENI.
    pub ingress: ByClass,
    /// Packets that left by the ENI, without those that were steered away or dropped.
    pub egress: ByClass,
}

/// The counters of one ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniCounters {
    /// Identifier by which cells and sources refer to the ENI.
    pub id: EniId,
    /// MAC address of the ENI.
    pub mac: Mac,
    /// Interface index; `None`: eni-steer does not manage the ENI now.
    pub ifindex: Option<IfIndex>,
    /// Name of the interface; `None`: the interface is gone.
    pub name: Option<String>,
    /// Every packet of the ENI, exactly.
    pub totals: Totals,
    /// Packets that did not simply leave by the owner of their source, by fate
    /// ([`eni_steer_common::Fate::label`]). Fates that no packet had are left out.
    #[serde(deserialize_with = "labelled")]
    pub fates: BTreeMap<Label, Count>,
    /// What the programs could not record, by kind ([`eni_steer_common::Loss::label`]). Kinds that
    /// did not occur are left out.
    #[serde(deserialize_with = "labelled")]
    pub losses: BTreeMap<Label, u64>,
}

/// A cell of the symmetry matrix: the packets of one owned address on one ENI in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressCounters {
    /// The address (as a /32 or /128 prefix) or the delegated prefix.
    pub address: IpNet,
    /// ENI that owned the address when the packets were counted; `None`: two ENIs had it.
    pub owner: Option<EniId>,
    /// ENI that the packets came in or left by.
    pub eni: EniId,
    /// Ingress: the address was the destination. Egress: it was the source.
    pub direction: Direction,
    /// Packets that came in or left by this ENI. If the ENI is not the owner, the traffic of the
    /// address is asymmetric.
    pub passed: Count,
    /// Packets redirected to the owner, where they count as passed.
    pub steered: Count,
    /// Packets dropped because the mode is `drop`.
    pub dropped: Count,
    /// Packets that left by the wrong ENI because the configuration exempts them, or because their
    /// destination is link-local, multicast or broadcast.
    pub exempt: Count,
    /// CLOCK_MONOTONIC nanoseconds of the first packet; `None` on the owner, where reading the
    /// clock for every packet would cost too much.
    pub first_seen: Option<u64>,
    /// CLOCK_MONOTONIC nanoseconds of the last packet; `None` on the owner.
    pub last_seen: Option<u64>,
}

/// The packets of one source on one ENI in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The source address, or the prefix that stands for all its addresses.
    pub source: IpNet,
    /// ENI that the packets came in or left by.
    pub eni: EniId,
    /// Ingress or egress.
    pub direction: Direction,
    /// Packets that came in or left by this ENI.
    pub count: Count,
    /// How many of these packets had a local address that another ENI owns.
    pub mismatched: u64,
    /// CLOCK_MONOTONIC nanoseconds of the last packet.
    pub last_seen: u64,
}

/// A moment, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// CLOCK_MONOTONIC nanoseconds: the clock of `first_seen` and `last_seen`.
    pub monotonic: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// The memory of one map of the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapMemory {
    /// Name of the map.
    #[serde(deserialize_with = "label")]
    pub name: Label,
    /// Entries in use; `None` for arrays and ring buffers, which the kernel allocates completely.
    /// For sources, the sum over all CPUs, each of which has its own entries.
    pub entries: Option<u32>,
    /// Entries that the map can hold; for a ring buffer, bytes.
    pub capacity: u32,
    /// Estimate of the bytes that it uses now.
    pub bytes: u64,
    /// Estimate of the bytes that it can grow to.
    pub bytes_at_most: u64,
}

/// All counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When eni-steer read the counters.
    pub taken_at: Timestamp,
    /// Beginning of the window, if this is the difference of two snapshots; `None`: the counters
    /// count since the programs were attached.
    pub since: Option<Timestamp>,
    /// ENIs that eni-steer manages or has managed.
    pub enis: Vec<EniCounters>,
    /// Cells of owned addresses, by address, ENI and direction. Cells without packets are left out.
    pub cells: Vec<AddressCounters>,
    /// Sources, by address, ENI and direction.
    pub sources: Vec<Source>,
    /// Memory of the maps.
    pub maps: Vec<MapMemory>,
}

/// Reads a map whose keys are labels of this version; labels of other versions are read too.
fn labelled<'de, D, V>(d: D) -> Result<BTreeMap<&'static str, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let read = BTreeMap::<String, V>::deserialize(d)?;
    Ok(read
        .into_iter()
        .map(|(label, value)| (intern(label), value))
        .collect())
}

/// Reads a label, for example the name of a map.
fn label<'de, D: Deserializer<'de>>(d: D) -> Result<&'static str, D::Error> {
    Ok(intern(String::deserialize(d)?))
}

/// A label that lives as long as the process. A report file has a few dozen, and the process reads
/// one file.
fn intern(label: String) -> &'static str {
    let fates = Fate::ALL.iter().map(|fate| fate.label());
    let losses = Loss::ALL.iter().map(|loss| loss.label());
    let known = fates.chain(losses).find(|known| *known == label);
    known.unwrap_or_else(|| label.leak())
}

impl Count {
    /// The sum; it wraps on overflow, as the kernel's counters do.
    #[must_use]
    pub fn wrapping_add(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    /// The difference, but not less than zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Whether nothing was counted.
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
    /// The count of one class.
    pub fn get(&self, class: Class) -> Count {
        match class {
            Class::Ipv4 => self.ipv4,
            Class::Ipv6 => self.ipv6,
            Class::Other => self.other,
        }
    }

    /// The sum of all classes.
    pub fn sum(&self) -> Count {
        self.ipv4.wrapping_add(self.ipv6).wrapping_add(self.other)
    }
}

impl Totals {
    /// The counts of one direction.
    pub fn get(&self, direction: Direction) -> &ByClass {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl Timestamp {
    /// Time from a CLOCK_MONOTONIC time to this moment.
    pub(crate) fn age(&self, monotonic: u64) -> Duration {
        Duration::from_nanos(self.monotonic.saturating_sub(monotonic))
    }
}

impl AddressCounters {
    /// Packets that came in or left by this ENI, exempt ones included.
    pub fn went(&self) -> Count {
        self.passed.wrapping_add(self.exempt)
    }

    /// Whether the ENI owns the address.
    pub fn is_home(&self) -> bool {
        self.owner == Some(self.eni)
    }

    /// Whether the cell counts a single address rather than a delegated prefix.
    pub fn is_address(&self) -> bool {
        self.address.prefix_len() == self.address.max_prefix_len()
    }
}

impl Snapshot {
    /// The counters of the ENI with this identifier.
    pub fn eni(&self, id: EniId) -> Option<&EniCounters> {
        self.enis.iter().find(|eni| eni.id == id)
    }

    /// The counters of the ENI with this interface index.
    pub fn interface(&self, ifindex: IfIndex) -> Option<&EniCounters> {
        self.enis.iter().find(|eni| eni.ifindex == Some(ifindex))
    }

    /// The packets of an ENI that its listed sources account for (see the module).
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

    /// The packets of an ENI that no listed source accounts for; `None`: there is no such ENI.
    pub fn other(&self, eni: EniId, direction: Direction, class: Class) -> Option<Count> {
        let total = self.eni(eni)?.totals.get(direction).get(class);
        Some(total.saturating_sub(self.listed(eni, direction, class)))
    }
}
