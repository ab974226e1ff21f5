//! The programs in this binary, loaded for one ENI and one direction.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, ProgramFd, ProgramType, SchedClassifier},
    sys::{BpfHelper, is_helper_supported},
};
use eni_steer_common::names;

use super::{error::BpfError, maps::Maps};
use crate::model::{Direction, IfIndex};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENI_STEER_BPF_OBJECT_PATH"));

/// Identifies the programs in this binary.
pub const BUILD: u64 = hex(env!("ENI_STEER_BPF_OBJECT_HASH"));

/// Ring buffer of aya-log.
const LOG_MAP: &str = "AYA_LOGS";
/// Its size while nothing is logged: a map there must be.
const NO_LOGS: u32 = 4096;

const fn hex(text: &str) -> u64 {
    match u64::from_str_radix(text, 16) {
        Ok(number) => number,
        Err(_) => panic!("ENI_STEER_BPF_OBJECT_HASH is not 16 hex digits"),
    }
}

/// A program that the verifier has accepted, not yet on any hook.
pub struct LoadedProgram {
    // Holds maps of its own (.rodata, logs), which live as long as the program does.
    ebpf: Ebpf,
    direction: Direction,
}

/// The name of the program for a direction.
pub(super) fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => names::INGRESS,
        Direction::Egress => names::EGRESS,
    }
}

/// Loads the program of a direction for an ENI that has been taken in.
pub fn load(
    maps: &Maps,
    ifindex: IfIndex,
    direction: Direction,
    log_level: u8,
) -> Result<LoadedProgram, BpfError> {
    let slot = u32::from(maps.known_slot(ifindex)?.0);
    let coarse_clock = u32::from(has_coarse_clock()?);
    let source_sets = maps.sources.len();
    let source_seed = source_seed()?;
    let paths = names::PINNED.map(|name| maps.root.map(name));
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::GLOBAL_ENI, &slot, true)
        .override_global(names::GLOBAL_COARSE_CLOCK, &coarse_clock, true)
        .override_global(names::GLOBAL_SOURCE_SETS, &source_sets, true)
        .override_global(names::GLOBAL_SOURCE_SEED, &source_seed, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    if log_level == 0 {
        loader.map_max_entries(LOG_MAP, NO_LOGS);
    }
    for (name, path) in names::PINNED.iter().zip(&paths) {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|cause| BpfError::Object(Box::new(cause)))?;
    let name = name(direction);
    program(&mut ebpf, name)
        .and_then(SchedClassifier::load)
        .map_err(|cause| BpfError::load(name, cause))?;
    Ok(LoadedProgram { ebpf, direction })
}

fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, ProgramError> {
    match ebpf.program_mut(name) {
        Some(program) => program.try_into(),
        None => Err(ProgramError::NotLoaded),
    }
}

/// Whether `bpf_ktime_get_coarse_ns` is there (5.11 and later, and backports).
fn has_coarse_clock() -> Result<bool, BpfError> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let helper = BpfHelper::BPF_FUNC_ktime_get_coarse_ns;
    let found = is_helper_supported(ProgramType::SchedClassifier, helper)
        .map_err(|cause| BpfError::load("probe of the coarse clock", cause))?;
    Ok(*KNOWN.get_or_init(|| found))
}

/// A number that senders do not know, and that stays the same as long as maps can be there: a
/// source has the same place for every program (random(4)).
fn source_seed() -> Result<u64, BpfError> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(BOOT_ID)
        .map_err(|cause| BpfError::io(format!("read {BOOT_ID}"), cause))?;
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    Ok(hasher.finish())
}

impl LoadedProgram {
    /// aya's program, for test runs.
    pub fn classifier(&self) -> Option<&SchedClassifier> {
        self.ebpf.program(name(self.direction))?.try_into().ok()
    }

    /// The program's descriptor.
    pub(super) fn fd(&self) -> Result<&ProgramFd, BpfError> {
        let name = name(self.direction);
        self.classifier()
            .ok_or(ProgramError::NotLoaded)
            .and_then(SchedClassifier::fd)
            .map_err(|cause| BpfError::load(name, cause))
    }

    /// The same, borrowed.
    pub(super) fn as_fd(&self) -> Result<BorrowedFd<'_>, BpfError> {
        self.fd().map(AsFd::as_fd)
    }
}

impl std::fmt::Debug for LoadedProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedProgram")
            .field("name", &name(self.direction))
            .finish_non_exhaustive()
    }
}
