//! The programs in this binary, loaded for one ENI and one direction.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::fd::{AsFd, BorrowedFd},
    panic::resume_unwind,
    path::PathBuf,
    sync::OnceLock,
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, ProgramFd, ProgramType, SchedClassifier},
    sys::{BpfHelper, is_helper_supported},
};
use eni_steer_common::names;

use super::{error::BpfError, maps::Maps};
use eni_steer_core::model::{Direction, IfIndex};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENI_STEER_BPF_OBJECT_PATH"));

/// Identifies the programs in this binary.
pub const BUILD: u64 = hex(env!("ENI_STEER_BPF_OBJECT_HASH"));

/// Ring buffer of aya-log.
const LOG_MAP: &str = "AYA_LOGS";
/// Its size while nothing is logged: a map there must be.
const NO_LOGS: u32 = 4096;
/// Its size while something is, as aya-log makes it.
const LOGS: u32 = 128 << 10;

/// How many threads load at most: each holds the kernel's types meanwhile, some 15 MB.
const THREADS: usize = 8;

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

/// What is to be loaded: the program of a direction, for an ENI that has been taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The ENI.
    pub ifindex: IfIndex,
    /// The direction.
    pub direction: Direction,
    /// Level of its log for developers.
    pub log_level: u8,
}

/// Loads the program of a direction for an ENI that has been taken in.
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

/// Loads programs; what the verifier says to each. It is what takes time, and it has a CPU for
/// each thread that asks. aya reads the kernel's types (BTF) for each loader, which takes long as
/// well: one loader does for all of a thread.
pub fn load_all(
    maps: &Maps,
    all: &[Wanted],
) -> Result<Vec<Result<LoadedProgram, BpfError>>, BpfError> {
    let with_slots = all
        .iter()
        .map(|wanted| Ok((*wanted, u32::from(maps.known_slot(wanted.ifindex)?.0))))
        .collect::<Result<Vec<_>, BpfError>>()?;
    let same = Same {
        coarse_clock: u32::from(has_coarse_clock()?),
        source_sets: maps.sources.len(),
        source_seed: source_seed()?,
        paths: names::PINNED.map(|name| maps.root.map(name)),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = with_slots.len().div_ceil(threads.min(THREADS)).max(1);
    let loaded = thread::scope(|scope| {
        let shares = with_slots.chunks(share);
        let started: Vec<_> = shares
            .map(|share| scope.spawn(|| load_share(&same, share)))
            .collect();
        let loaded = started.into_iter().map(|thread| match thread.join() {
            Ok(loaded) => loaded,
            Err(panic) => resume_unwind(panic),
        });
        loaded.flatten().collect()
    });
    give_back();
    Ok(loaded)
}

/// What the loaders held goes back to the system: a daemon lives on without it.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What is the same for all programs.
struct Same {
    coarse_clock: u32,
    source_sets: u32,
    source_seed: u64,
    paths: [PathBuf; names::PINNED.len()],
}

fn load_share(same: &Same, share: &[(Wanted, u32)]) -> Vec<Result<LoadedProgram, BpfError>> {
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::GLOBAL_COARSE_CLOCK, &same.coarse_clock, true)
        .override_global(names::GLOBAL_SOURCE_SETS, &same.source_sets, true)
        .override_global(names::GLOBAL_SOURCE_SEED, &same.source_seed, true);
    for (name, path) in names::PINNED.iter().zip(&same.paths) {
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

fn load_one(loader: &mut EbpfLoader<'_>, direction: Direction) -> Result<LoadedProgram, BpfError> {
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
