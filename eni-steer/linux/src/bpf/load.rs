//! Loads the eBPF programs of this binary. Each ENI and direction has a program of its own, because
//! the ENI's slot is a constant in it.

use std::{
    os::fd::{AsFd, BorrowedFd},
    panic::resume_unwind,
    path::PathBuf,
    sync::OnceLock,
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, ProgramType, SchedClassifier},
    sys::{BpfHelper, is_helper_supported},
};
use eni_steer_common::{SourceSecret, names};

use super::{error::BpfError, handles::Maps, secret};
use eni_steer_core::model::{Direction, IfIndex};

/// The object file with the eBPF programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENI_STEER_BPF_OBJECT_PATH"));

/// Identifies the eBPF programs of this binary. An attached program with another number is
/// replaced.
pub const BUILD: u64 = hex(env!("ENI_STEER_BPF_OBJECT_HASH"));

/// Name of aya-log's ring buffer, through which a program logs for developers.
const LOG_MAP: &str = "AYA_LOGS";
/// Size of the ring buffer if the program does not log. The program needs the map all the same.
const NO_LOGS: u32 = 4096;
/// Size of the ring buffer if the program logs: the size that aya-log gives it.
const LOGS: u32 = 128 << 10;

/// At most this many threads load programs, because each needs about 15 MB for the kernel's types
/// (BTF) while it does.
const THREADS: usize = 8;

/// Parses 16 hex digits at compile time.
const fn hex(text: &str) -> u64 {
    match u64::from_str_radix(text, 16) {
        Ok(number) => number,
        Err(_) => panic!("ENI_STEER_BPF_OBJECT_HASH is not 16 hex digits"),
    }
}

/// A program that the verifier has accepted and that is not attached yet.
pub struct LoadedProgram {
    // It also holds the program's own maps (.rodata, logs).
    ebpf: Ebpf,
    direction: Direction,
}

/// The name of the program for a direction.
pub(super) fn program_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => names::INGRESS,
        Direction::Egress => names::EGRESS,
    }
}

/// A program to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Interface index of the ENI, which must have a row in the maps.
    pub ifindex: IfIndex,
    /// Which of the two programs.
    pub direction: Direction,
    /// Level of the log for developers; 0 turns it off.
    pub log_level: u8,
}

/// Loads the program of a direction for an ENI that the maps have a row for ([`Maps::set_eni`]).
///
/// # Errors
/// The verifier refuses the program, or a privilege is missing.
pub fn load(
    maps: &Maps,
    ifindex: IfIndex,
    direction: Direction,
    log_level: u8,
) -> Result<LoadedProgram, BpfError> {
    let wanted = Wanted {
        ifindex,
        direction,
        log_level,
    };
    load_all(maps, &[wanted])?.remove(0)
}

/// Loads programs and returns the verifier's result for each.
///
/// The verifier takes most of the time, so several threads load at once. A loader of aya reads the
/// kernel's types (BTF), which takes long too, so each thread uses one loader for all its programs.
pub(crate) fn load_all(
    maps: &Maps,
    all: &[Wanted],
) -> Result<Vec<Result<LoadedProgram, BpfError>>, BpfError> {
    let with_slots = all
        .iter()
        .map(|wanted| Ok((*wanted, u32::from(maps.require_eni_row(wanted.ifindex)?.0))))
        .collect::<Result<Vec<_>, BpfError>>()?;
    let shared = SharedGlobals {
        coarse_clock: u32::from(has_coarse_clock()?),
        source_sets: maps.sources.len(),
        source_secret: secret::of_sources(&maps.directory)?,
        pins: names::PINNED.map(|name| maps.directory.entry(name)),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = with_slots.len().div_ceil(threads.min(THREADS)).max(1);
    let loaded = thread::scope(|scope| {
        let shares = with_slots.chunks(share);
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(|| load_share(&shared, share)))
            .collect();
        let loaded = threads.into_iter().map(|thread| match thread.join() {
            Ok(loaded) => loaded,
            Err(panic) => resume_unwind(panic),
        });
        loaded.flatten().collect()
    });
    release_free_memory();
    Ok(loaded)
}

/// Returns the memory that the loaders freed to the system, because a daemon runs on without it.
fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only releases memory that is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The constants and maps that all programs share.
struct SharedGlobals {
    /// 1 if the kernel has the helper `bpf_ktime_get_coarse_ns`, else 0.
    coarse_clock: u32,
    /// Number of sets in the source table.
    source_sets: u32,
    /// Secret of the hash that finds a source's set.
    source_secret: SourceSecret,
    /// Pins of the maps, in the order of [`names::PINNED`].
    pins: [PathBuf; names::PINNED.len()],
}

/// Loads the programs of one thread; each comes with the slot of its ENI.
fn load_share(
    shared: &SharedGlobals,
    share: &[(Wanted, u32)],
) -> Vec<Result<LoadedProgram, BpfError>> {
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::GLOBAL_COARSE_CLOCK, &shared.coarse_clock, true)
        .override_global(names::GLOBAL_SOURCE_SETS, &shared.source_sets, true)
        .override_global(names::GLOBAL_SOURCE_SECRET, &shared.source_secret, true);
    for (name, path) in names::PINNED.iter().zip(&shared.pins) {
        loader.map_pin_path(name, path.as_path());
    }
    let mut loaded = Vec::with_capacity(share.len());
    for (wanted, slot) in share {
        let logs = if wanted.log_level == 0 { NO_LOGS } else { LOGS };
        loader
            .override_global(names::GLOBAL_ENI, slot, true)
            .override_global(aya_log::LEVEL, &wanted.log_level, true)
            .map_max_entries(LOG_MAP, logs);
        loaded.push(load_one(&mut loader, wanted.direction));
    }
    loaded
}

/// Loads one program with the loader's present constants.
fn load_one(loader: &mut EbpfLoader<'_>, direction: Direction) -> Result<LoadedProgram, BpfError> {
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|cause| BpfError::Object(Box::new(cause)))?;
    let name = program_name(direction);
    classifier_mut(&mut ebpf, name)
        .and_then(SchedClassifier::load)
        .map_err(|cause| BpfError::load(name, cause))?;
    Ok(LoadedProgram { ebpf, direction })
}

fn classifier_mut<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, ProgramError> {
    match ebpf.program_mut(name) {
        Some(program) => program.try_into(),
        None => Err(ProgramError::NotLoaded),
    }
}

/// Returns whether the kernel has the helper `bpf_ktime_get_coarse_ns` (since 5.11, and
/// backported).
fn has_coarse_clock() -> Result<bool, BpfError> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let helper = BpfHelper::BPF_FUNC_ktime_get_coarse_ns;
    let supported = is_helper_supported(ProgramType::SchedClassifier, helper)
        .map_err(|cause| BpfError::load("coarse-clock-probe", cause))?;
    Ok(*KNOWN.get_or_init(|| supported))
}

impl LoadedProgram {
    /// The program as an object of aya, with which tests can run it.
    pub fn classifier(&self) -> Option<&SchedClassifier> {
        self.ebpf
            .program(program_name(self.direction))?
            .try_into()
            .ok()
    }

    /// The program's file descriptor.
    pub(super) fn as_fd(&self) -> Result<BorrowedFd<'_>, BpfError> {
        let name = program_name(self.direction);
        self.classifier()
            .ok_or(ProgramError::NotLoaded)
            .and_then(SchedClassifier::fd)
            .map(AsFd::as_fd)
            .map_err(|cause| BpfError::load(name, cause))
    }
}

impl std::fmt::Debug for LoadedProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedProgram")
            .field("name", &program_name(self.direction))
            .finish_non_exhaustive()
    }
}
