//! Typed handles of the open maps.

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use eni_steer_common::{
    AddressCell, AddressRow, DestinationKey, EniCounters, EniRow, NextHop, Owner, PrefixKey,
    Settings, ShortTable, SourceSet, StrayKey, StrayValue,
};

use super::{error::BpfError, layout::Spec, pin::PinRoot, writer::Writer};
use crate::own_dir::OwnDir;

/// The open maps of one network namespace.
///
/// Several processes may read at the same time, but only one may write. After another process has
/// written, a writer must open the maps again. Each entry is written atomically, and writing an
/// entry that exists already changes nothing.
pub struct Maps {
    pub(super) root: PinRoot,
    /// The directory of their pins.
    pub(super) directory: OwnDir,
    /// Number of CPUs that the machine may have: per-CPU maps have a value for each.
    pub(super) cpus: u32,
    pub(super) specs: Vec<Spec>,
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
    pub(super) writer: Writer,
}

impl Maps {
    /// The directory in which the maps are pinned.
    pub fn root(&self) -> &PinRoot {
        &self.root
    }

    /// How many entries fit into a map.
    pub(super) fn capacity(&self, name: &str) -> u32 {
        self.specs
            .iter()
            .find(|spec| spec.name == name)
            .map_or(0, |spec| spec.entries)
    }

    /// Gives each map its type. `opened` holds the maps in the order of
    /// [`eni_steer_common::names::PINNED`].
    pub(super) fn from_opened(
        root: &PinRoot,
        directory: OwnDir,
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
        // A map out of order would have the wrong type or size, which is an error. The last one,
        // the ring buffer of events, is opened by its reader.
        Ok(Self {
            root: root.clone(),
            directory,
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
            writer: Writer::default(),
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
