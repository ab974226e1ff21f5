//! Real lookups of a source, from the kernel's tracepoints of routing tables.

use std::{
    collections::BTreeMap, fs, io, net::IpAddr, os::unix::fs::MetadataExt as _, thread::sleep,
    time::Duration,
};

use aya::{
    EbpfLoader,
    maps::{PerCpuArray, PerCpuHashMap},
    programs::{ProgramError, RawTracePoint},
};
use eni_steer_common::{LookupKey, Offsets, names};
use eni_steer_core::{
    explain::{Live, Lookups},
    model::TableId,
};

use super::{btf::Structures, error::BpfError};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENI_STEER_BPF_LOOKUPS_PATH"));

const BTF: &str = "/sys/kernel/btf/vmlinux";
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Watches the lookups of a source in the network namespace of this thread. Lookups of IPv4 that
/// find no route do not tell their namespace: those of another one with the same source are among
/// them.
///
/// # Errors
/// The kernel has no such tracepoint or no BTF, or the privilege is missing.
pub fn watch_lookups(source: IpAddr, time: Duration) -> Result<Live, BpfError> {
    if OBJECT.is_empty() {
        return Err(unsupported(
            "watch route lookups",
            "this eni-steer was built without the program for it",
        ));
    }
    let offsets = offsets(source)?;
    let words: [u32; 4] = match source {
        IpAddr::V4(v4) => [u32::from_ne_bytes(v4.octets()), 0, 0, 0],
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let (words, _) = octets.as_chunks::<4>();
            std::array::from_fn(|n| u32::from_ne_bytes(words[n]))
        }
    };
    let inode = fs::metadata(NAMESPACE)
        .map_err(|cause| BpfError::io(format!("read {NAMESPACE}"), cause))?
        .ino();
    let inode = u32::try_from(inode).unwrap_or_default();
    let (program, tracepoint) = names::LOOKUP_PROGRAMS[usize::from(source.is_ipv6())];
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::GLOBAL_OFFSETS, &offsets, true)
        .override_global(names::GLOBAL_SOURCE, &words, true)
        .override_global(names::GLOBAL_NAMESPACE, &inode, true);
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|cause| BpfError::Object(Box::new(cause)))?;
    let attach = |ebpf: &mut aya::Ebpf| -> Result<(), ProgramError> {
        let found = ebpf.program_mut(program);
        let watcher: &mut RawTracePoint = found.ok_or(ProgramError::NotLoaded)?.try_into()?;
        watcher.load()?;
        watcher.attach(tracepoint)?;
        Ok(())
    };
    attach(&mut ebpf).map_err(|cause| match &cause {
        ProgramError::SyscallError(error)
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            unsupported(
                format!("attach to tracepoint {tracepoint}"),
                "the kernel has no such tracepoint",
            )
        }
        _ => BpfError::load(program, cause),
    })?;
    sleep(time);
    seen(&ebpf, time)
}

fn unsupported(what: impl Into<String>, why: &str) -> BpfError {
    BpfError::KernelTooOld {
        what: what.into(),
        cause: io::Error::new(io::ErrorKind::Unsupported, why),
    }
}

/// Where the fields are that the program of a family reads.
fn offsets(source: IpAddr) -> Result<Offsets, BpfError> {
    let btf = fs::read(BTF).map_err(|cause| BpfError::KernelTooOld {
        what: format!("read the kernel's types in {BTF}"),
        cause,
    })?;
    let structures = [
        "flowi4",
        "flowi6",
        "fib_nh_common",
        "net_device",
        "net",
        "ns_common",
        "possible_net_t",
        "fib6_table",
        "fib6_result",
    ];
    let found = Structures::read(&btf, &structures)
        .ok_or_else(|| unsupported("watch route lookups", "its BTF cannot be understood"))?;
    let of = |structure: &str, field: &str| {
        found.field(structure, field).ok_or_else(|| {
            unsupported(
                "watch route lookups",
                &format!("its BTF has no field {structure}.{field}"),
            )
        })
    };
    let six = source.is_ipv6();
    let of_six = |structure, field| if six { of(structure, field) } else { Ok(0) };
    Ok(Offsets {
        source: of(if six { "flowi6" } else { "flowi4" }, "saddr")?,
        nexthop_oif: of("fib_nh_common", "nhc_oif")?,
        nexthop_device: of("fib_nh_common", "nhc_dev")?,
        device_net: of("net_device", "nd_net")?,
        net_inode: of("net", "ns")? + of("ns_common", "inum")?,
        table6_id: of_six("fib6_table", "tb6_id")?,
        result6_nexthop: of_six("fib6_result", "nh")?,
        result6_type: of_six("fib6_result", "fib6_type")?,
    })
}

/// What was counted.
fn seen(ebpf: &aya::Ebpf, time: Duration) -> Result<Live, BpfError> {
    let missing = || unsupported("read what was counted", "the map is not there");
    let read = |what: &'static str| move |cause| BpfError::map(format!("read {what}"), cause);
    let map = ebpf.map(names::LOOKUPS).ok_or_else(missing)?;
    let map: PerCpuHashMap<_, LookupKey, u64> =
        PerCpuHashMap::try_from(map).map_err(read(names::LOOKUPS))?;
    let mut counts: BTreeMap<(u32, String), u64> = BTreeMap::new();
    for entry in map.iter() {
        let (key, values) = entry.map_err(read(names::LOOKUPS))?;
        *counts.entry((key.table, answer(&key))).or_default() += values.iter().sum::<u64>();
    }
    let mut lookups: Vec<Lookups> = counts
        .into_iter()
        .map(|((table, answer), count)| Lookups {
            table: TableId(table),
            count,
            answer,
        })
        .collect();
    lookups.sort_by_key(|lookup| std::cmp::Reverse(lookup.count));
    let lost = ebpf.map(names::LOST_LOOKUPS).ok_or_else(missing)?;
    let lost: PerCpuArray<_, u64> =
        PerCpuArray::try_from(lost).map_err(read(names::LOST_LOOKUPS))?;
    let lost = lost.get(&0, 0).map_err(read(names::LOST_LOOKUPS))?;
    Ok(Live {
        seconds: time.as_secs(),
        lookups,
        lost: lost.iter().sum(),
    })
}

/// What a table answered, in words.
fn answer(key: &LookupKey) -> String {
    let name = || {
        let name = nix::net::if_::if_indextoname(key.oif).ok();
        let name = name.and_then(|name| name.into_string().ok());
        name.unwrap_or_else(|| format!("interface {}", key.oif))
    };
    match (-key.error, key.kind) {
        (libc::EAGAIN, _) => "no route".to_owned(),
        (libc::EACCES, _) => "prohibit".to_owned(),
        (libc::EHOSTUNREACH, _) => "unreachable".to_owned(),
        (libc::EINVAL, _) => "blackhole".to_owned(),
        // The entry of IPv6 that stands for no route says "unreachable" and has no interface.
        (0, _) if key.oif == 0 => "no route".to_owned(),
        (0, kind) => match u8::try_from(kind).unwrap_or_default() {
            libc::RTN_LOCAL => "this host".to_owned(),
            libc::RTN_BLACKHOLE => "blackhole".to_owned(),
            libc::RTN_UNREACHABLE => "unreachable".to_owned(),
            libc::RTN_PROHIBIT => "prohibit".to_owned(),
            libc::RTN_THROW => "throw route".to_owned(),
            _ => format!("dev {}", name()),
        },
        (errno, _) => format!("error {errno}"),
    }
}
