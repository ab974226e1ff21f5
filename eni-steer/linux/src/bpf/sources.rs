//! Reads the table of sources, which has a part for each CPU. See [`eni_steer_common::SourceSet`].

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use eni_steer_common::{self as common, MARKED, SourceKey, SourceSet, SourceValue, names};
use ipnet::IpNet;

use super::{
    batch::{array, per_cpu, range, set_per_cpu},
    convert,
    error::BpfError,
    handles::Maps,
};
use eni_steer_core::{
    counters::{EniId, Source},
    model::Direction,
};

/// How often to read a set again that a program was changing during the read.
const TRIES: u32 = 16;

impl Maps {
    /// Returns the sources of known ENIs, and the number of entries of all ENIs on all CPUs.
    pub(super) fn read_sources(
        &self,
        known: &BTreeSet<EniId>,
    ) -> Result<(Vec<Source>, u32), BpfError> {
        let settings = self.settings()?;
        let mut entries = 0;
        let mut values: HashMap<SourceKey, SourceValue> = HashMap::new();
        self.each_set(|_, set| {
            for entry in set.listed() {
                entries += 1;
                if known.contains(&EniId(entry.key.eni)) {
                    add(values.entry(entry.key).or_default(), &entry.value);
                }
            }
        })?;
        let sources = values.into_iter();
        let mut sources: Vec<Source> = sources
            .filter_map(|(key, value)| source(&key, &value, &settings))
            .collect();
        sources.sort_by_key(|source| (source.source, source.eni, source.direction));
        Ok((sources, entries))
    }

    /// Returns how many entries are in use, on all CPUs together.
    pub(super) fn count_sources(&self) -> Result<u32, BpfError> {
        let mut entries = 0;
        self.each_set(|_, set| entries += set.listed().count())?;
        Ok(u32::try_from(entries).unwrap_or(u32::MAX))
    }

    /// Removes the sources of an ENI slot. Packets that are counted in the same sets at the same
    /// time may be reported as "other".
    pub(super) fn clear_sources(&mut self, slot: u16) -> Result<(), BpfError> {
        let mut of_slot = BTreeSet::new();
        self.each_set(|index, set| {
            if set.listed().any(|entry| entry.key.eni == slot) {
                of_slot.insert(index);
            }
        })?;
        for index in of_slot {
            let mut sets = per_cpu(&self.sources, index, names::SOURCES)?.to_vec();
            for set in &mut sets {
                for (tag, entry) in set.tags.iter_mut().zip(&mut set.entries) {
                    if entry.key.eni == slot {
                        *tag = 0;
                        *entry = common::SourceEntry::default();
                    }
                }
            }
            set_per_cpu(&mut self.sources, index, sets, names::SOURCES)?;
        }
        Ok(())
    }

    /// Marks the whole table as used, so that readers read all of it.
    pub(super) fn mark_all_sources(&mut self) -> Result<(), BpfError> {
        for number in 0..self.source_marks.len() {
            self.source_marks
                .set(number, 1, 0)
                .map_err(|cause| BpfError::map(format!("write {}", names::SOURCE_MARKS), cause))?;
        }
        Ok(())
    }

    /// Calls `visit` with each set of each CPU that may contain entries, and with the set's index.
    fn each_set(&self, mut visit: impl FnMut(u32, &SourceSet)) -> Result<(), BpfError> {
        let mut torn = Vec::new();
        let mut visit_whole = |index: u32, sets: &[SourceSet]| {
            if sets.iter().any(SourceSet::is_torn) {
                torn.push(index);
            } else {
                sets.iter().for_each(|set| visit(index, set));
            }
        };
        for part in self.used_sets()? {
            range(
                &self.sources,
                self.cpus,
                names::SOURCES,
                part,
                &mut visit_whole,
            )?;
        }
        for index in torn {
            let mut sets = per_cpu(&self.sources, index, names::SOURCES)?;
            for _ in 0..TRIES {
                if !sets.iter().any(SourceSet::is_torn) {
                    break;
                }
                sets = per_cpu(&self.sources, index, names::SOURCES)?;
            }
            // A set that a program changed during every read is skipped: its sources are reported
            // as "other".
            let whole = sets.iter().filter(|set| !set.is_torn());
            whole.for_each(|set| visit(index, set));
        }
        Ok(())
    }

    /// The ranges of sets that a program has ever written to. Usually most of the table is unused.
    fn used_sets(&self) -> Result<Vec<Range<u32>>, BpfError> {
        let sets = self.sources.len();
        let marks = array(&self.source_marks, names::SOURCE_MARKS)?;
        // Sets without a mark are read too.
        let marks = marks.into_iter().chain(std::iter::repeat(1));
        let mut used: Vec<Range<u32>> = Vec::new();
        for (number, mark) in (0..sets.div_ceil(MARKED)).zip(marks) {
            if mark == 0 {
                continue;
            }
            let from = number * MARKED;
            let to = sets.min(from + MARKED);
            match used.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => used.push(from..to),
            }
        }
        Ok(used)
    }
}

/// Adds the values of one CPU to a sum.
fn add(sum: &mut SourceValue, value: &SourceValue) {
    sum.count.add(value.count);
    sum.mismatched = sum.mismatched.wrapping_add(value.mismatched);
    sum.last_seen = sum.last_seen.max(value.last_seen);
}

/// Converts an entry; `None` for a key that eni-steer's programs never write.
fn source(key: &SourceKey, value: &SourceValue, settings: &common::Settings) -> Option<Source> {
    let family = convert::family_from(key.family)?;
    let (direction, length) = if key.direction == Direction::Egress as u8 {
        (Direction::Egress, 128)
    } else {
        let mask = match family {
            common::Family::V4 => settings.source_mask4,
            common::Family::V6 => settings.source_mask6,
        };
        (Direction::Ingress, convert::length(family, mask))
    };
    let host = IpNet::from(convert::ip(family, key.source));
    let source = IpNet::new(host.addr(), length.min(host.max_prefix_len())).unwrap_or(host);
    Some(Source {
        source,
        eni: EniId(key.eni),
        direction,
        count: value.count.into(),
        mismatched: value.mismatched,
        last_seen: value.last_seen,
    })
}
