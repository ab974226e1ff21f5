//! Whether traffic is symmetric: a verdict on each owned address, from the counters of a window or
//! from all counters since the programs were attached.
//!
//! For example, 172.16.20.177 belongs to eth1. If its packets came in by eth1 and left by eth1, its
//! traffic is symmetric; if one of them left by eth0, it is asymmetric. An address without packets
//! is never called symmetric.

use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    counters::{AddressCounters, Count, EniId, Snapshot},
    model::Direction,
};

/// Whether the traffic of one address is symmetric. The variants run from good to bad, except for
/// `NoTraffic`, which says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There were no packets, so there is nothing to judge.
    NoTraffic,
    /// All packets came in and left by the owner.
    Symmetric,
    /// Two ENIs have the address, so it has no owner that packets should use.
    NoOwner,
    /// At least one packet came in or left by another ENI than the owner.
    Asymmetric,
}

/// The packets of an address on one ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// Name of the ENI.
    pub eni: String,
    /// Packets that came in by the ENI.
    pub ingress: Count,
    /// Packets that left by the ENI.
    pub egress: Count,
    /// Packets that were about to leave by the ENI and were redirected to the owner.
    pub steered: Count,
    /// Packets that were about to leave by the ENI and were dropped.
    pub dropped: Count,
    /// Packets that left by the ENI because they are exempt; `egress` includes them.
    pub exempt: Count,
}

/// The verdict on one address, with the counts that it is based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressVerdict {
    /// The address (as a /32 or /128 prefix) or the delegated prefix.
    pub address: IpNet,
    /// Name of the owner; `None`: the address has no owner.
    pub owner: Option<String>,
    /// Whether the traffic of the address is symmetric.
    pub verdict: Verdict,
    /// Packets of the address by ENI, the owner first.
    pub seen: Vec<Sighting>,
    /// Packets that came in by another ENI than the owner.
    pub stray_ingress: u64,
    /// Packets that left by another ENI than the owner.
    pub stray_egress: u64,
    /// Age of the first stray packet (one on another ENI than the owner) when the counters were
    /// read; `None`: there was none.
    pub first_stray: Option<Duration>,
    /// Age of the last stray packet; `None`: there was none.
    pub last_stray: Option<Duration>,
}

/// The verdicts on all owned addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct TrafficVerdict {
    /// Length of the window; `None`: the counters count since the programs were attached.
    pub window: Option<Duration>,
    /// One verdict for each address.
    pub addresses: Vec<AddressVerdict>,
}

impl TrafficVerdict {
    /// The worst of all verdicts; [`Verdict::NoTraffic`] if there are no addresses.
    pub fn worst(&self) -> Verdict {
        self.addresses
            .iter()
            .map(|address| address.verdict)
            .max()
            .unwrap_or(Verdict::NoTraffic)
    }
}

/// Judges the counters. `owners` lists each address with the ENI that should own it.
pub(crate) fn judge(counters: &Snapshot, owners: &[(IpNet, Option<EniId>)]) -> TrafficVerdict {
    let addresses = owners
        .iter()
        .map(|(address, owner)| judge_address(counters, *address, *owner))
        .collect();
    let window = counters.since.map(|since| {
        Duration::from_nanos(counters.taken_at.monotonic.saturating_sub(since.monotonic))
    });
    TrafficVerdict { window, addresses }
}

fn judge_address(counters: &Snapshot, address: IpNet, owner: Option<EniId>) -> AddressVerdict {
    let cells: Vec<&AddressCounters> = counters
        .cells
        .iter()
        .filter(|cell| cell.address == address)
        .collect();
    let mut sightings: Vec<(EniId, Sighting)> = Vec::new();
    for cell in &cells {
        let known = sightings.iter().position(|(eni, _)| *eni == cell.eni);
        let at = known.unwrap_or_else(|| {
            sightings.push((cell.eni, Sighting::empty(name(counters, cell.eni))));
            sightings.len() - 1
        });
        sightings[at].1.add(cell);
    }
    sightings.sort_by_key(|(eni, _)| (Some(*eni) != owner, *eni));
    let strays = |direction: Direction| -> u64 {
        cells
            .iter()
            .filter(|cell| cell.direction == direction && owner.is_some_and(|o| o != cell.eni))
            .map(|cell| cell.passed.packets)
            .sum()
    };
    let (stray_ingress, stray_egress) = (strays(Direction::Ingress), strays(Direction::Egress));
    let stray_cells = || {
        cells
            .iter()
            .filter(|cell| owner.is_some_and(|o| o != cell.eni) && !cell.passed.is_zero())
    };
    let age = |at: u64| counters.taken_at.age(at);
    let verdict = if owner.is_none() {
        Verdict::NoOwner
    } else if stray_ingress + stray_egress > 0 {
        Verdict::Asymmetric
    } else if sightings.iter().all(|(_, sighting)| sighting.is_silent()) {
        Verdict::NoTraffic
    } else {
        Verdict::Symmetric
    };
    AddressVerdict {
        address,
        owner: owner.map(|eni| name(counters, eni)),
        verdict,
        seen: sightings
            .into_iter()
            .map(|(_, sighting)| sighting)
            .collect(),
        stray_ingress,
        stray_egress,
        first_stray: stray_cells()
            .filter_map(|cell| cell.first_seen)
            .min()
            .map(age),
        last_stray: stray_cells()
            .filter_map(|cell| cell.last_seen)
            .max()
            .map(age),
    }
}

/// Name of an ENI for people; its MAC address if the interface is gone.
fn name(counters: &Snapshot, id: EniId) -> String {
    counters
        .eni(id)
        .map(|eni| eni.name.clone().unwrap_or_else(|| eni.mac.to_string()))
        .unwrap_or_else(|| format!("eni {}", id.0))
}

impl Sighting {
    fn empty(eni: String) -> Self {
        let zero = Count::default();
        Self {
            eni,
            ingress: zero,
            egress: zero,
            steered: zero,
            dropped: zero,
            exempt: zero,
        }
    }

    fn add(&mut self, cell: &AddressCounters) {
        match cell.direction {
            Direction::Ingress => self.ingress = self.ingress.wrapping_add(cell.went()),
            Direction::Egress => {
                self.egress = self.egress.wrapping_add(cell.went());
                self.steered = self.steered.wrapping_add(cell.steered);
                self.dropped = self.dropped.wrapping_add(cell.dropped);
                self.exempt = self.exempt.wrapping_add(cell.exempt);
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.ingress.is_zero()
            && self.egress.is_zero()
            && self.steered.is_zero()
            && self.dropped.is_zero()
    }
}
