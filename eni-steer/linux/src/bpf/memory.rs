//! How much memory each map needs.

use aya::maps::MapError;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LPM_TRIE;
use eni_steer_common::names;
use eni_steer_core::counters::MapMemory;

use super::{error::BpfError, handles::Maps, layout::Spec};

impl Maps {
    /// Returns the memory of each map, and how many of its entries are in use.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn memory(&self) -> Result<Vec<MapMemory>, BpfError> {
        self.memory_with_sources(self.count_sources()?)
    }

    /// Like [`Maps::memory`], for a caller that has counted the sources already.
    pub(super) fn memory_with_sources(&self, sources: u32) -> Result<Vec<MapMemory>, BpfError> {
        self.specs
            .iter()
            .map(|spec| {
                let entries = match spec.name {
                    names::OWNERS4 => Some(count(self.owners4.keys())),
                    names::OWNERS6 => Some(count(self.owners6.keys())),
                    names::PREFIXES => Some(count(self.prefixes.keys())),
                    names::NEXTHOPS => Some(count(self.next_hops.keys())),
                    names::EXEMPT => Some(count(self.exempt.keys())),
                    names::STRAYS => Some(count(self.strays.keys())),
                    names::SOURCES => Some(Ok(sources)),
                    _ => None,
                };
                debug_assert_eq!(entries.is_some(), spec.counts_entries());
                let entries = entries
                    .transpose()
                    .map_err(|cause| BpfError::map(format!("count {}", spec.name), cause))?;
                Ok(map_memory(spec, entries, self.cpus))
            })
            .collect()
    }
}

fn count<K>(keys: impl Iterator<Item = Result<K, MapError>>) -> Result<u32, MapError> {
    keys.map(|key| key.map(|_key| 1)).sum()
}

/// The memory that a map needs now, and the most that it can need.
fn map_memory(spec: &Spec, entries: Option<u32>, cpus: u32) -> MapMemory {
    let entry = spec.entry_bytes(cpus);
    let at_most = entry * u64::from(spec.entries);
    // A map that allocates entries when they are written has its buckets from the start.
    let bytes = match entries {
        Some(entries) if spec.is_lazy() => {
            let buckets = match spec.kind {
                BPF_MAP_TYPE_LPM_TRIE => 0,
                _ => u64::from(spec.entries.next_power_of_two()) * 16,
            };
            buckets + entry * u64::from(entries)
        }
        _ => at_most,
    };
    MapMemory {
        name: spec.name,
        entries,
        capacity: spec.entries.saturating_mul(spec.slots),
        bytes,
        bytes_at_most: at_most.max(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::layout::Limits;

    #[test]
    fn the_source_table_keeps_to_its_memory_on_small_and_large_machines() {
        let limits = Limits::default();
        let sources = |cpus| {
            let specs = limits.specs(cpus);
            specs
                .into_iter()
                .find(|spec| spec.name == names::SOURCES)
                .expect("there is such a map")
        };
        for cpus in [1, 2, 8, 96, 512] {
            let bytes = map_memory(&sources(cpus), Some(0), cpus).bytes;
            assert!(bytes <= limits.source_bytes, "{bytes} bytes on {cpus} CPUs");
            assert!(bytes > limits.source_bytes / 2 || cpus > 256);
        }
        // Each CPU lists this many sources.
        let per_cpu = |cpus| sources(cpus).entries * sources(cpus).slots / cpus;
        assert!(per_cpu(2) > 100_000);
        assert!(per_cpu(96) > 5_000);
    }

    #[test]
    fn all_maps_at_their_defaults_need_less_than_64_mb_on_16_cpus() {
        let all: u64 = Limits::default()
            .specs(16)
            .iter()
            .map(|spec| map_memory(spec, Some(0), 16).bytes)
            .sum();
        assert!(all < 64 << 20, "{all} bytes");
    }
}
