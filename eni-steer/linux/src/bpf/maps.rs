//! Creates, opens, checks and removes the pinned maps.

use std::io;

use aya::maps::{MapData, MapError};
use eni_steer_common::names;
use eni_steer_core::model;

use super::{
    error::BpfError,
    handles::Maps,
    layout::{Limits, Spec},
    pin::PinRoot,
};
use crate::own_dir::OwnDir;

impl Maps {
    /// Opens the maps, and creates and pins those that are missing. A map that exists keeps its
    /// size, because its counters are worth more than a new size.
    ///
    /// # Errors
    /// No bpffs is mounted, a privilege is missing, or a pinned map has another layout.
    pub fn create(root: &PinRoot, limits: &Limits) -> Result<Self, BpfError> {
        root.require_bpffs()?;
        let directory = root.create_dirs()?;
        let cpus = possible_cpus()?;
        let mut opened = Vec::new();
        let mut created = 0;
        for spec in limits.specs(cpus) {
            let map = match open_pin(&directory, &spec)? {
                Some(map) => map,
                None => {
                    created += 1;
                    create_map(&directory, &spec)?
                }
            };
            opened.push((with_actual_size(spec, &map)?, map));
        }
        let all_or_none = created == 0 || created == opened.len();
        let mut maps = Self::from_opened(root, directory, cpus, opened)?;
        if created > 0 {
            maps.set_settings(&model::Settings::default())?;
            maps.refresh_lookup_filters()?;
        }
        if !all_or_none {
            // Another program removed some of the pins. Attached programs still count in the maps
            // that were pinned there. Forgetting which programs are attached makes eni-steer attach
            // them all again, with the new maps.
            maps.forget_programs()?;
            // If the marks are new, the sources that the old marks stood for still exist.
            maps.mark_all_sources()?;
        }
        Ok(maps)
    }

    /// Opens the maps. Returns `None` if none is pinned.
    ///
    /// # Errors
    /// A privilege is missing, a pinned map has another layout, or only some of the maps are
    /// pinned.
    pub fn open(root: &PinRoot) -> Result<Option<Self>, BpfError> {
        let Some(directory) = root.open_maps()? else {
            return Ok(None);
        };
        let cpus = possible_cpus()?;
        let mut opened = Vec::new();
        let mut missing = None;
        for spec in Limits::default().specs(cpus) {
            match open_pin(&directory, &spec)? {
                Some(map) => opened.push((with_actual_size(spec, &map)?, map)),
                None => missing = missing.or(Some(spec.name)),
            }
        }
        match missing {
            None => Self::from_opened(root, directory, cpus, opened).map(Some),
            Some(_) if opened.is_empty() => Ok(None),
            Some(name) => Err(BpfError::LayoutMismatch {
                pin: root.map(name),
                what: "it is missing, although other maps of eni-steer are pinned".to_owned(),
            }),
        }
    }

    /// Removes the pins of all maps, and the directories that are then empty. The kernel keeps the
    /// maps until the last program that uses them is detached.
    ///
    /// # Errors
    /// A pin or a directory cannot be removed.
    pub fn remove(self) -> Result<(), BpfError> {
        Self::remove_pins(&self.root)
    }

    /// Like [`Maps::remove`], for maps that cannot be opened because they have another layout.
    pub(super) fn remove_pins(root: &PinRoot) -> Result<(), BpfError> {
        if let Some(directory) = root.open_maps()? {
            for name in names::PINNED.into_iter().chain([names::SECRET]) {
                directory.remove_file(name)?;
            }
        }
        root.remove_dirs()
    }
}

/// Number of CPUs that the machine may have: per-CPU maps have a value for each.
fn possible_cpus() -> Result<u32, BpfError> {
    aya::util::nr_cpus()
        .map(|cpus| cpus as u32)
        .map_err(|(path, cause)| BpfError::io(format!("read {path}"), cause))
}

/// The layout with the size of the map itself, which may have been created with other limits.
fn with_actual_size(mut spec: Spec, map: &MapData) -> Result<Spec, BpfError> {
    if spec.sized {
        let info = map
            .info()
            .map_err(|cause| BpfError::map(format!("read the size of map {}", spec.name), cause))?;
        spec.entries = info.max_entries();
    }
    Ok(spec)
}

/// Opens a pinned map and checks its layout before anything is read from it. Returns `None` if the
/// map is not pinned.
fn open_pin(directory: &OwnDir, spec: &Spec) -> Result<Option<MapData>, BpfError> {
    let path = directory.path().join(spec.name);
    let what = || format!("open {}", path.display());
    let map = match MapData::from_pin(directory.entry(spec.name)) {
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

/// Creates a map and pins it.
fn create_map(directory: &OwnDir, spec: &Spec) -> Result<MapData, BpfError> {
    let definition = aya_obj::Map::new_from_params(
        spec.kind as u32,
        spec.key,
        spec.value,
        spec.entries,
        spec.flags,
    );
    let map = MapData::create(definition, spec.name, None)
        .map_err(|cause| BpfError::map(format!("create map {}", spec.name), cause))?;
    map.pin(directory.entry(spec.name))
        .map_err(|cause| BpfError::pin(&directory.path().join(spec.name), cause))?;
    Ok(map)
}
