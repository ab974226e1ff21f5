//! From counters to verdicts.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AddressVerdict, Sighting, Strays, TrafficVerdict, Verdict};
use crate::{
    counters::{AddressCounters, EniId, Snapshot},
    model::{Direction, Family},
};

/// Packets that must have come in for "no replies": a stray packet or two that deserve no answer
/// (a late FIN, a scan) are no verdict.
const UNANSWERED: u64 = 3;
/// A packet that came in this long after the last stray one shows that the stray ones are over:
/// an answer by the wrong ENI would have followed it at once. Two ticks of the slowest coarse clock
/// (CONFIG_HZ=100) tell the two times apart.
const OVER: Duration = Duration::from_millis(20);

/// What the counters of a verdict were compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// A window that began when the command did.
    Window,
    /// The time since the policy, the owners or the routing last changed.
    Epoch,
    /// The time since the programs were attached: no later change is known.
    Attached,
}

/// An address to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The address, or a delegated prefix.
    pub address: IpNet,
    /// Its owner.
    pub owner: OwnerOf,
    /// Why the programs do not see all of its packets, if they do not.
    pub blind: Option<String>,
    /// Whether the kernel routes packets of this address by the owner now. Stray packets that are
    /// over can then be called history.
    pub routed_right: bool,
}

/// The owner of an address, as the counters know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerOf {
    /// This ENI.
    Eni(EniId),
    /// An ENI that the counters do not know: no program counts there.
    Uncounted,
    /// Two ENIs have the address.
    Nobody,
}

impl OwnerOf {
    fn counted(self) -> Option<EniId> {
        match self {
            Self::Eni(eni) => Some(eni),
            Self::Uncounted | Self::Nobody => None,
        }
    }
}

/// Judges the counters of a period. `all`: the counters since the programs were attached, for
/// history and times; `counted`: those of the period.
pub fn judge(
    all: &Snapshot,
    counted: &Snapshot,
    period: Period,
    owned: &[Owned],
) -> TrafficVerdict {
    let cells = by_address(&counted.cells);
    let before = by_address(&all.cells);
    let last_ingress = last_ingress(all);
    let none = Vec::new();
    let length = counted.since.map(|since| {
        Duration::from_nanos(counted.taken_at.monotonic.saturating_sub(since.monotonic))
    });
    let mut addresses: Vec<AddressVerdict> = owned
        .iter()
        .map(|owned| {
            let judged = Judged {
                all,
                length,
                owned,
                cells: cells.get(&owned.address).unwrap_or(&none),
                before: before.get(&owned.address).unwrap_or(&none),
                last_ingress: owned
                    .owner
                    .counted()
                    .and_then(|eni| last_ingress.get(&eni).copied()),
                alone: owned
                    .owner
                    .counted()
                    .is_some_and(|eni| is_alone(eni, all, &before)),
            };
            judged.verdict()
        })
        .collect();
    pair_wrong_sources(&mut addresses);
    TrafficVerdict {
        period,
        length,
        addresses,
    }
}

fn by_address(cells: &[AddressCounters]) -> BTreeMap<IpNet, Vec<&AddressCounters>> {
    let mut found: BTreeMap<IpNet, Vec<&AddressCounters>> = BTreeMap::new();
    for cell in cells {
        found.entry(cell.address).or_default().push(cell);
    }
    found
}

/// When a packet last came in by each ENI.
fn last_ingress(all: &Snapshot) -> BTreeMap<EniId, u64> {
    let mut last: BTreeMap<EniId, u64> = BTreeMap::new();
    for source in &all.sources {
        if source.direction == Direction::Ingress {
            let at = last.entry(source.eni).or_default();
            *at = source.last_seen.max(*at);
        }
    }
    last
}

/// Whether packets came in by an ENI for one address only: what came in last was for it.
fn is_alone(eni: EniId, all: &Snapshot, cells: &BTreeMap<IpNet, Vec<&AddressCounters>>) -> bool {
    let came_in = |cell: &&&AddressCounters| {
        cell.eni == eni && cell.direction == Direction::Ingress && !cell.went().is_zero()
    };
    let addresses = cells
        .values()
        .filter(|cells| cells.iter().any(|cell| came_in(&cell)));
    all.eni(eni).is_some() && addresses.count() == 1
}

/// One address, and what there is to judge it by.
struct Judged<'a> {
    all: &'a Snapshot,
    /// Length of the period; `None`: it began with the counters.
    length: Option<Duration>,
    owned: &'a Owned,
    /// Its counters in the period.
    cells: &'a [&'a AddressCounters],
    /// Its counters since the programs were attached.
    before: &'a [&'a AddressCounters],
    /// When a packet last came in by the owner.
    last_ingress: Option<u64>,
    /// Whether that packet was for this address.
    alone: bool,
}

impl Judged<'_> {
    fn verdict(&self) -> AddressVerdict {
        let Owned { address, blind, .. } = self.owned;
        let owner = self.owned.owner.counted();
        let seen = self.sightings();
        let mut strays = self.strays(self.cells);
        let mut history = self.strays(self.before);
        // History is what is not of the period.
        history.ingress -= strays.ingress.min(history.ingress);
        history.egress -= strays.egress.min(history.egress);
        // The programs keep the times of the first and the last one of all.
        let in_period = |age: &Duration| self.length.is_none_or(|length| *age <= length);
        strays.first = strays.first.filter(in_period);
        history.last = history.last.filter(|age| !in_period(age));
        let mut why = String::new();
        let over = strays.packets() > 0 && self.is_over(&strays);
        if over {
            history = self.strays(self.before);
            strays = Strays::default();
        }
        let sum = |of: fn(&Sighting) -> u64| seen.iter().map(of).sum::<u64>();
        let came_in = sum(|eni| eni.ingress.packets);
        let left = sum(|eni| eni.egress.packets);
        let steered = sum(|eni| eni.steered.packets);
        let dropped = sum(|eni| eni.dropped.packets);
        let at_owner = owner
            .and_then(|owner| seen.iter().find(|eni| eni.eni == name(self.all, owner)))
            .map_or(0, |eni| eni.egress.packets);
        // The counters of two ENIs are not read at the same instant: a few do not count.
        let unsent = steered.saturating_sub(at_owner);
        let verdict = if self.owned.owner == OwnerOf::Nobody {
            Verdict::NoOwner
        } else if strays.packets() > 0 {
            Verdict::Asymmetric
        } else if dropped > 0 {
            why = format!("{dropped} dropped on another ENI");
            Verdict::Dropped
        } else if unsent >= UNANSWERED && unsent > steered / 16 {
            why = format!(
                "{unsent} of {steered} redirected packets never left by the owner: its next hop \
                 does not answer"
            );
            Verdict::Unsent
        } else if came_in >= UNANSWERED && left == 0 {
            why = format!("{came_in} came in, none left");
            Verdict::NoReplies
        } else if steered > 0 {
            why = format!("{steered} redirected to the owner: the rules do not bring them there");
            Verdict::Steered
        } else if let Some(blind) = blind {
            why.clone_from(blind);
            Verdict::NotMeasured
        } else if came_in + left == 0 {
            Verdict::NoTraffic
        } else if over && !self.alone {
            why = "no packet of this address is known to have come since the last wrong one"
                .to_owned();
            Verdict::NoTraffic
        } else {
            Verdict::Symmetric
        };
        AddressVerdict {
            address: *address,
            owner: owner.map(|eni| name(self.all, eni)),
            verdict,
            why,
            seen,
            strays,
            history,
        }
    }

    /// Whether stray packets are over: the kernel routes by the owner now, packets left by the
    /// owner, and a packet came in by the owner after the last stray one, whose answer was not
    /// stray. A later packet alone shows nothing: it may need no answer, as a reset does.
    fn is_over(&self, strays: &Strays) -> bool {
        let Some(last) = strays.last else {
            return false;
        };
        let since_ingress = self.last_ingress.map(|at| self.all.taken_at.age(at));
        let owner = self.owned.owner.counted();
        let mut left = self
            .cells
            .iter()
            .filter(|cell| Some(cell.eni) == owner && cell.direction == Direction::Egress);
        self.owned.routed_right
            && left.any(|cell| !cell.passed.is_zero())
            && since_ingress.is_some_and(|since| since + OVER <= last)
    }

    fn sightings(&self) -> Vec<Sighting> {
        let mut seen: Vec<(EniId, Sighting)> = Vec::new();
        for cell in self.cells {
            let at = seen.iter().position(|(eni, _)| *eni == cell.eni);
            let at = at.unwrap_or_else(|| {
                let blank = Sighting::blank(name(self.all, cell.eni));
                seen.push((cell.eni, blank));
                seen.len() - 1
            });
            seen[at].1.add(cell);
        }
        seen.sort_by_key(|(eni, _)| (Some(*eni) != self.owned.owner.counted(), *eni));
        seen.into_iter().map(|(_, sighting)| sighting).collect()
    }

    /// Packets by other ENIs than the owner of now. Those that were counted while another ENI
    /// owned the address, and came by that one, were right at their time.
    fn strays(&self, cells: &[&AddressCounters]) -> Strays {
        let Some(owner) = self.owned.owner.counted() else {
            return Strays::default();
        };
        let stray = cells.iter().filter(|cell| {
            cell.eni != owner && cell.owner != Some(cell.eni) && !cell.passed.is_zero()
        });
        let mut strays = Strays::default();
        for cell in stray {
            match cell.direction {
                Direction::Ingress => strays.ingress += cell.passed.packets,
                Direction::Egress => strays.egress += cell.passed.packets,
            }
            let age = |at: Option<u64>| at.map(|at| self.all.taken_at.age(at));
            let (first, last) = (age(cell.first_seen), age(cell.last_seen));
            strays.first = strays.first.max(first);
            strays.last = match (strays.last, last) {
                (Some(known), Some(last)) => Some(known.min(last)),
                (known, last) => known.or(last),
            };
        }
        strays
    }
}

/// A UDP server on a wildcard socket answers from the address that the route of the moment
/// suggests: one address is asked and never answers, another one answers and is never asked. Both
/// get the verdict.
fn pair_wrong_sources(addresses: &mut [AddressVerdict]) {
    let sums = |address: &AddressVerdict| {
        let sum = |of: fn(&Sighting) -> u64| address.seen.iter().map(of).sum::<u64>();
        (
            sum(|eni| eni.ingress.packets),
            sum(|eni| eni.egress.packets),
        )
    };
    let family = |address: &AddressVerdict| Family::of_net(address.address);
    for asked in 0..addresses.len() {
        if addresses[asked].verdict != Verdict::NoReplies {
            continue;
        }
        let (came_in, _) = sums(&addresses[asked]);
        // It answered about as often as the other one was asked.
        let answers = |address: &AddressVerdict| {
            let (came_in_there, left) = sums(address);
            came_in_there == 0 && left >= came_in.div_ceil(2) && left <= came_in.saturating_mul(2)
        };
        let found = (0..addresses.len()).find(|other| {
            *other != asked
                && family(&addresses[*other]) == family(&addresses[asked])
                && answers(&addresses[*other])
        });
        let Some(answering) = found else { continue };
        let (asked_at, answered_from) = (
            addresses[asked].address.addr(),
            addresses[answering].address.addr(),
        );
        addresses[asked].verdict = Verdict::WrongSource;
        addresses[asked].why = format!("asked at {asked_at}, answered from {answered_from}");
        let other = &mut addresses[answering];
        other.verdict = other.verdict.max(Verdict::WrongSource);
        other.why = format!("answers what {asked_at} was asked");
    }
}

fn name(counters: &Snapshot, id: EniId) -> String {
    let eni = counters.eni(id);
    eni.map_or_else(
        || format!("eni {}", id.0),
        |eni| eni.name.clone().unwrap_or_else(|| eni.mac.to_string()),
    )
}

impl Sighting {
    fn blank(eni: String) -> Self {
        Self {
            eni,
            ingress: Default::default(),
            egress: Default::default(),
            steered: Default::default(),
            dropped: Default::default(),
            exempt: Default::default(),
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
}

#[cfg(test)]
mod tests;
