//! Does traffic agree? A verdict for each owned address, from the counters of a window or
//! of all time since the programs were attached. Silence is never shown as success.

use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    counters::{AddressCounters, Count, EniId, Snapshot},
    model::Direction,
};

/// The verdict on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing was seen: nothing can be said.
    NoTraffic,
    /// Everything that was seen came in and left by the owner.
    Symmetric,
    /// Two ENIs have the address: there is no owner to agree with.
    NoOwner,
    /// Something came in or left by another ENI.
    Asymmetric,
}

/// What one ENI saw of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The ENI's name.
    pub eni: String,
    /// Came in by it.
    pub ingress: Count,
    /// Left by it.
    pub egress: Count,
    /// Was about to leave by it and was redirected to the owner.
    pub steered: Count,
    /// Was about to leave by it and was dropped.
    pub dropped: Count,
    /// Left by it because the configuration or the protocol says so.
    pub exempt: Count,
}

/// The verdict on one address, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressVerdict {
    /// The address or delegated prefix.
    pub address: IpNet,
    /// Name of its owner.
    pub owner: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// ENI by ENI, the owner first.
    pub seen: Vec<Sighting>,
    /// Packets that came in by another ENI.
    pub stray_ingress: u64,
    /// Packets that left by another ENI.
    pub stray_egress: u64,
    /// How long before the counters were read the first stray packet was seen.
    pub first_stray: Option<Duration>,
    /// Likewise the last one.
    pub last_stray: Option<Duration>,
}

/// All addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct TrafficVerdict {
    /// Length of the window; `None`: since the programs were attached.
    pub window: Option<Duration>,
    /// Address by address.
    pub addresses: Vec<AddressVerdict>,
}

impl TrafficVerdict {
    /// The worst verdict there is; no traffic if there are no addresses.
    pub fn worst(&self) -> Verdict {
        self.addresses
            .iter()
            .map(|address| address.verdict)
            .max()
            .unwrap_or(Verdict::NoTraffic)
    }
}

/// Judges the counters for the addresses that should be owned, and by whom.
pub fn judge(counters: &Snapshot, owners: &[(IpNet, Option<EniId>)]) -> TrafficVerdict {
    let addresses = owners
        .iter()
        .map(|(address, owner)| one(counters, *address, *owner))
        .collect();
    let window = counters.since.map(|since| {
        Duration::from_nanos(counters.taken_at.monotonic.saturating_sub(since.monotonic))
    });
    TrafficVerdict { window, addresses }
}

fn one(counters: &Snapshot, address: IpNet, owner: Option<EniId>) -> AddressVerdict {
    let cells: Vec<&AddressCounters> = counters
        .cells
        .iter()
        .filter(|cell| cell.address == address)
        .collect();
    let mut seen: Vec<(EniId, Sighting)> = Vec::new();
    for cell in &cells {
        let at = seen.iter().position(|(eni, _)| *eni == cell.eni);
        let at = at.unwrap_or_else(|| {
            seen.push((cell.eni, Sighting::blank(name(counters, cell.eni))));
            seen.len() - 1
        });
        seen[at].1.add(cell);
    }
    seen.sort_by_key(|(eni, _)| (Some(*eni) != owner, *eni));
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
    } else if seen.iter().all(|(_, sighting)| sighting.is_silent()) {
        Verdict::NoTraffic
    } else {
        Verdict::Symmetric
    };
    AddressVerdict {
        address,
        owner: owner.map(|eni| name(counters, eni)),
        verdict,
        seen: seen.into_iter().map(|(_, sighting)| sighting).collect(),
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

fn name(counters: &Snapshot, id: EniId) -> String {
    counters
        .eni(id)
        .map(|eni| eni.name.clone().unwrap_or_else(|| eni.mac.to_string()))
        .unwrap_or_else(|| format!("eni {}", id.0))
}

impl Sighting {
    fn blank(eni: String) -> Self {
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
