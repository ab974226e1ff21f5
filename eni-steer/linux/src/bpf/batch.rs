//! Reading and writing maps of many entries: entry by entry, or many with one call.

use std::{io, ops::Range, os::fd::AsFd};

use aya::{
    Pod,
    maps::{Array, IterableMap, MapData, PerCpuArray, PerCpuValues},
};

use super::{
    error::BpfError,
    sys::{self, Cursor},
};

/// Entries asked for at once. A batch of a hash ends at one of its buckets, so it must hold the
/// fullest one; when it does not, it is doubled.
const BATCH: u32 = 256;
/// Bytes of values asked for at once of an array, about.
const BATCH_BYTES: usize = 256 << 10;

/// `ENOTSUPP`, which is not in errno.h: the kernel has no batches for this type of map.
const ENOTSUPP: i32 = 524;

/// The values of all CPUs of an entry.
pub(super) fn per_cpu<V: Pod>(
    map: &PerCpuArray<MapData, V>,
    index: u32,
    name: &'static str,
) -> Result<PerCpuValues<V>, BpfError> {
    map.get(&index, 0)
        .map_err(|cause| BpfError::map(format!("read {name} {index}"), cause))
}

/// Writes the values of all CPUs of an entry.
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

/// Every value of an array, with one call.
pub(super) fn array<V: Pod>(
    map: &Array<MapData, V>,
    name: &'static str,
) -> Result<Vec<V>, BpfError> {
    const {
        assert!(
            size_of::<V>().is_multiple_of(8),
            "values stand side by side"
        )
    };
    let mut found = Vec::with_capacity(map.len() as usize);
    Batch::new(1, map.len())
        .next(map.map(), &mut Cursor::default(), |_: u32, values| {
            found.extend_from_slice(values);
        })
        .map_err(|cause| BpfError::io(format!("read {name}"), cause))?;
    Ok(found)
}

/// Every entry of a per-CPU hash, with the values of all CPUs.
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
            // A bucket with more entries than the batch holds.
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {
                cursor = before;
                batch.count *= 2;
            }
            Err(cause) => return Err(BpfError::io(format!("read {name}"), cause)),
        }
    }
}

/// Tells the entries of a per-CPU array from one index to another, with the values of all CPUs,
/// and holds no more than a batch of them.
pub(super) fn range<V: Pod>(
    map: &PerCpuArray<MapData, V>,
    cpus: u32,
    name: &'static str,
    range: Range<u32>,
    mut tell: impl FnMut(u32, &[V]),
) -> Result<(), BpfError> {
    let fit = BATCH_BYTES / (stride::<V>() * cpus as usize);
    let most = u32::try_from(fit).map_or(BATCH, |fit| fit.max(1));
    let mut from = range.start;
    while from < range.end {
        let batch = Batch::new(cpus, most.min(range.end - from));
        match batch.next(map.map(), &mut Cursor::at(from), &mut tell) {
            Ok(_) => from += batch.count,
            // Per-CPU arrays have batches since 5.13.
            Err(e) if e.raw_os_error() == Some(ENOTSUPP) => {
                tell(from, &per_cpu(map, from, name)?);
                from += 1;
            }
            Err(cause) => return Err(BpfError::io(format!("read {name}"), cause)),
        }
    }
    Ok(())
}

/// Entries with the values of all CPUs, as one call returns them.
struct Batch {
    cpus: usize,
    count: u32,
}

impl Batch {
    fn new(cpus: u32, count: u32) -> Self {
        Self {
            cpus: cpus as usize,
            count,
        }
    }

    /// Tells the next entries; whether they were the last ones.
    fn next<K: Pod, V: Pod>(
        &self,
        map: &MapData,
        cursor: &mut Cursor,
        mut tell: impl FnMut(K, &[V]),
    ) -> io::Result<bool> {
        let size = self.count as usize;
        let mut keys = vec![0u8; size * size_of::<K>()];
        let mut values = vec![0u8; size * stride::<V>() * self.cpus];
        let fd = map.fd().as_fd();
        let (found, end) = sys::lookup_batch(fd, cursor, &mut keys, &mut values, self.count)?;
        let mut of_entry = Vec::with_capacity(self.cpus);
        for index in 0..found as usize {
            let at = |cpu: usize| (index * self.cpus + cpu) * stride::<V>();
            of_entry.clear();
            of_entry.extend((0..self.cpus).map(|cpu| pod::<V>(&values, at(cpu))));
            tell(pod(&keys, index * size_of::<K>()), &of_entry);
        }
        Ok(end)
    }
}

/// Bytes from a CPU's value to the next one's.
fn stride<V>() -> usize {
    size_of::<V>().next_multiple_of(8)
}

/// A value at an offset in bytes that the kernel wrote.
fn pod<T: Pod>(bytes: &[u8], offset: usize) -> T {
    let bytes = &bytes[offset..offset + size_of::<T>()];
    // SAFETY: the slice has the size of T, whose every bit pattern is valid (Pod), and the read
    // is an unaligned one.
    unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) }
}
