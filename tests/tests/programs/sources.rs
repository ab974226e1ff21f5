//! The table of sources: which sources it lists, which it evicts, and that no row mixes two
//! sources.

use std::net::{IpAddr, Ipv4Addr};

use aya::maps::{Map, MapData, PerCpuArray};
use eni_steer_common::{SourceSet, names};
use eni_steer_core::counters::{Snapshot, Source};
use eni_steer_core::model::{Direction, Mode};
use eni_steer_linux::bpf::Limits;
use eni_steer_tests::packets::Packet;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::bench::*;

/// The smallest table that can be made.
const SMALL: Limits = Limits {
    addresses: 16,
    prefixes: 16,
    next_hops: 16,
    exempt: 16,
    strays: 16,
    source_bytes: 0,
    event_bytes: 64 << 10,
};

/// Each CPU has its own sources, so the thread must stay on the CPU where it is.
fn stay_on_one_cpu() {
    let mut one = CpuSet::new();
    // SAFETY: the call has no arguments and no preconditions.
    let here = unsafe { libc::sched_getcpu() };
    one.set(usize::try_from(here).expect("a CPU"))
        .expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &one).expect("a CPU we may use");
}

fn number(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0b00_0000 + n).into()
}

fn receive(bench: &Bench, source: IpAddr, payload: usize) {
    let packet = Packet::udp(source, ip(OWN4), payload).bytes();
    bench.run(Direction::Ingress, &packet, Metadata::default());
}

fn row(snapshot: &Snapshot, source: IpAddr) -> Option<&Source> {
    let mut sources = snapshot.sources.iter();
    sources.find(|row| row.source.addr() == source)
}

#[test]
fn a_source_that_comes_again_and_again_is_listed_whatever_passes_through() {
    stay_on_one_cpu();
    let bench = Bench::with_limits(Mode::Count, &SMALL);
    let regular = ip(FAR4);
    const TIMES: u32 = 2000;
    for n in 0..TIMES {
        receive(&bench, regular, 0);
        receive(&bench, number(n), 0);
    }
    let snapshot = bench.read();
    let row = row(&snapshot, regular).expect("it is listed");
    assert_eq!(row.count.packets, u64::from(TIMES));
}

#[test]
fn sources_are_listed_as_long_as_there_is_room_and_evictions_are_counted() {
    stay_on_one_cpu();
    let bench = Bench::with_limits(Mode::Count, &SMALL);
    let told = |snapshot: &Snapshot| {
        let here = snapshot.interface(index(HERE)).expect("this ENI");
        here.losses.get("source-evicted").copied().unwrap_or(0)
    };
    let mut sent = 0;
    while sent < 1000 {
        receive(&bench, number(sent), 0);
        sent += 1;
        let snapshot = bench.read();
        let listed = snapshot.sources.len() as u64;
        assert_eq!(listed + told(&snapshot), u64::from(sent));
        let entries = snapshot.maps.iter().find(|map| map.name == "SOURCES");
        let entries = entries.expect("there is such a map");
        assert_eq!(entries.entries.map(u64::from), Some(listed));
        // A set has eight entries.
        assert!(sent > 8 || told(&snapshot) == 0, "{sent}");
    }
    assert!(told(&bench.read()) > 0, "nobody was evicted");
}

/// A reader may find a half-finished change, while a program gives an entry to another source:
/// the key of one, the counts of another.
#[test]
fn a_set_that_is_being_changed_is_read_again_and_never_guessed_at() {
    stay_on_one_cpu();
    let bench = Bench::with_limits(Mode::Count, &SMALL);
    let pinned = MapData::from_pin(bench.maps.root().map(names::SOURCES)).expect("it is pinned");
    let sets = PerCpuArray::<_, SourceSet>::try_from(Map::PerCpuArray(pinned));
    let mut sets = sets.expect("a table of sources");
    let mut sources = 0;
    // Two entries of a set have been given to other sources, and no change is going on.
    let (index, given) = loop {
        receive(&bench, number(sources), 0);
        sources += 1;
        let mut all = (0..sets.len()).map(|index| (index, sets.get(&index, 0).expect("a set")));
        if let Some(found) = all.find(|(_, cpus)| cpus.iter().any(|set| set.begun == 2)) {
            break found;
        }
    };
    assert!(given.iter().all(|set| set.finished == set.begun));
    let listed: usize = given.iter().map(|set| set.listed().count()).sum();
    assert_eq!(listed, 2);
    let mut set = |change: fn(&mut SourceSet)| {
        let mut cpus = given.to_vec();
        cpus.iter_mut().for_each(change);
        sets.set(index, cpus.try_into().expect("one for each CPU"), 0)
            .expect("it is there");
        bench.read().sources.len()
    };
    let all = sources as usize;
    assert_eq!(set(|set| set.begun += 1), all - 2, "its sources are other");
    assert_eq!(set(|_| ()), all, "nothing was forgotten");
}
