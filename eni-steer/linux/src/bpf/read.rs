//! Reads the counters and sums them over all CPUs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use eni_steer_common::{
    self as common, Class, EniRow, Fate, Loss, NO_ENI, StrayKey, StrayValue, names,
};
use ipnet::IpNet;

use super::{batch::per_cpu, convert, error::BpfError, handles::Maps, values::interface_name};
use eni_steer_core::{
    counters::{AddressCounters, ByClass, Count, EniCounters, EniId, Snapshot, Timestamp, Totals},
    model::{Direction, IfIndex, Mac},
};

/// The current time by the monotonic clock and by the calendar.
fn timestamp() -> Timestamp {
    let monotonic = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default();
    let unix = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        monotonic: u64::try_from(monotonic.as_nanos()).unwrap_or(u64::MAX),
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Maps {
    /// Reads all counters.
    ///
    /// Packets pass while this function reads, so the maps are not of exactly the same moment. The
    /// totals are read last. So they contain every packet that the other maps contain, and "other",
    /// the totals minus the listed sources, is never negative.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn read(&self) -> Result<Snapshot, BpfError> {
        let taken_at = timestamp();
        let rows = self.eni_rows()?;
        let known: BTreeSet<EniId> = rows
            .iter()
            .filter(|(_, row)| row.taken != 0)
            .map(|(slot, _)| EniId(*slot))
            .collect();
        let (sources, listed) = self.read_sources(&known)?;
        let cells = self.read_cells()?;
        let mut enis = Vec::new();
        for (slot, row) in rows.into_iter().filter(|(_, row)| row.taken != 0) {
            enis.push(self.read_eni(slot, &row)?);
        }
        Ok(Snapshot {
            taken_at,
            since: None,
            enis,
            cells,
            sources,
            maps: self.memory_with_sources(listed)?,
        })
    }

    /// Reads only the counters of owned addresses: the beginning of an epoch needs no others.
    ///
    /// # Errors
    /// A map cannot be read.
    pub(crate) fn read_addresses(&self) -> Result<Snapshot, BpfError> {
        Ok(Snapshot {
            taken_at: timestamp(),
            since: None,
            enis: Vec::new(),
            cells: self.read_cells()?,
            sources: Vec::new(),
            maps: Vec::new(),
        })
    }

    /// The counters of one ENI.
    fn read_eni(&self, slot: u16, row: &EniRow) -> Result<EniCounters, BpfError> {
        let values = per_cpu(&self.counters, slot.into(), names::COUNTERS)?;
        let sum = |of: &dyn Fn(&common::EniCounters) -> common::Count| {
            values
                .iter()
                .map(|value| Count::from(of(value)))
                .fold(Count::default(), Count::wrapping_add)
        };
        let by_class = |of: &dyn Fn(&common::EniCounters) -> [common::Count; 3]| ByClass {
            ipv4: sum(&|value| of(value)[Class::Ipv4 as usize]),
            ipv6: sum(&|value| of(value)[Class::Ipv6 as usize]),
            other: sum(&|value| of(value)[Class::Other as usize]),
        };
        let fates = Fate::ALL
            .iter()
            .map(|fate| (fate.label(), sum(&|value| value.fates[*fate as usize])))
            .filter(|(_, count)| !count.is_zero());
        let losses = Loss::ALL
            .iter()
            .map(|loss| {
                let lost: u64 = values
                    .iter()
                    .map(|value| value.losses[*loss as usize])
                    .sum();
                (loss.label(), lost)
            })
            .filter(|(_, lost)| *lost != 0);
        let ifindex = IfIndex::new(row.home);
        Ok(EniCounters {
            id: EniId(slot),
            mac: Mac(row.mac),
            ifindex,
            name: interface_name(row.home).and_then(|name| name.into_string().ok()),
            totals: Totals {
                ingress: by_class(&|value| value.ingress),
                egress: by_class(&|value| value.egress),
            },
            fates: fates.collect(),
            losses: losses.collect(),
        })
    }

    /// The counters of each address on each ENI.
    fn read_cells(&self) -> Result<Vec<AddressCounters>, BpfError> {
        let mut cells = Vec::new();
        let mut addresses = BTreeMap::new();
        let mut strays: BTreeMap<StrayKey, Vec<StrayValue>> = BTreeMap::new();
        for slot in 0..self.addresses.len() {
            let row = self.address(slot)?;
            let Some(address) = convert::row_net(&row) else {
                continue;
            };
            let owner = (row.eni != NO_ENI).then_some(EniId(row.eni));
            addresses.insert(slot, (address, owner));
            let values = per_cpu(&self.cells, slot, names::CELLS)?;
            if let Some(eni) = owner {
                for direction in Direction::BOTH {
                    let passed = values
                        .iter()
                        .map(|cell| match direction {
                            Direction::Ingress => Count::from(cell.ingress),
                            Direction::Egress => Count::from(cell.egress),
                        })
                        .fold(Count::default(), Count::wrapping_add);
                    if !passed.is_zero() {
                        let empty = empty_cell(address, owner, eni, direction);
                        cells.push(AddressCounters { passed, ..empty });
                    }
                }
            }
            for cell in values.iter() {
                if let Some(key) = StrayKey::at(slot, cell.first.place) {
                    strays.entry(key).or_default().push(cell.first.value);
                }
            }
        }
        for (key, values) in self.stray_entries()? {
            strays.entry(key).or_default().extend(values);
        }
        for (key, values) in strays {
            if let Some((address, owner)) = addresses.get(&key.address) {
                let cell = stray_cell(*address, *owner, key, &values);
                // A program creates an entry before it counts: one without a time stamp is empty.
                if cell.first_seen.is_some() {
                    cells.push(cell);
                }
            }
        }
        cells.sort_by_key(|cell| (cell.address, cell.owner, cell.eni, cell.direction));
        Ok(cells)
    }
}

/// Counters of zero for an address on an ENI.
fn empty_cell(
    address: IpNet,
    owner: Option<EniId>,
    eni: EniId,
    direction: Direction,
) -> AddressCounters {
    AddressCounters {
        address,
        owner,
        eni,
        direction,
        passed: Count::default(),
        steered: Count::default(),
        dropped: Count::default(),
        exempt: Count::default(),
        first_seen: None,
        last_seen: None,
    }
}

/// The sum over all CPUs of a stray entry.
fn stray_cell(
    address: IpNet,
    owner: Option<EniId>,
    key: StrayKey,
    values: &[StrayValue],
) -> AddressCounters {
    let direction = if key.direction == Direction::Ingress as u8 {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    let sum = |of: fn(&StrayValue) -> common::Count| {
        values
            .iter()
            .map(|value| Count::from(of(value)))
            .fold(Count::default(), Count::wrapping_add)
    };
    let times = |of: fn(&StrayValue) -> u64| values.iter().map(of).filter(|time| *time != 0);
    AddressCounters {
        passed: sum(|value| value.passed),
        steered: sum(|value| value.steered),
        dropped: sum(|value| value.dropped),
        exempt: sum(|value| value.exempt),
        first_seen: times(|value| value.first_seen).min(),
        last_seen: times(|value| value.last_seen).max(),
        ..empty_cell(address, owner, EniId(key.eni), direction)
    }
}
