//! The few bpf(2) commands that aya has no safe call for.
//!
//! Each is one function over [`bpf`]; the structs are aya-obj's, made from the kernel's headers.

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

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers, for which zero is a valid value; the kernel
    // demands zeros in what a command does not use.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole bpf_attr, and its pointers point to memory that the callers
    // below keep alive and of the size that they state.
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

fn new_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the commands called here return a new descriptor that nobody else owns.
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

/// BPF_OBJ_GET: opens what is pinned at a path.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    new_fd(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

/// BPF_OBJ_PIN
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = raw(object);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// BPF_LINK_CREATE on a TCX hook, before the programs that are there.
pub fn create_tcx_link(
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

/// BPF_LINK_UPDATE: puts another program in the place of a link's, in one step.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_update.link_fd = raw(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = raw(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// BPF_LINK_DETACH: off the hook when the call returns, whoever still holds the link.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = raw(link);
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// A TCX link as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcxLink {
    /// Where it is attached; `None`: nowhere any more, its interface is gone or it was detached.
    pub ifindex: Option<IfIndex>,
    /// Which hook.
    pub direction: Direction,
    /// Kernel id of its program.
    pub program: u32,
}

/// What a link is; `None` if it is no TCX link.
pub fn tcx_link(link: BorrowedFd<'_>) -> io::Result<Option<TcxLink>> {
    // SAFETY: a struct of integers and a union of such, for which zero is a valid value.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    object_info(link, &mut info)?;
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        return Ok(None);
    }
    // SAFETY: the type says which member of the union the kernel filled.
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

/// BPF_OBJ_GET_INFO_BY_FD into a struct that is zero wherever the kernel writes nothing.
fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = zeroed();
    attr.info.bpf_fd = raw(object);
    attr.info.info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    attr.info.info = std::ptr::from_mut(info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Ids of the programs on a TCX hook, in the order in which they run; `None` on a kernel
/// without TCX.
pub fn tcx_programs(ifindex: IfIndex, direction: Direction) -> io::Result<Option<Vec<u32>>> {
    // The kernel allows 64 programs on a hook.
    let mut ids = vec![0u32; 64];
    let mut attr = zeroed();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex.get();
    attr.query.attach_type = tcx_hook(direction) as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.prog_cnt = 64;
    match bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        Ok(_) => {}
        // Nothing was ever attached to the hook.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Some(Vec::new())),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    }
    // SAFETY: the query command fills this member of the union.
    let count = unsafe { attr.query.__bindgen_anon_2.prog_cnt };
    ids.truncate(count as usize);
    Ok(Some(ids))
}

/// The name of a program, if this process may know it (CAP_SYS_ADMIN).
pub fn program_name(id: u32) -> Option<String> {
    let mut attr = zeroed();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    let program = new_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr).ok()?;
    // SAFETY: a struct of integers and arrays of such, for which zero is a valid value.
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

/// Where a walk over a map stands. Hash maps keep a bucket number in it, arrays an index.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(Option<[u8; 32]>);

impl Cursor {
    /// Before the entry of an array at this index.
    pub fn at(index: u32) -> Self {
        Self(index.checked_sub(1).map(|before| {
            let mut cursor = [0; 32];
            cursor[..4].copy_from_slice(&before.to_ne_bytes());
            cursor
        }))
    }
}

/// BPF_MAP_LOOKUP_BATCH: up to `count` entries into `keys` and `values`. Returns how many, and
/// whether the walk is at its end. The slices have room for `count` keys and values.
pub fn lookup_batch(
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
    if let Some(now) = &cursor.0 {
        attr.batch.in_batch = now.as_ptr() as u64;
    }
    let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
    // SAFETY: the batch command fills this member of the union.
    let found = unsafe { attr.batch.count };
    cursor.0 = Some(next);
    match result {
        Ok(_) => Ok((found, false)),
        // The end of the map, with what was found before it.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((found, true)),
        Err(e) => Err(e),
    }
}
