//! The counters, summed over CPUs.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
};

use aya::{
    Pod,
    maps::{IterableMap, MapData, MapError, PerCpuArray},
};
use eni_steer_common::{
    self as common, AddressCell, Class, EniRow, Fate, FirstStray, Loss, NO_ENI, SourceKey,
    SourceValue, StrayKey, StrayValue, names,
};
use ipnet::IpNet;

use super::{
    convert,
    error::BpfError,
    maps::Maps,
    sys::{self, Cursor},
};
use crate::{
    counters::{ByClass, Cell, Count, EniCounters, EniId, Moment, Snapshot, Source, Totals},
    model::{Direction, IfIndex, Mac},
};

/// Entries asked for at once. A batch ends at a bucket of the hash table, so it must hold the
/// fullest bucket; when it does not, it is doubled.
const BATCH: u32 = 256;

impl Maps {
    /// Reads all counters.
    ///
    /// Packets go on while this reads, so no two maps are of quite the same moment. Totals are
    /// read last: what a packet added to another map before it is in them, and "other" is not
    /// below zero.
    pub fn read(&self) -> Result<Snapshot, BpfError> {
        let taken_at = Moment::now();
        let rows = self.eni_rows()?;
        let known: BTreeSet<EniId> = rows
            .iter()
            .filter(|(_, row)| row.taken != 0)
            .map(|(slot, _)| EniId(*slot))
            .collect();
        let sources = self.read_sources(&known)?;
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
            maps: self.memory()?,
        })
    }

    fn read_eni(&self, slot: u16, row: &EniRow) -> Result<EniCounters, BpfError> {
        let values = per_cpu(&self.counters, slot.into(), names::COUNTERS)?;
        let sum = |of: &dyn Fn(&common::EniCounters) -> common::Count| {
            values
                .iter()
                .map(|value| Count::from(of(value)))
                .fold(Count::default(), Count::plus)
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
            name: ifindex.and_then(interface_name),
            totals: Totals {
                ingress: by_class(&|value| value.ingress),
                egress: by_class(&|value| value.egress),
            },
            fates: fates.collect(),
            losses: losses.collect(),
        })
    }

    fn read_cells(&self) -> Result<Vec<Cell>, BpfError> {
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
                for direction in [Direction::Ingress, Direction::Egress] {
                    let passed = values
                        .iter()
                        .map(|cell| match direction {
                            Direction::Ingress => Count::from(cell.ingress),
                            Direction::Egress => Count::from(cell.egress),
                        })
                        .fold(Count::default(), Count::plus);
                    if !passed.is_zero() {
                        let empty = empty_cell(address, owner, eni, direction);
                        cells.push(Cell { passed, ..empty });
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
                // An entry that was made and never counted in says nothing.
                if cell.first_seen.is_some() {
                    cells.push(cell);
                }
            }
        }
        cells.sort_by_key(|cell| (cell.address, cell.owner, cell.eni, cell.direction));
        Ok(cells)
    }

    fn read_sources(&self, known: &BTreeSet<EniId>) -> Result<Vec<Source>, BpfError> {
        let settings = self.raw_settings()?;
        let mut sources = Vec::new();
        for (key, values) in self.source_entries()? {
            let Some(family) = convert::family_from(key.family) else {
                continue;
            };
            let (direction, length) = if key.direction == Direction::Egress as u8 {
                (Direction::Egress, 128)
            } else {
                let mask = match family {
                    common::Family::V4 => settings.source_mask4,
                    common::Family::V6 => settings.source_mask6,
                };
                (Direction::Ingress, convert::length(family, mask))
            };
            let address = convert::ip(family, key.source);
            let host = IpNet::from(address);
            let source = IpNet::new(address, length.min(host.max_prefix_len())).unwrap_or(host);
            let eni = EniId(key.eni);
            if !known.contains(&eni) {
                continue;
            }
            sources.push(Source {
                source,
                eni,
                direction,
                count: values
                    .iter()
                    .map(|value| Count::from(value.count))
                    .fold(Count::default(), Count::plus),
                mismatched: values.iter().map(|value| value.mismatched).sum(),
                last_seen: values
                    .iter()
                    .map(|value| value.last_seen)
                    .max()
                    .unwrap_or_default(),
            });
        }
        sources.sort_by_key(|source| (source.source, source.eni, source.direction));
        Ok(sources)
    }

    pub(super) fn stray_entries(&self) -> Result<Vec<(StrayKey, Vec<StrayValue>)>, BpfError> {
        all(self.strays.map(), self.cpus, names::STRAYS)
    }

    pub(super) fn source_entries(&self) -> Result<Vec<(SourceKey, Vec<SourceValue>)>, BpfError> {
        all(self.sources.map(), self.cpus, names::SOURCES)
    }

    pub(super) fn count_strays(&self) -> Result<u32, MapError> {
        self.strays.keys().map(|key| key.map(|_key| 1)).sum()
    }

    pub(super) fn count_sources(&self) -> Result<u32, MapError> {
        self.sources.keys().map(|key| key.map(|_key| 1)).sum()
    }

    /// Forgets what an address slot has counted.
    pub(super) fn clear_cell(&mut self, slot: u32) -> Result<(), BpfError> {
        let zero = vec![AddressCell::default(); self.cpus as usize];
        set_per_cpu(&mut self.cells, slot, zero, names::CELLS)?;
        self.remove_strays(|key| key.address == slot)
    }

    /// Forgets what an ENI slot has counted. Of addresses that other ENIs own, packets that pass
    /// meanwhile may be lost: it happens to the 65th ENI that a host ever had.
    pub(super) fn clear_eni_counters(&mut self, slot: u16) -> Result<(), BpfError> {
        let zero = vec![common::EniCounters::default(); self.cpus as usize];
        set_per_cpu(&mut self.counters, slot.into(), zero, names::COUNTERS)?;
        let of_slot = |place| StrayKey::at(0, place).is_some_and(|key| key.eni == slot);
        for address in 0..self.addresses.len() {
            let mut values = per_cpu(&self.cells, address, names::CELLS)?.to_vec();
            if values.iter().any(|cell| of_slot(cell.first.place)) {
                for cell in values.iter_mut().filter(|cell| of_slot(cell.first.place)) {
                    cell.first = FirstStray::default();
                }
                set_per_cpu(&mut self.cells, address, values, names::CELLS)?;
            }
        }
        self.remove_strays(|key| key.eni == slot)?;
        for (key, _) in self.source_entries()? {
            if key.eni == slot {
                super::maps::removed(self.sources.remove(&key))
                    .map_err(|cause| BpfError::map("forget a source", cause))?;
            }
        }
        Ok(())
    }

    fn remove_strays(&mut self, which: impl Fn(&StrayKey) -> bool) -> Result<(), BpfError> {
        for (key, _) in self.stray_entries()? {
            if which(&key) {
                super::maps::removed(self.strays.remove(&key))
                    .map_err(|cause| BpfError::map("forget a stray", cause))?;
            }
        }
        Ok(())
    }
}

fn empty_cell(address: IpNet, owner: Option<EniId>, eni: EniId, direction: Direction) -> Cell {
    Cell {
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

fn stray_cell(address: IpNet, owner: Option<EniId>, key: StrayKey, values: &[StrayValue]) -> Cell {
    let direction = if key.direction == Direction::Ingress as u8 {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    let sum = |of: fn(&StrayValue) -> common::Count| {
        values
            .iter()
            .map(|value| Count::from(of(value)))
            .fold(Count::default(), Count::plus)
    };
    let seen = |of: fn(&StrayValue) -> u64| values.iter().map(of).filter(|time| *time != 0);
    Cell {
        passed: sum(|value| value.passed),
        steered: sum(|value| value.steered),
        dropped: sum(|value| value.dropped),
        exempt: sum(|value| value.exempt),
        first_seen: seen(|value| value.first_seen).min(),
        last_seen: seen(|value| value.last_seen).max(),
        ..empty_cell(address, owner, EniId(key.eni), direction)
    }
}

fn interface_name(ifindex: IfIndex) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex.get())
        .ok()
        .and_then(|name| name.into_string().ok())
}

fn per_cpu<V: Pod>(
    map: &PerCpuArray<MapData, V>,
    index: u32,
    name: &'static str,
) -> Result<aya::maps::PerCpuValues<V>, BpfError> {
    map.get(&index, 0)
        .map_err(|cause| BpfError::map(format!("read {name} {index}"), cause))
}

fn set_per_cpu<V: Pod>(
    map: &mut PerCpuArray<MapData, V>,
    index: u32,
    values: Vec<V>,
    name: &'static str,
) -> Result<(), BpfError> {
    let what = || format!("write {name} {index}");
    let values = values
        .try_into()
        .map_err(|cause| BpfError::io(what(), cause))?;
    map.set(index, values, 0)
        .map_err(|cause| BpfError::map(what(), cause))
}

/// Every entry of a per-CPU hash, with the values of all CPUs.
fn all<K: Pod, V: Pod>(
    map: &MapData,
    cpus: u32,
    name: &'static str,
) -> Result<Vec<(K, Vec<V>)>, BpfError> {
    let stride = size_of::<V>().next_multiple_of(8);
    let mut batch = BATCH;
    let mut cursor = Cursor::default();
    let mut entries = Vec::new();
    loop {
        let size = batch as usize;
        let mut keys = vec![0u8; size * size_of::<K>()];
        let mut values = vec![0u8; size * stride * cpus as usize];
        let before = cursor;
        let (found, end) =
            match sys::lookup_batch(map.fd().as_fd(), &mut cursor, &mut keys, &mut values, batch) {
                Ok(result) => result,
                // A bucket with more entries than the batch holds.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {
                    cursor = before;
                    batch *= 2;
                    continue;
                }
                Err(cause) => return Err(BpfError::io(format!("read {name}"), cause)),
            };
        for index in 0..found as usize {
            let key = pod(&keys, index * size_of::<K>());
            let values = (0..cpus as usize)
                .map(|cpu| pod(&values, (index * cpus as usize + cpu) * stride))
                .collect();
            entries.push((key, values));
        }
        if end {
            return Ok(entries);
        }
    }
}

/// A value at an offset in bytes that the kernel wrote.
fn pod<T: Pod>(bytes: &[u8], offset: usize) -> T {
    let bytes = &bytes[offset..offset + size_of::<T>()];
    // SAFETY: the slice has the size of T, whose every bit pattern is valid (Pod), and the read
    // is an unaligned one.
    unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) }
}
