//! The few bpf(2) commands for which aya 0.14 has no call that does the same. Each function says
//! why.
//!
//! Each is one function over [`bpf`]. The structs come from aya-obj, which generates them from the
//! kernel's headers.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_F_BEFORE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type, bpf_prog_info,
};

use eni_steer_core::model::{Direction, IfIndex};

/// Attributes in which everything is zero, as the kernel demands of fields that a command does not
/// use.
fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers, for which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf(2).
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a complete bpf_attr. Its pointers point to memory that the callers below
    // keep alive and that has the size they state.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Calls bpf(2) with a command that returns a new file descriptor.
fn new_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the commands called here return a new descriptor, which has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn tcx_hook(direction: Direction) -> bpf_attach_type {
    match direction {
        Direction::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        Direction::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// BPF_OBJ_GET: opens the object that is pinned at a path.
///
/// aya's `PinnedLink::from_pin` opens a link, but gives out neither its descriptor nor its
/// interface.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    new_fd(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

/// BPF_OBJ_PIN: pins a link at a path.
///
/// aya pins only links that it created or opened itself, and [`create_tcx_link`] creates this one.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = raw(object);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// BPF_LINK_CREATE: attaches a program to a TCX hook, before the programs that are attached
/// already.
///
/// aya's `attach_with_options` with `LinkOrder::first()` finds the interface by name. A name can
/// move to another interface after eni-steer has read the host; an index cannot.
pub(super) fn create_tcx_link(
    program: BorrowedFd<'_>,
    ifindex: IfIndex,
    direction: Direction,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = raw(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex.get();
    attr.link_create.attach_type = tcx_hook(direction) as u32;
    attr.link_create.flags = BPF_F_BEFORE;
    new_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// BPF_LINK_UPDATE: replaces the program of a link atomically.
///
/// aya's `attach_to_link` needs a link that aya opened, so the pin would have to be opened and
/// examined a second time.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_update.link_fd = raw(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = raw(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// BPF_LINK_DETACH: detaches the program before the call returns, even if another process holds the
/// link open.
///
/// aya has no call for it: it only closes its own descriptor of a link.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = raw(link);
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// What the kernel reports about a TCX link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcxLink {
    /// The interface; `None` if the link is no longer attached, because its interface was removed
    /// or it was detached.
    pub ifindex: Option<IfIndex>,
    /// The direction of the hook.
    pub direction: Direction,
    /// Kernel id of the link's program.
    pub program: u32,
}

/// BPF_OBJ_GET_INFO_BY_FD: describes a link; `None` if it is not a TCX link.
///
/// aya's `LinkInfo` has the program's id, but neither the interface nor the direction.
pub(super) fn tcx_link(link: BorrowedFd<'_>) -> io::Result<Option<TcxLink>> {
    // SAFETY: a struct of integers and of a union of integers, for which zero is a valid value.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    object_info(link, &mut info)?;
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        return Ok(None);
    }
    // SAFETY: the type tells which member of the union the kernel has filled.
    let tcx = unsafe { info.__bindgen_anon_1.tcx };
    let direction = if tcx.attach_type == bpf_attach_type::BPF_TCX_INGRESS as u32 {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    Ok(Some(TcxLink {
        ifindex: IfIndex::new(tcx.ifindex),
        direction,
        program: info.prog_id,
    }))
}

/// BPF_OBJ_GET_INFO_BY_FD. The struct stays zero wherever the kernel writes nothing.
fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = zeroed();
    attr.info.bpf_fd = raw(object);
    attr.info.info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    attr.info.info = std::ptr::from_mut(info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// BPF_PROG_QUERY: ids of the programs on a TCX hook, in the order in which they run; `None` if the
/// kernel has no TCX.
///
/// aya's `query_tcx` finds the interface by name, and also opens each program: it fails without
/// CAP_SYS_ADMIN, or if one of them is unloaded during the call.
pub(super) fn tcx_programs(ifindex: IfIndex, direction: Direction) -> io::Result<Option<Vec<u32>>> {
    // The kernel allows at most 64 programs on a hook.
    let mut ids = vec![0u32; 64];
    let mut attr = zeroed();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex.get();
    attr.query.attach_type = tcx_hook(direction) as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.prog_cnt = 64;
    match bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        Ok(_) => {}
        // No program was ever attached to the hook.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Some(Vec::new())),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    }
    // SAFETY: this command fills this member of the union.
    let count = unsafe { attr.query.__bindgen_anon_2.prog_cnt };
    ids.truncate(count as usize);
    Ok(Some(ids))
}

/// The name of the program with a kernel id; `None` if this process may not open it
/// (CAP_SYS_ADMIN).
///
/// aya 0.14 opens a program by its id only while it lists all programs of the machine.
pub(super) fn name_of_program(id: u32) -> Option<String> {
    let mut attr = zeroed();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    let program = new_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr).ok()?;
    // SAFETY: a struct of integers and of arrays of integers, for which zero is a valid value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    object_info(program.as_fd(), &mut info).ok()?;
    let name: Vec<u8> = info
        .name
        .iter()
        .map(|c| c.cast_unsigned())
        .take_while(|c| *c != 0)
        .collect();
    String::from_utf8(name).ok()
}

/// A position in a map, between two batches. The kernel stores a bucket number in it for hash maps,
/// and an index for arrays.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor(Option<[u8; 32]>);

impl Cursor {
    /// The position before the entry of an array at this index.
    pub fn at(index: u32) -> Self {
        Self(index.checked_sub(1).map(|before| {
            let mut cursor = [0; 32];
            cursor[..4].copy_from_slice(&before.to_ne_bytes());
            cursor
        }))
    }
}

/// BPF_MAP_LOOKUP_BATCH: reads up to `count` entries into `keys` and `values`, which must have room
/// for them. Returns how many it read, and whether the end of the map is reached.
///
/// aya has no call that reads several entries at once.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let mut next = [0u8; 32];
    let mut attr = zeroed();
    attr.batch.map_fd = raw(map);
    attr.batch.count = count;
    attr.batch.keys = keys.as_mut_ptr() as u64;
    attr.batch.values = values.as_mut_ptr() as u64;
    attr.batch.out_batch = next.as_mut_ptr() as u64;
    if let Some(position) = &cursor.0 {
        attr.batch.in_batch = position.as_ptr() as u64;
    }
    let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
    // SAFETY: this command fills this member of the union.
    let found = unsafe { attr.batch.count };
    cursor.0 = Some(next);
    match result {
        Ok(_) => Ok((found, false)),
        // The end of the map, with the entries that were read before it.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((found, true)),
        Err(e) => Err(e),
    }
}
