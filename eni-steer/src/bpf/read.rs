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
    Class, Fate, HomeCell, Loss, NO_ENI, SourceKey, SourceValue, StrayKey, StrayValue, names,
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
            let ifindex = IfIndex::new(row.home);
            enis.push(EniCounters {
                id: EniId(slot),
                mac: Mac(row.mac),
                ifindex,
                name: ifindex.and_then(interface_name),
                fates: self.read_fates(slot)?,
                losses: self.read_losses(slot)?,
                totals: self.read_totals(slot)?,
            });
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

    fn read_totals(&self, slot: u16) -> Result<Totals, BpfError> {
        let values = per_cpu(&self.totals, slot.into(), names::TOTALS)?;
        let sum =
            |class: Class, of: fn(&eni_steer_common::Totals) -> &[eni_steer_common::Count; 3]| {
                values
                    .iter()
                    .map(|value| Count::from(of(value)[class as usize]))
                    .fold(Count::default(), Count::plus)
            };
        let by_class = |of| ByClass {
            ipv4: sum(Class::Ipv4, of),
            ipv6: sum(Class::Ipv6, of),
            other: sum(Class::Other, of),
        };
        Ok(Totals {
            ingress: by_class(|totals| &totals.ingress),
            egress: by_class(|totals| &totals.egress),
        })
    }

    fn read_fates(&self, slot: u16) -> Result<BTreeMap<&'static str, Count>, BpfError> {
        let mut fates = BTreeMap::new();
        for fate in Fate::ALL {
            let count = per_cpu(&self.fates, fate.index(slot), names::FATES)?
                .iter()
                .map(|count| Count::from(*count))
                .fold(Count::default(), Count::plus);
            if !count.is_zero() {
                fates.insert(fate.label(), count);
            }
        }
        Ok(fates)
    }

    fn read_losses(&self, slot: u16) -> Result<BTreeMap<&'static str, u64>, BpfError> {
        let mut losses = BTreeMap::new();
        for loss in Loss::ALL {
            let count: u64 = per_cpu(&self.losses, loss.index(slot), names::LOSSES)?
                .iter()
                .sum();
            if count != 0 {
                losses.insert(loss.label(), count);
            }
        }
        Ok(losses)
    }

    fn read_cells(&self) -> Result<Vec<Cell>, BpfError> {
        let mut cells = Vec::new();
        let mut addresses = BTreeMap::new();
        for slot in 0..self.addresses.len() {
            let row = self.address(slot)?;
            let Some(address) = convert::row_net(&row) else {
                continue;
            };
            let owner = (row.eni != NO_ENI).then_some(EniId(row.eni));
            addresses.insert(slot, (address, owner));
            let Some(eni) = owner else {
                continue; // an address without an owner has no home
            };
            let values = per_cpu(&self.cells, slot, names::CELLS)?;
            for direction in [Direction::Ingress, Direction::Egress] {
                let passed = values
                    .iter()
                    .map(|cell| match direction {
                        Direction::Ingress => Count::from(cell.ingress),
                        Direction::Egress => Count::from(cell.egress),
                    })
                    .fold(Count::default(), Count::plus);
                if !passed.is_zero() {
                    cells.push(Cell {
                        passed,
                        ..empty_cell(address, owner, eni, direction)
                    });
                }
            }
        }
        for (key, values) in self.stray_entries()? {
            if let Some((address, owner)) = addresses.get(&key.address) {
                cells.push(stray_cell(*address, *owner, key, &values));
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
                    eni_steer_common::Family::V4 => settings.source_mask4,
                    eni_steer_common::Family::V6 => settings.source_mask6,
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
        let zero = vec![HomeCell::default(); self.cpus as usize];
        set_per_cpu(&mut self.cells, slot, zero, names::CELLS)?;
        self.remove_strays(|key| key.address == slot)
    }

    /// Forgets what an ENI slot has counted.
    pub(super) fn clear_eni_counters(&mut self, slot: u16) -> Result<(), BpfError> {
        let cpus = self.cpus as usize;
        let totals = vec![eni_steer_common::Totals::default(); cpus];
        set_per_cpu(&mut self.totals, slot.into(), totals, names::TOTALS)?;
        for fate in Fate::ALL {
            let zero = vec![eni_steer_common::Count::default(); cpus];
            set_per_cpu(&mut self.fates, fate.index(slot), zero, names::FATES)?;
        }
        for loss in Loss::ALL {
            set_per_cpu(
                &mut self.losses,
                loss.index(slot),
                vec![0; cpus],
                names::LOSSES,
            )?;
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
    let sum = |of: fn(&StrayValue) -> eni_steer_common::Count| {
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
