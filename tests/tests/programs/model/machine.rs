//! Runs the loaded programs and compares their answers with the model's.

use aya::{
    TestRunOptions,
    maps::{Map, MapData, PerCpuArray, RingBuf},
    programs::TestRun as _,
};
use eni_steer_common::{Address, Event, Fate, SourceSet, names};
use eni_steer_core::{
    counters::{EniId, Snapshot},
    model::{Datapath, Direction, IfIndex},
};
use eni_steer_linux::bpf::{self, Limits, LoadedProgram, Maps, PinRoot};
use eni_steer_tests::Bpffs;
use proptest::{prop_assert_eq, test_runner::TestCaseError};

use super::{
    generate::Scenario,
    headers::Ip,
    judge::Judge,
    ledger::Ledger,
    probe::{Answer, Probe, Report},
    tagger::Tagger,
    tell::tell,
};
use crate::bench::*;

/// Programs, maps, and the contents of the maps.
pub struct Machine {
    /// How many packets were compared.
    pub packets: u64,
    /// How many packets the kernel did not run a program on. In a test run it refuses packets
    /// that end inside their IP header; the tests of `hooks` send such packets.
    pub refused: u64,
    maps: Maps,
    ingress: LoadedProgram,
    egress: LoadedProgram,
    tag_ingress: Tagger,
    tag_egress: Tagger,
    sources: PerCpuArray<MapData, SourceSet>,
    events: RingBuf<MapData>,
    tables: Datapath,
    seen: Snapshot,
    // Last, so that the pins are removed after everything that uses them.
    _bpffs: Bpffs,
}

impl Machine {
    pub fn new() -> Self {
        let bpffs = Bpffs::mount_private();
        let root = PinRoot::here(bpffs.path()).expect("a namespace");
        let limits = Limits {
            addresses: 256,
            prefixes: 64,
            next_hops: 256,
            exempt: 64,
            strays: 4096,
            source_bytes: 64 << 10,
            event_bytes: 64 << 10,
        };
        let mut maps = Maps::create(&root, &limits).expect("maps");
        let mut tables = Datapath::default();
        // This ENI does not come first, so that its slot is not 0.
        for (last, eni) in [(3, ELSEWHERE), (1, HERE), (2, THERE)] {
            let row = row(last, eni_steer_core::model::Mode::Count);
            maps.set_eni(index(eni), Some(&row)).expect("an ENI");
            tables.enis.insert(index(eni), row);
        }
        let load = |direction| {
            bpf::load(&maps, index(HERE), direction, 0).unwrap_or_else(|e| panic!("{e:?}"))
        };
        let pinned = |name| MapData::from_pin(root.map(name)).expect("it is pinned");
        let sources = Map::PerCpuArray(pinned(names::SOURCES));
        let events = Map::RingBuf(pinned(names::EVENTS));
        let (ingress, egress) = (load(Direction::Ingress), load(Direction::Egress));
        let tagger = |ours, name| Tagger::before(ours, &bpffs.path().join(name));
        Self {
            packets: 0,
            refused: 0,
            tag_ingress: tagger(&ingress, "tag_ingress"),
            tag_egress: tagger(&egress, "tag_egress"),
            ingress,
            egress,
            sources: sources.try_into().expect("a table of sources"),
            events: events.try_into().expect("a ring"),
            tables,
            seen: maps.read().expect("counters"),
            maps,
            _bpffs: bpffs,
        }
    }

    /// Runs the programs on each packet, and compares answers, reports and all counters.
    pub fn try_out(&mut self, scenario: &Scenario) -> Result<(), TestCaseError> {
        tell(&mut self.maps, &self.tables, &scenario.tables);
        self.tables.clone_from(&scenario.tables);
        // Read again each time: counters of addresses that no host has had for a long time are
        // given to others.
        self.seen = self.maps.read().expect("counters");
        self.told();
        let judge = Judge::new(&scenario.tables);
        let mut ledger = Ledger::default();
        let (mut answers, mut reports) = (Vec::new(), Vec::new());
        for probe in &scenario.probes {
            let Some(answer) = self.run(probe) else {
                self.refused += 1;
                continue;
            };
            self.packets += 1;
            let (right, report) = judge.packet(probe, &mut ledger);
            reports.extend(report);
            answers.push((answer, right));
        }
        let now = self.maps.read().expect("counters");
        let changed = changes_between(&self.seen, &now);
        self.seen = now;
        let told = self.told();
        self.forget_sources();
        for (number, (answer, right)) in answers.into_iter().enumerate() {
            let told = match right {
                Answer::Next => NEXT,
                Answer::Drop => SHOT,
                Answer::Redirect(..) => REDIRECT,
            };
            prop_assert_eq!(answer, told, "answer to packet {}: {:?}", number, right);
        }
        prop_assert_eq!(changed, ledger.lines(), "counters (left: the programs')");
        prop_assert_eq!(told, reports, "reports (left: the programs')");
        Ok(())
    }

    /// Returns the program's answer to TC; `None` if the kernel refuses this packet.
    fn run(&self, probe: &Probe) -> Option<i32> {
        let (program, tagger) = match probe.direction {
            Direction::Ingress => (&self.ingress, &self.tag_ingress),
            Direction::Egress => (&self.egress, &self.tag_egress),
        };
        let program = match probe.tag_beside {
            None => program.classifier().expect("it is loaded"),
            Some(_) => &tagger.program,
        };
        let context = context(Metadata {
            priority: probe.tag_beside.map_or(0, Tagger::priority),
            ..probe.metadata
        });
        let options = TestRunOptions {
            data_in: Some(&probe.frame),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        match program.test_run(options) {
            Ok(result) => Some(result.return_value.cast_signed()),
            Err(_) if cut_off(&probe.frame) => None,
            Err(e) => panic!("BPF_PROG_TEST_RUN: {e} with {probe:?}"),
        }
    }

    /// Returns what the programs have reported.
    fn told(&mut self) -> Vec<Report> {
        let mut told = Vec::new();
        while let Some(record) = self.events.next() {
            assert_eq!(record.len(), size_of::<Event>(), "the size of a record");
            // SAFETY: the record has the length of an Event, for which every bit pattern is valid
            // (it is Pod), and the read assumes no alignment.
            let event: Event = unsafe { std::ptr::read_unaligned(record.as_ptr().cast()) };
            told.push(self.seen.report(&event));
        }
        told
    }

    /// Empties the table of sources: its size is limited, and nothing may be evicted.
    fn forget_sources(&mut self) {
        for index in 0..self.sources.len() {
            let mut sets = self.sources.get(&index, 0).expect("a set").to_vec();
            if sets.iter().any(|set| *set != SourceSet::default()) {
                sets.fill(SourceSet::default());
                let sets = sets.try_into().expect("one for each CPU");
                self.sources.set(index, sets, 0).expect("it is there");
            }
        }
    }
}

/// Returns whether a frame ends inside the IP header that its EtherType announces.
fn cut_off(frame: &[u8]) -> bool {
    let header = match frame[12..14] {
        [0x08, 0x00] => 20,
        [0x86, 0xdd] => 40,
        _ => 0,
    };
    frame.len() < 14 + header
}

/// Translates an event into the model's terms.
trait Describe {
    fn report(&self, event: &Event) -> Report;
}

impl Describe for Snapshot {
    fn report(&self, event: &Event) -> Report {
        let v4 = event.family == eni_steer_common::Family::V4 as u8;
        let address = |address: Address| {
            let bytes = address.bytes();
            match v4 {
                true => [bytes[0], bytes[1], bytes[2], bytes[3]].into(),
                false => bytes.into(),
            }
        };
        let ifindex = |slot| -> IfIndex {
            let eni = self.eni(EniId(slot)).expect("a slot that is taken");
            eni.ifindex.expect("it is there")
        };
        assert_eq!(ifindex(event.eni), index(HERE), "{event:?}");
        assert_eq!(event.zero, [0; 4], "{event:?}");
        let out = event.direction == Direction::Egress as u8;
        Report {
            direction: if out {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            owner: ifindex(event.owner),
            ip: Ip {
                source: address(event.source),
                destination: address(event.destination),
                protocol: event.protocol,
                ports: (event.source_port, event.destination_port),
            },
            mark: event.mark,
            bytes: event.bytes.into(),
            fate: out.then(|| Fate::ALL[usize::from(event.fate)].label()),
        }
    }
}
