//! Reads maps with many entries, entry by entry or many with one system call, and writes per-CPU
//! values.

use std::{io, ops::Range, os::fd::AsFd};

use aya::{
    Pod,
    maps::{Array, IterableMap, MapData, PerCpuArray, PerCpuValues},
};

use super::{
    error::BpfError,
    sys::{self, Cursor},
    values::read_pod,
};

/// Entries per system call. A batch of a hash map consists of whole buckets, so it must be as large
/// as the fullest bucket; if it is not, it is doubled.
const BATCH: u32 = 256;
/// Bytes of values per system call for an array, approximately.
const BATCH_BYTES: usize = 256 << 10;

/// `ENOTSUPP`, which errno.h lacks: the kernel cannot read this type of map in batches.
const ENOTSUPP: i32 = 524;

/// Reads an entry: the values of all CPUs.
pub(super) fn per_cpu<V: Pod>(
    map: &PerCpuArray<MapData, V>,
    index: u32,
    name: &'static str,
) -> Result<PerCpuValues<V>, BpfError> {
    map.get(&index, 0)
        .map_err(|cause| BpfError::map(format!("read {name} {index}"), cause))
}

/// Writes an entry: the values of all CPUs.
pub(super) fn set_per_cpu<V: Pod>(
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

/// Reads all values of an array with one system call.
pub(super) fn array<V: Pod>(
    map: &Array<MapData, V>,
    name: &'static str,
) -> Result<Vec<V>, BpfError> {
    const {
        assert!(
            size_of::<V>().is_multiple_of(8),
            "the kernel pads values to 8 bytes"
        )
    };
    let mut all = Vec::with_capacity(map.len() as usize);
    Batch::new(1, map.len())
        .next(map.map(), &mut Cursor::default(), |_: u32, values| {
            all.extend_from_slice(values);
        })
        .map_err(|cause| BpfError::io(format!("read {name}"), cause))?;
    Ok(all)
}

/// Reads all entries of a per-CPU hash map, each with the values of all CPUs.
pub(super) fn all<K: Pod, V: Pod>(
    map: &MapData,
    cpus: u32,
    name: &'static str,
) -> Result<Vec<(K, Vec<V>)>, BpfError> {
    let mut batch = Batch::new(cpus, BATCH);
    let mut cursor = Cursor::default();
    let mut entries = Vec::new();
    loop {
        let before = cursor;
        match batch.next(map, &mut cursor, |key, values| {
            entries.push((key, values.to_vec()));
        }) {
            Ok(true) => return Ok(entries),
            Ok(false) => {}
            // A bucket has more entries than fit into the batch.
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {
                cursor = before;
                batch.count *= 2;
            }
            Err(cause) => return Err(BpfError::io(format!("read {name}"), cause)),
        }
    }
}

/// Calls `visit` with the entries of a range of a per-CPU array, each with the values of all CPUs.
/// Never holds more than one batch in memory.
pub(super) fn range<V: Pod>(
    map: &PerCpuArray<MapData, V>,
    cpus: u32,
    name: &'static str,
    range: Range<u32>,
    mut visit: impl FnMut(u32, &[V]),
) -> Result<(), BpfError> {
    let fit = BATCH_BYTES / (stride::<V>() * cpus as usize);
    let most = u32::try_from(fit).map_or(BATCH, |fit| fit.max(1));
    let mut from = range.start;
    while from < range.end {
        let batch = Batch::new(cpus, most.min(range.end - from));
        match batch.next(map.map(), &mut Cursor::at(from), &mut visit) {
            Ok(_) => from += batch.count,
            // The kernel can read per-CPU arrays in batches since 5.13.
            Err(e) if e.raw_os_error() == Some(ENOTSUPP) => {
                visit(from, &per_cpu(map, from, name)?);
                from += 1;
            }
            Err(cause) => return Err(BpfError::io(format!("read {name}"), cause)),
        }
    }
    Ok(())
}

/// One read of several entries, each with the values of all CPUs.
struct Batch {
    /// Number of values of an entry.
    cpus: usize,
    /// Number of entries to read at once.
    count: u32,
}

impl Batch {
    fn new(cpus: u32, count: u32) -> Self {
        Self {
            cpus: cpus as usize,
            count,
        }
    }

    /// Reads the next entries and calls `visit` with each. Returns whether they were the last ones.
    fn next<K: Pod, V: Pod>(
        &self,
        map: &MapData,
        cursor: &mut Cursor,
        mut visit: impl FnMut(K, &[V]),
    ) -> io::Result<bool> {
        let size = self.count as usize;
        let mut keys = vec![0u8; size * size_of::<K>()];
        let mut values = vec![0u8; size * stride::<V>() * self.cpus];
        let fd = map.fd().as_fd();
        let (found, end) = sys::lookup_batch(fd, cursor, &mut keys, &mut values, self.count)?;
        let keys = keys.chunks_exact(size_of::<K>());
        let values = values.chunks_exact(stride::<V>() * self.cpus);
        let mut entry = Vec::with_capacity(self.cpus);
        for (key, values) in keys.zip(values).take(found as usize) {
            entry.clear();
            entry.extend(values.chunks_exact(stride::<V>()).filter_map(read_pod::<V>));
            if let Some(key) = read_pod(key) {
                visit(key, &entry);
            }
        }
        Ok(end)
    }
}

/// Distance in bytes between the values of two CPUs.
fn stride<V>() -> usize {
    size_of::<V>().next_multiple_of(8)
}
