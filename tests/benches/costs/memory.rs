//! How much memory the maps take, by the kernel's account.

use std::fs;
use std::path::Path;

use aya::maps::MapData;
use eni_steer_linux::bpf::{Limits, Maps, PinRoot};
use eni_steer_tests::Bpffs;

use crate::Benchmark;
use crate::report::Finding;

pub const BENCHMARK: Benchmark = Benchmark {
    name: "memory",
    about: "memory of all maps (memlock in fdinfo; before 5.11 it counts as locked)",
    measure,
};

const MIB: f64 = 1048576.0;

fn measure() -> Vec<Finding> {
    let default = Limits::default();
    let with = |change: fn(&mut Limits)| {
        let mut limits = default;
        change(&mut limits);
        limits
    };
    let mut findings =
        vec![Finding::new("all maps at defaults", total(&default), "MiB").at_most(64.0)];
    for (name, mib) in maps(&default) {
        if mib >= 0.1 {
            findings.push(Finding::new(format!("  of which {name}"), mib, "MiB"));
        }
    }
    let others: [(&str, Limits); 7] = [
        ("source_bytes = 1 MiB", with(|l| l.source_bytes = 1 << 20)),
        ("source_bytes = 8 MiB", with(|l| l.source_bytes = 8 << 20)),
        (
            "source_bytes = 128 MiB",
            with(|l| l.source_bytes = 128 << 20),
        ),
        ("addresses = 256", with(|l| l.addresses = 256)),
        ("addresses = 65536", with(|l| l.addresses = 65536)),
        ("strays = 1024", with(|l| l.strays = 1024)),
        ("event_bytes = 4 MiB", with(|l| l.event_bytes = 4 << 20)),
    ];
    for (what, limits) in others {
        findings.push(Finding::new(what, total(&limits), "MiB"));
    }
    findings
}

fn total(limits: &Limits) -> f64 {
    maps(limits).iter().map(|(_, mib)| mib).sum()
}

/// Returns every map by name with the MiB that it takes when it is empty.
fn maps(limits: &Limits) -> Vec<(String, f64)> {
    let bpffs = Bpffs::mount_private();
    let root = PinRoot::here(bpffs.path()).expect("a namespace");
    let _maps = Maps::create(&root, limits).expect("maps");
    let pins = bpffs.pins();
    let paths = pins.iter().map(|pin| bpffs.path().join(pin));
    paths.filter(|path| path.is_file()).map(memory).collect()
}

fn memory(pin: impl AsRef<Path>) -> (String, f64) {
    use std::os::fd::{AsFd, AsRawFd};

    let pin = pin.as_ref();
    let map = MapData::from_pin(pin).unwrap_or_else(|e| panic!("{}: {e}", pin.display()));
    let fd = map.fd().as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("/proc is mounted");
    let bytes: f64 = info
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no memlock in {info}"));
    let name = pin.file_name().expect("a pin has a name");
    (name.to_string_lossy().into_owned(), bytes / MIB)
}
