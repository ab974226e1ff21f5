//! Two ENIs that exist only in the maps, and the programs of the first.

use std::{
    ffi::CString,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use aya::{
    TestRunOptions,
    programs::{SchedClassifier, TestRun},
};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_type};
use eni_steer_core::{
    counters::{Count, EniId, Snapshot},
    model::{Direction, EniRow, IfIndex, Mac, Mode, NextHop, Owner, Settings},
};
use eni_steer_linux::bpf::{self, Limits, LoadedProgram, Maps, PinRoot};
use eni_steer_tests::{Bpffs, packets::Packet};
use ipnet::IpNet;

/// The program's answer to TC: go on as if the program were not there.
pub const NEXT: i32 = -1;
/// The program's answer to TC: drop the packet.
pub const SHOT: i32 = 2;
/// The program's answer to TC: send the packet out of another interface.
pub const REDIRECT: i32 = 7;

/// Interface index of the ENI whose programs run.
pub const HERE: u32 = 101;
/// Interface index of the other ENI.
pub const THERE: u32 = 102;
/// Interface index of a third ENI, in tests that need one.
pub const ELSEWHERE: u32 = 103;

/// IPv4 address of the ENI whose programs run.
pub const OWN4: &str = "172.16.20.176";
pub const OWN6: &str = "fd00:20::176";
/// IPv4 address of the other ENI.
pub const THEIRS4: &str = "172.16.20.177";
pub const THEIRS6: &str = "fd00:20::177";
/// IPv4 address of a remote host.
pub const FAR4: &str = "192.0.2.10";
pub const FAR6: &str = "2001:db8:1::10";

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| IpNet::from(ip(text)))
}

pub fn index(number: u32) -> IfIndex {
    IfIndex::new(number).expect("not 0")
}

/// The metadata that the kernel accepts with a test packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata {
    pub mark: u32,
    pub priority: u32,
    pub wire_len: u32,
    pub gso_segs: u32,
    pub gso_size: u32,
}

pub struct Bench {
    pub maps: Maps,
    ingress: LoadedProgram,
    egress: LoadedProgram,
    // Last, so that the pins are removed after everything that uses them.
    _bpffs: Bpffs,
}

pub fn row(last: u8, mode: Mode) -> EniRow {
    EniRow {
        mac: Mac([2, 0, 0, 0, 0, last]),
        mtu: 1500,
        mode,
        up: true,
    }
}

impl Bench {
    /// Makes two ENIs with their addresses and tables; the first has this mode.
    pub fn new(mode: Mode) -> Self {
        Self::with_limits(
            mode,
            &Limits {
                source_bytes: 128 << 10,
                ..Limits::default()
            },
        )
    }

    pub fn with_limits(mode: Mode, limits: &Limits) -> Self {
        let bpffs = Bpffs::mount_private();
        let root = PinRoot::here(bpffs.path()).expect("a namespace");
        let mut maps = Maps::create(&root, limits).expect("maps");
        // Otherwise tests that send thousands of packets would reach the limit of events.
        let quiet = Settings {
            events_per_second: 0,
            ..Settings::default()
        };
        maps.set_settings(&quiet).expect("settings");
        maps.set_eni(index(HERE), Some(&row(1, mode)))
            .expect("an ENI");
        maps.set_eni(index(THERE), Some(&row(2, Mode::Count)))
            .expect("an ENI");
        for (address, eni) in [
            (OWN4, HERE),
            (OWN6, HERE),
            (THEIRS4, THERE),
            (THEIRS6, THERE),
        ] {
            maps.set_owner(net(address), Some(Owner::Eni(index(eni))))
                .expect("an owner");
        }
        for (destination, hop) in [
            ("172.16.20.0/24", NextHop::OnLink { mtu: None }),
            ("fd00:20::/64", NextHop::OnLink { mtu: None }),
            ("0.0.0.0/0", via("172.16.20.253")),
            ("::/0", via("fd00:20::253")),
        ] {
            maps.set_next_hop(index(THERE), net(destination), Some(hop))
                .expect("a route");
        }
        let load = |direction| {
            bpf::load(&maps, index(HERE), direction, 0).unwrap_or_else(|e| panic!("{e:?}"))
        };
        Self {
            ingress: load(Direction::Ingress),
            egress: load(Direction::Egress),
            maps,
            _bpffs: bpffs,
        }
    }

    pub fn program(&self, direction: Direction) -> &LoadedProgram {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    pub fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            events_per_second: 0,
            ..Settings::default()
        };
        change(&mut settings);
        self.maps.set_settings(&settings).expect("settings");
    }

    /// Runs the program on the packet once; returns its answer to TC.
    #[track_caller]
    pub fn run(&self, direction: Direction, packet: &[u8], metadata: Metadata) -> i32 {
        run(self.program(direction), packet, Some(metadata), 1).0
    }

    /// Returns whether the kernel runs a program on this packet at all. In a test run, recent
    /// kernels refuse packets that end inside their IP header; `hooks` sends such packets over a
    /// real device.
    pub fn takes(&self, packet: &[u8]) -> bool {
        let program = self
            .program(Direction::Ingress)
            .classifier()
            .expect("it is loaded");
        let options = TestRunOptions {
            data_in: Some(packet),
            ..TestRunOptions::default()
        };
        program.test_run(options).is_ok()
    }

    /// Runs the egress program on a packet and checks the answer and every counter.
    #[track_caller]
    pub fn egress(&self, packet: &Packet, answer: i32, changes: &[impl AsRef<str>]) {
        self.check(
            Direction::Egress,
            &packet.bytes(),
            Metadata::default(),
            answer,
            changes,
        );
    }

    /// Runs the ingress program on a packet and checks every counter; the answer is always to go
    /// on.
    #[track_caller]
    pub fn ingress(&self, packet: &Packet, changes: &[impl AsRef<str>]) {
        self.check(
            Direction::Ingress,
            &packet.bytes(),
            Metadata::default(),
            NEXT,
            changes,
        );
    }

    /// Runs a program on any packet with any metadata and checks the answer and every counter.
    #[track_caller]
    pub fn check(
        &self,
        direction: Direction,
        packet: &[u8],
        metadata: Metadata,
        answer: i32,
        changes: &[impl AsRef<str>],
    ) {
        let before = self.read();
        let answered = self.run(direction, packet, metadata);
        let changed = changes_between(&before, &self.read());
        let mut expected: Vec<String> = changes
            .iter()
            .map(|line| line.as_ref().to_owned())
            .collect();
        expected.sort();
        assert_eq!(
            changed, expected,
            "which counters change, for {packet:02x?}"
        );
        assert_eq!(answered, answer, "the answer to TC, for {packet:02x?}");
    }

    #[track_caller]
    pub fn read(&self) -> Snapshot {
        self.maps.read().expect("counters")
    }
}

pub fn via(gateway: &str) -> NextHop {
    NextHop::Via {
        gateway: ip(gateway),
        mtu: None,
    }
}

/// Runs a program on a packet; returns its answer to TC and the nanoseconds per run.
pub fn run(
    program: &LoadedProgram,
    packet: &[u8],
    metadata: Option<Metadata>,
    repeat: u32,
) -> (i32, u64) {
    let context = metadata.map(context);
    let program = program.classifier().expect("it is loaded");
    let mut options = TestRunOptions {
        data_in: Some(packet),
        repeat,
        ..TestRunOptions::default()
    };
    options.ctx_in = context.as_deref();
    let result = program.test_run(options).expect("BPF_PROG_TEST_RUN");
    (
        result.return_value.cast_signed(),
        u64::try_from(result.duration.as_nanos()).expect("a short time"),
    )
}

/// Loads a program of the test that only passes the packet on to the next program.
pub fn empty_program() -> OwnedFd {
    // r0 = -1; exit
    classifier(&[0xffff_ffff_0000_00b7, 0x95])
}

/// Loads a program from its instructions, each a `struct bpf_insn` with its opcode in the lowest
/// byte.
pub fn classifier(instructions: &[u64]) -> OwnedFd {
    // SAFETY: bpf_attr is a union of structs of integers, for which zero is a valid value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    attr.__bindgen_anon_3.insn_cnt = instructions.len().try_into().expect("a short program");
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    // SAFETY: this is the member of the union that was written above.
    let name = unsafe { &mut attr.__bindgen_anon_3.prog_name };
    for (to, from) in name.iter_mut().zip(b"somebody_else") {
        *to = from.cast_signed();
    }
    // SAFETY: `attr` is a complete bpf_attr, and its pointers point to buffers that outlive the
    // call.
    let fd = unsafe {
        let command = bpf_cmd::BPF_PROG_LOAD as u32;
        libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<bpf_attr>())
    };
    assert!(
        fd >= 0,
        "BPF_PROG_LOAD: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: the descriptor is new, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd.try_into().expect("a descriptor")) }
}

/// Pins a program in a file and opens it from there with aya.
pub fn pinned(program: &OwnedFd, path: &Path) -> SchedClassifier {
    let pin = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: bpf_attr is a union of structs of integers, for which zero is a valid value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_4.pathname = pin.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = program.as_raw_fd().cast_unsigned();
    // SAFETY: `attr` is a complete bpf_attr, and its pointer points to a path that outlives the
    // call.
    let result = unsafe {
        let command = bpf_cmd::BPF_OBJ_PIN as u32;
        libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<bpf_attr>())
    };
    assert_eq!(
        result,
        0,
        "BPF_OBJ_PIN: {}",
        std::io::Error::last_os_error()
    );
    SchedClassifier::from_pin(path).expect("it is pinned")
}

/// Returns a `struct __sk_buff` with only the fields that the kernel lets a test set.
pub fn context(metadata: Metadata) -> Vec<u8> {
    // The offsets are those of the kernel's header, which never change.
    let mut context = vec![0; 192];
    for (offset, value) in [
        (8, metadata.mark),
        (32, metadata.priority),
        (160, metadata.wire_len),
        (164, metadata.gso_segs),
        (176, metadata.gso_size),
    ] {
        context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}

/// Returns every counter that grew, one line each: `total egress ipv4 1/98` is one packet of 98
/// bytes.
pub fn changes_between(before: &Snapshot, now: &Snapshot) -> Vec<String> {
    let delta = now.since(before);
    let mut lines = Vec::new();
    let name = |id: EniId| {
        let eni = now.eni(id).expect("an ENI of the snapshot");
        eni_word(eni.ifindex)
    };
    let way = |direction| match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    let mut line = |text: String, count: Count| {
        if !count.is_zero() {
            lines.push(format!("{text} {}/{}", count.packets, count.bytes));
        }
    };
    for eni in &delta.enis {
        // The programs run for one ENI; counters of another one are shown with its name.
        let of = match eni.ifindex.map(IfIndex::get) {
            Some(HERE) => String::new(),
            _ => format!(" of {}", name(eni.id)),
        };
        for (direction, totals) in [("in", eni.totals.ingress), ("out", eni.totals.egress)] {
            line(format!("total {direction} ipv4{of}"), totals.ipv4);
            line(format!("total {direction} ipv6{of}"), totals.ipv6);
            line(format!("total {direction} other{of}"), totals.other);
        }
        for (fate, count) in &eni.fates {
            line(format!("fate {fate}{of}"), *count);
        }
        for (loss, count) in &eni.losses {
            line(
                format!("loss {loss}{of}"),
                Count {
                    packets: *count,
                    bytes: 0,
                },
            );
        }
    }
    for cell in &delta.cells {
        let owner = match cell.owner {
            Some(owner) if owner == cell.eni => "home".to_owned(),
            Some(owner) => format!("of {}", name(owner)),
            None => "of nobody".to_owned(),
        };
        let seen = match name(cell.eni).as_str() {
            "here" => String::new(),
            other => format!(" on {other}"),
        };
        let prefix = format!(
            "cell {} {owner}{seen} {}",
            short(cell.address),
            way(cell.direction)
        );
        line(format!("{prefix} passed"), cell.passed);
        line(format!("{prefix} steered"), cell.steered);
        line(format!("{prefix} dropped"), cell.dropped);
        line(format!("{prefix} exempt"), cell.exempt);
    }
    for source in &delta.sources {
        let mismatched = match source.mismatched {
            0 => String::new(),
            packets => format!(" mismatched {packets}"),
        };
        let prefix = format!(
            "source {} {}{mismatched}",
            short(source.source),
            way(source.direction)
        );
        line(prefix, source.count);
    }
    lines.sort();
    lines
}

/// Returns the name of an ENI in these lines.
pub fn eni_word(eni: Option<IfIndex>) -> String {
    match eni.map(IfIndex::get) {
        Some(HERE) => "here".to_owned(),
        Some(THERE) => "there".to_owned(),
        Some(ELSEWHERE) => "elsewhere".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Returns the form of an address or prefix in these lines.
pub fn short(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}
