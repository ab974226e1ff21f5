//! Lists programs that are attached with TCX, which `tc` does not show.

use std::io;

/// The command BPF_PROG_QUERY of bpf(2).
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// More programs than anybody attaches to one hook.
const MOST: usize = 64;

/// The head of `union bpf_attr` that BPF_PROG_QUERY reads.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    _pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Returns the ids of the programs on both hooks of a device of the calling thread's namespace,
/// as lines of text; none if the kernel has no TCX.
pub(crate) fn programs(ifindex: u32) -> Vec<String> {
    [(BPF_TCX_INGRESS, "ingress"), (BPF_TCX_EGRESS, "egress")]
        .into_iter()
        .flat_map(|(hook, name)| {
            query(ifindex, hook)
                .into_iter()
                .map(move |id| format!("tcx {name} program {id}"))
        })
        .collect()
}

/// Returns the ways to attach programs that this kernel supports, with eni-steer's words for them
/// and the preferred one first.
#[must_use]
pub fn attach_kinds() -> &'static [&'static str] {
    if kernel_has_tcx() {
        &["tcx", "clsact"]
    } else {
        &["clsact"]
    }
}

/// Returns whether this kernel supports TCX. It asks the kernel and does not look at its version.
#[must_use]
pub fn kernel_has_tcx() -> bool {
    const LO: u32 = 1;
    let mut attr = Query {
        target_ifindex: LO,
        attach_type: BPF_TCX_INGRESS,
        ..Query::default()
    };
    // Without `prog_ids` the kernel returns only the number of programs.
    let answer = ask(&mut attr);
    // Before 6.6 the kernel does not know this attach type and returns EINVAL.
    !matches!(answer, Err(error) if error.raw_os_error() == Some(libc::EINVAL))
}

/// Runs the query. `prog_ids` must be null or point to `prog_cnt` writable u32.
fn ask(attr: &mut Query) -> io::Result<()> {
    // SAFETY: `attr` is a prefix of bpf_attr with the size passed and outlives the call, and so
    // does the buffer that `prog_ids` points to.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            std::ptr::from_mut(attr),
            size_of::<Query>(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn query(ifindex: u32, hook: u32) -> Vec<u32> {
    let mut ids = [0u32; MOST];
    let mut attr = Query {
        target_ifindex: ifindex,
        attach_type: hook,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST as u32,
        ..Query::default()
    };
    let Err(error) = ask(&mut attr) else {
        return ids[..attr.prog_cnt as usize].to_vec();
    };
    match error.raw_os_error() {
        // EINVAL: before 6.6 there is no such attach type. ENOENT: nothing was ever attached.
        Some(libc::EINVAL | libc::ENOENT) => Vec::new(),
        _ => panic!("can not ask for TCX programs of device {ifindex}: {error}"),
    }
}
