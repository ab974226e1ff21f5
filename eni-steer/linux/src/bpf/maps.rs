//! The pinned maps: made, opened, checked, taken away.

use eni_steer_core::counters::MapMemory;
use std::{borrow::Borrow, collections::BTreeMap, io};

use aya::{
    Pod,
    maps::{
        Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, lpm_trie::Key,
    },
};
use eni_steer_common::{
    AddressCell, AddressRow, DestinationKey, EniCounters, EniRow, NextHop, Owner, PrefixKey,
    Settings, ShortTable, SourceSet, StrayKey, StrayValue, names,
};

use ipnet::IpNet;

use super::{
    addresses::AddressIndex,
    error::BpfError,
    limits::{Limits, Spec, map_memory},
    pin::{self, PinRoot},
};
use eni_steer_core::model;

/// The maps of one network namespace, open.
///
/// Several readers do not disturb each other; there must be one writer at a time, and a writer
/// that has let another one work opens the maps anew. Entries are written one by one, each
/// write is whole, and writing what is there already changes nothing.
pub struct Maps {
    pub(super) root: PinRoot,
    pub(super) cpus: u32,
    specs: Vec<Spec>,
    pub(super) enis: Array<MapData, EniRow>,
    pub(super) addresses: Array<MapData, AddressRow>,
    pub(super) owners4: HashMap<MapData, [u8; 4], Owner>,
    pub(super) owners6: HashMap<MapData, [u8; 16], Owner>,
    pub(super) prefixes: LpmTrie<MapData, PrefixKey, Owner>,
    pub(super) next_hops: LpmTrie<MapData, DestinationKey, NextHop>,
    pub(super) short_tables: Array<MapData, ShortTable>,
    pub(super) exempt: LpmTrie<MapData, PrefixKey, u32>,
    pub(super) settings: Array<MapData, Settings>,
    pub(super) counters: PerCpuArray<MapData, EniCounters>,
    pub(super) cells: PerCpuArray<MapData, AddressCell>,
    pub(super) strays: PerCpuHashMap<MapData, StrayKey, StrayValue>,
    pub(super) sources: PerCpuArray<MapData, SourceSet>,
    pub(super) source_marks: Array<MapData, u64>,
    /// Which address has which slot; filled when first needed.
    pub(super) index: Option<AddressIndex>,
    /// The tables written to so far, by ENI slot and family.
    pub(super) routes: BTreeMap<(u16, model::Family), BTreeMap<IpNet, NextHop>>,
    /// Which short table was last in force: the next one is the other.
    pub(super) last_short: BTreeMap<(u16, model::Family), u8>,
}

impl Maps {
    /// Opens the maps, and makes and pins those that are missing. Sizes of maps that are there
    /// already stay as they are: their counters are worth more than their size.
    pub fn create(root: &PinRoot, limits: &Limits) -> Result<Self, BpfError> {
        root.require_bpffs()?;
        root.create_dirs()?;
        let cpus = possible_cpus()?;
        let mut opened = Vec::new();
        let mut made = 0;
        for spec in limits.specs(cpus) {
            let map = match open_pin(root, &spec)? {
                Some(map) => map,
                None => {
                    made += 1;
                    make(root, &spec)?
                }
            };
            opened.push((as_made(spec, &map)?, map));
        }
        let whole = made == 0 || made == opened.len();
        let mut maps = Self::from_parts(root, cpus, opened)?;
        if made > 0 {
            maps.set_settings(&model::Settings::default())?;
            maps.refresh_flags()?;
        }
        if !whole {
            // Somebody has taken pins away. Programs that are attached still count in the maps
            // that had them: forget which programs they are, so that they are attached anew.
            maps.forget_programs()?;
            // If it was the marks, the sources they stood for are there still.
            maps.mark_all_sources()?;
        }
        Ok(maps)
    }

    /// Opens the maps; `None`: nothing is pinned.
    pub fn open(root: &PinRoot) -> Result<Option<Self>, BpfError> {
        if !root.may_have_maps() {
            return Ok(None);
        }
        let cpus = possible_cpus()?;
        let mut opened = Vec::new();
        let mut missing = None;
        for spec in Limits::default().specs(cpus) {
            match open_pin(root, &spec)? {
                Some(map) => opened.push((as_made(spec, &map)?, map)),
                None => missing = missing.or(Some(spec.name)),
            }
        }
        match missing {
            None => Self::from_parts(root, cpus, opened).map(Some),
            Some(_) if opened.is_empty() => Ok(None),
            Some(name) => Err(BpfError::LayoutMismatch {
                pin: root.map(name),
                what: "it is missing, while others of our pins are there".to_owned(),
            }),
        }
    }

    /// Takes the pins of all maps away, and the directories if they are empty then. The maps
    /// live on until the last program that uses them is detached.
    pub fn remove(self) -> Result<(), BpfError> {
        Self::remove_pins(&self.root)
    }

    /// The same where the maps can not be opened, because their layout is another one.
    pub fn remove_pins(root: &PinRoot) -> Result<(), BpfError> {
        for name in names::PINNED {
            pin::unpin(&root.map(name))?;
        }
        root.remove_dirs()
    }

    /// Where they are pinned.
    pub fn root(&self) -> &PinRoot {
        &self.root
    }

    /// What each map costs, with the entries in use.
    pub fn memory(&self) -> Result<Vec<MapMemory>, BpfError> {
        self.memory_with(self.count_sources()?)
    }

    /// The same, where the entries of the table of sources were counted already.
    pub(super) fn memory_with(&self, sources: u32) -> Result<Vec<MapMemory>, BpfError> {
        self.specs
            .iter()
            .map(|spec| {
                let entries = match spec.name {
                    names::OWNERS4 => Some(count(self.owners4.keys())),
                    names::OWNERS6 => Some(count(self.owners6.keys())),
                    names::PREFIXES => Some(count(self.prefixes.keys())),
                    names::NEXTHOPS => Some(count(self.next_hops.keys())),
                    names::EXEMPT => Some(count(self.exempt.keys())),
                    names::STRAYS => Some(self.count_strays()),
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

    /// How many entries a map can hold.
    pub(super) fn capacity(&self, name: &str) -> u32 {
        self.specs
            .iter()
            .find(|spec| spec.name == name)
            .map_or(0, |spec| spec.entries)
    }

    fn from_parts(
        root: &PinRoot,
        cpus: u32,
        opened: Vec<(Spec, MapData)>,
    ) -> Result<Self, BpfError> {
        let (specs, maps): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let mut maps = maps.into_iter().map(Map::from_map_data);
        let mut next = || {
            maps.next()
                .unwrap_or(Err(MapError::ElementNotFound))
                .map_err(|cause| BpfError::map("open a pinned map", cause))
        };
        macro_rules! typed {
            () => {
                next()?
                    .try_into()
                    .map_err(|cause: MapError| BpfError::map("open a pinned map", cause))?
            };
        }
        // In the order of names::PINNED; a wrong order would be a wrong type or size. The last
        // one, the ring of events, is opened by its reader.
        Ok(Self {
            root: root.clone(),
            cpus,
            enis: typed!(),
            addresses: typed!(),
            owners4: typed!(),
            owners6: typed!(),
            prefixes: typed!(),
            next_hops: typed!(),
            short_tables: typed!(),
            exempt: typed!(),
            settings: typed!(),
            counters: typed!(),
            cells: typed!(),
            strays: typed!(),
            sources: typed!(),
            source_marks: typed!(),
            index: None,
            routes: BTreeMap::new(),
            last_short: BTreeMap::new(),
            specs,
        })
    }
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// CPUs the machine may have: per-CPU maps have a value for each.
pub(super) fn possible_cpus() -> Result<u32, BpfError> {
    aya::util::nr_cpus()
        .map(|cpus| cpus as u32)
        .map_err(|(path, cause)| BpfError::io(format!("read {path}"), cause))
}

/// The map's own size: it was made when the limits may have been others.
fn as_made(mut spec: Spec, map: &MapData) -> Result<Spec, BpfError> {
    if spec.sized {
        let info = map
            .info()
            .map_err(|cause| BpfError::map(format!("look at map {}", spec.name), cause))?;
        spec.entries = info.max_entries();
    }
    Ok(spec)
}

/// Opens a pin and checks that it is what this version makes, before anything is read from it.
fn open_pin(root: &PinRoot, spec: &Spec) -> Result<Option<MapData>, BpfError> {
    let path = root.map(spec.name);
    let what = || format!("open {}", path.display());
    let map = match MapData::from_pin(&path) {
        Ok(map) => map,
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(cause) => return Err(BpfError::map(what(), cause)),
    };
    let info = map.info().map_err(|cause| BpfError::map(what(), cause))?;
    let kind = info
        .map_type()
        .map_err(|cause| BpfError::map(what(), cause))?;
    let checks = [
        ("type", kind as u32, spec.kind as u32),
        ("key size", info.key_size(), spec.key),
        ("value size", info.value_size(), spec.value),
        ("flags", info.map_flags(), spec.flags),
        (
            "entries",
            if spec.sized {
                spec.entries
            } else {
                info.max_entries()
            },
            spec.entries,
        ),
    ];
    for (field, is, should) in checks {
        if is != should {
            return Err(BpfError::LayoutMismatch {
                pin: path,
                what: format!("{field} is {is}, not {should}"),
            });
        }
    }
    Ok(Some(map))
}

fn make(root: &PinRoot, spec: &Spec) -> Result<MapData, BpfError> {
    let definition = aya_obj::Map::new_from_params(
        spec.kind as u32,
        spec.key,
        spec.value,
        spec.entries,
        spec.flags,
    );
    let map = MapData::create(definition, spec.name, None)
        .map_err(|cause| BpfError::map(format!("create map {}", spec.name), cause))?;
    let path = root.map(spec.name);
    super::sys::pin(std::os::fd::AsFd::as_fd(map.fd()), &path)
        .map_err(|cause| BpfError::io(format!("pin {}", path.display()), cause))?;
    Ok(map)
}

fn count<K>(keys: impl Iterator<Item = Result<K, MapError>>) -> Result<u32, MapError> {
    keys.map(|key| key.map(|_key| 1)).sum()
}

/// An entry that is gone already is removed.
pub(super) fn removed(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Keys and values of a trie.
pub(super) fn trie_entries<K: Pod, V: Pod>(
    trie: &LpmTrie<impl Borrow<MapData>, K, V>,
) -> Result<Vec<(Key<K>, V)>, MapError> {
    trie.iter().collect()
}
