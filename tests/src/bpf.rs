//! BPF programs and maps of another program, made with bare bpf(2) calls, so that they do not
//! depend on any library that eni-steer uses.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::{Bpffs, NetNs, run_ok};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// A TC program that eni-steer does not know.
#[derive(Debug)]
pub struct TcxProgram(OwnedFd);

impl TcxProgram {
    /// Loads a program that passes every packet on.
    #[track_caller]
    pub fn pass() -> Self {
        Self::load(&[
            0xffff_ffff_0000_00b7, // r0 = TCX_NEXT
            0x0000_0000_0000_0095, // exit
        ])
    }

    /// Loads a program that drops packets with this mark and passes all others on.
    #[track_caller]
    pub fn drop_mark(mark: u32) -> Self {
        Self::load(&[
            0x0000_0000_0008_1061,                         // r0 = skb->mark
            0x0000_0000_0002_0015 | u64::from(mark) << 32, // if r0 == mark goto +2
            0xffff_ffff_0000_00b7,                         // r0 = TCX_NEXT
            0x0000_0000_0000_0095,                         // exit
            0x0000_0002_0000_00b7,                         // r0 = TCX_DROP
            0x0000_0000_0000_0095,                         // exit
        ])
    }

    #[track_caller]
    fn load(instructions: &[u64]) -> Self {
        Self(load(BPF_PROG_TYPE_SCHED_CLS, instructions))
    }

    /// Attaches the program to a hook of a device as clsact's first filter, which every kernel
    /// supports. It disappears with the device.
    #[track_caller]
    pub fn attach_as_filter(&self, ns: &NetNs, device: &str, hook: &str) {
        let bpffs = Bpffs::mount_private();
        let path = bpffs.path().join("filter");
        pin(&self.0, &path);
        if !tc(ns, &format!("qdisc show dev {device}")).contains("clsact") {
            tc(ns, &format!("qdisc add dev {device} clsact"));
        }
        let path = path.display();
        let words = format!("filter add dev {device} {hook} prio 1 bpf da object-pinned {path}");
        tc(ns, &words);
    }

    /// Attaches the program to a hook of a device by TCX, until the returned link is closed.
    #[track_caller]
    pub fn attach(&self, ns: &NetNs, device: &str, ingress: bool) -> OwnedFd {
        let attached = ns.run(|| {
            let create = LinkCreate {
                prog_fd: fd(&self.0),
                target_ifindex: if_nametoindex(device)?,
                attach_type: if ingress {
                    BPF_TCX_INGRESS
                } else {
                    BPF_TCX_EGRESS
                },
                ..LinkCreate::default()
            };
            bpf(BPF_LINK_CREATE, &create)
        });
        attached.unwrap_or_else(|e| panic!("TCX on {device} of {}: {e}", ns.name()))
    }
}

#[track_caller]
fn tc(ns: &NetNs, words: &str) -> String {
    run_ok(ns, "tc", words.split_whitespace())
}

/// The part of bpf_attr that BPF_LINK_CREATE reads.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u64,
    expected_revision: u64,
}

/// Loads a program. `instructions` are `struct bpf_insn`, each with its opcode in the lowest
/// byte.
#[track_caller]
fn load(kind: u32, instructions: &[u64]) -> OwnedFd {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
    }
    let license = c"GPL";
    let load = Load {
        prog_type: kind,
        insn_cnt: u32::try_from(instructions.len()).expect("a short program"),
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: *b"someone_elses\0\0\0",
        ..Load::default()
    };
    bpf(BPF_PROG_LOAD, &load).unwrap_or_else(|e| panic!("a program does not load: {e}"))
}

/// Loads an XDP program.
#[track_caller]
pub(crate) fn load_xdp(instructions: &[u64]) -> OwnedFd {
    load(BPF_PROG_TYPE_XDP, instructions)
}

/// Attaches an XDP program, in the driver, to a device of the calling thread's namespace, until
/// the returned link is closed.
#[track_caller]
pub(crate) fn attach_xdp(program: &OwnedFd, ifindex: u32) -> OwnedFd {
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    let create = LinkCreate {
        prog_fd: fd(program),
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
        ..LinkCreate::default()
    };
    bpf(BPF_LINK_CREATE, &create).unwrap_or_else(|e| panic!("XDP on device {ifindex}: {e}"))
}

/// The part of bpf_attr that BPF_PROG_TEST_RUN reads; it writes `retval` and `duration`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _pad: u32,
}

/// Runs an XDP program on `count` copies of a frame. A device of the calling thread's namespace
/// receives those that it passes. Returns the nanoseconds per frame.
#[track_caller]
pub(crate) fn run_live(program: &OwnedFd, ifindex: u32, frame: &[u8], count: u32) -> u32 {
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
    let length = u32::try_from(frame.len()).expect("a short frame");
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    let context = [0, length, 0, ifindex, 0, 0];
    let mut run = TestRun {
        prog_fd: fd(program),
        data_size_in: length,
        data_in: frame.as_ptr() as u64,
        repeat: count,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_in: context.as_ptr() as u64,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        ..TestRun::default()
    };
    // SAFETY: `run` is a prefix of bpf_attr with the size passed, the kernel may write to it, and
    // the buffers it points to outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut run,
            size_of::<TestRun>(),
        )
    };
    let error = io::Error::last_os_error();
    assert!(answer == 0, "live frames on device {ifindex}: {error}");
    run.duration
}

/// Pins an array of one entry, a map that belongs to no program.
#[track_caller]
pub fn pin_some_map(path: &Path) {
    #[repr(C)]
    struct Create {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    let create = Create {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
    };
    let map = bpf(BPF_MAP_CREATE, &create).unwrap_or_else(|e| panic!("can not create a map: {e}"));
    pin(&map, path);
}

#[track_caller]
fn pin(of: &OwnedFd, path: &Path) {
    #[repr(C)]
    struct Pin {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path without zeros");
    let pin = Pin {
        pathname: name.as_ptr() as u64,
        bpf_fd: fd(of),
        file_flags: 0,
    };
    let pinned = call(BPF_OBJ_PIN, &pin);
    pinned.unwrap_or_else(|e| panic!("can not pin {}: {e}", path.display()));
}

fn fd(of: &OwnedFd) -> u32 {
    u32::try_from(of.as_raw_fd()).expect("a descriptor is not negative")
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
    // Before 5.11 programs and maps count as locked memory, of which a user may have 64 KiB.
    match setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        // Root in a container may not raise the limit. If that matters, the call itself fails.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    let fd = call(command, attr)?;
    // SAFETY: with these commands the call returns a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_int, attr: &T) -> io::Result<i32> {
    // SAFETY: `attr` is a prefix of bpf_attr with the size passed, the buffers it points to
    // outlive the call, and none of the commands writes to it.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(answer).expect("a descriptor fits"))
}
