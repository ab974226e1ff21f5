//! The programs on the hooks of a real device, attached by TCX and by clsact.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, TcAttachOptions, TcHandle},
};
use eni_steer_core::{
    counters::Count,
    model::{AttachKind, Datapath, Direction, ForeignProgram, Hook, IfIndex, Mode, Owner},
};
use eni_steer_linux::{
    bpf::{self, Attached, BUILD, BpfError, FILTER_HANDLE, FILTER_PRIORITY, Limits, Maps, PinRoot},
    netlink::Netlink,
};
use eni_steer_tests::{
    Bpffs, Feature, Injector, NetNs, kernel_has_tcx, packets::Packet, requires, run_ok,
    write_sysctl,
};

use crate::bench::*;

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

/// A namespace with a cable: eth0, a managed ENI, and its far end.
struct Host {
    ns: NetNs,
    bpffs: Bpffs,
    maps: Maps,
    netlink: Netlink,
    eth0: IfIndex,
}

fn kinds() -> Vec<AttachKind> {
    let mut kinds = vec![AttachKind::Clsact];
    if kernel_has_tcx() {
        kinds.push(AttachKind::Tcx);
    }
    kinds
}

/// Runs a test in such a namespace.
fn host<T: Send>(test: impl FnOnce(&mut Host) -> T + Send) -> T {
    let ns = NetNs::new("host");
    // Only what the tests send may be on the cable.
    write_sysctl(&ns, "net/ipv6/conf/default/disable_ipv6", 1);
    cable(&ns);
    ns.clone().run(|| {
        let bpffs = Bpffs::mount_private();
        let root = PinRoot::here(bpffs.path()).expect("a namespace");
        let limits = Limits {
            source_bytes: 1 << 20,
            ..Limits::default()
        };
        let mut maps = Maps::create(&root, &limits).expect("maps");
        let eth0 = device("eth0");
        maps.set_eni(eth0, Some(&row(1, Mode::Count)))
            .expect("an ENI");
        maps.set_owner(net(OWN4), Some(Owner::Eni(eth0)))
            .expect("an owner");
        let netlink = Netlink::open().expect("netlink");
        test(&mut Host {
            ns,
            bpffs,
            maps,
            netlink,
            eth0,
        })
    })
}

fn cable(ns: &NetNs) {
    run_ok(
        ns,
        "ip",
        [
            "link", "add", "eth0", "mtu", "9000", "type", "veth", "peer", "far0", "mtu", "9000",
        ],
    );
    for device in ["eth0", "far0"] {
        run_ok(ns, "ip", ["link", "set", device, "up"]);
    }
}

fn device(name: &str) -> IfIndex {
    let number = nix::net::if_::if_nametoindex(name).expect("a device");
    index(number)
}

impl Host {
    fn attach(&mut self, direction: Direction, kind: AttachKind) -> Attached {
        self.try_attach(direction, Some(kind))
            .unwrap_or_else(|e| panic!("{e:?}"))
    }

    fn try_attach(
        &mut self,
        direction: Direction,
        kind: Option<AttachKind>,
    ) -> Result<Attached, BpfError> {
        bpf::attach(&mut self.maps, &self.netlink, self.eth0, direction, kind, 0)
    }

    fn detach(&self, direction: Direction, qdisc: bool) {
        let root = self.maps.root();
        bpf::detach(root, &self.netlink, self.eth0, direction, qdisc).expect("detached");
    }

    fn seen(&self) -> Datapath {
        let seen = bpf::observe(self.maps.root(), &self.netlink).expect("an observation");
        seen.expect("maps are pinned")
    }

    fn kinds_seen(&self) -> Vec<(Direction, AttachKind)> {
        let seen = self.seen();
        seen.attachments
            .iter()
            .map(|(Hook::Tc { direction, .. }, a)| (*direction, a.kind))
            .collect()
    }

    fn others(&self, direction: Direction) -> Vec<ForeignProgram> {
        let interfaces = BTreeSet::from([self.eth0]);
        let mut others = bpf::foreign_programs(self.maps.root(), &self.netlink, &interfaces)
            .expect("an observation");
        others
            .remove(&Hook::tc(self.eth0, direction))
            .unwrap_or_default()
    }

    fn send(&self, device: &str, packet: &[u8]) {
        Injector::new(&self.ns, device).send(packet);
    }

    /// Returns what came in and what left, summed over all classes.
    fn totals(&self) -> (Count, Count) {
        let snapshot = self.maps.read().expect("counters");
        let eth0 = snapshot.interface(self.eth0).expect("eth0");
        (eth0.totals.ingress.sum(), eth0.totals.egress.sum())
    }

    fn tc(&self, arguments: &[&str]) -> String {
        run_ok(&self.ns, "tc", arguments)
    }

    fn qdiscs(&self) -> String {
        self.tc(&["qdisc", "show", "dev", "eth0"])
    }

    /// Adds a filter with a program that is not eni-steer's.
    fn foreign_filter(&self, direction: TcAttachType, priority: u16, handle: u16) {
        let path = self
            .bpffs
            .path()
            .join(format!("foreign-{priority}-{handle}"));
        let mut program = pinned(&empty_program(), &path);
        // The qdisc may exist already.
        drop(tc::qdisc_add_clsact("eth0"));
        let options = NlOptions {
            priority,
            handle: TcHandle::new(0, handle),
            classid: None,
        };
        attach_for_good(&mut program, direction, TcAttachOptions::Netlink(options));
    }

    /// Attaches a program that is not eni-steer's to a TCX hook.
    fn foreign_link(&self, direction: TcAttachType, order: LinkOrder, name: &str) {
        let mut program = pinned(&empty_program(), &self.bpffs.path().join(name));
        attach_for_good(&mut program, direction, TcAttachOptions::TcxOrder(order));
    }
}

/// Attaches the program so that it stays on its hook when every descriptor here is closed.
fn attach_for_good(program: &mut SchedClassifier, direction: TcAttachType, how: TcAttachOptions) {
    let id = program
        .attach_with_options("eth0", direction, how)
        .expect("attached");
    std::mem::forget(program.take_link(id).expect("a link"));
}

fn packets(count: u64, bytes: u64) -> Count {
    Count {
        packets: count,
        bytes: count * bytes,
    }
}

fn home() -> Vec<u8> {
    Packet::udp(ip(OWN4), ip(FAR4), 18).bytes() // 60 bytes
}

#[test]
fn attached_programs_count_when_the_process_that_attached_them_is_done() {
    for kind in kinds() {
        host(|host| {
            for direction in [IN, OUT] {
                let attached = host.attach(direction, kind);
                assert_eq!(attached.attachment.kind, kind);
                assert_eq!(attached.attachment.build, BUILD);
            }
            for _ in 0..3 {
                host.send("eth0", &home());
            }
            host.send("far0", &Packet::udp(ip(FAR4), ip(OWN4), 18).bytes());
            assert_eq!(host.totals(), (packets(1, 60), packets(3, 60)), "{kind}");
            assert_eq!(host.kinds_seen(), [(IN, kind), (OUT, kind)]);
            assert_eq!(host.others(OUT), [], "there is one program on the hook");
        });
    }
}

#[test]
fn attaching_again_replaces_the_program_and_no_packet_passes_between() {
    for kind in kinds() {
        host(|host| {
            host.attach(OUT, kind);
            let injector = Injector::new(&host.ns, "eth0");
            let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
            let packet = home();
            // The outer scope waits for the sender, so the sender must be stopped, also after a
            // panic.
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        injector.send(&packet);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let began = Instant::now();
                let replaced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    host.ns.clone().run(|| {
                        let netlink = Netlink::open().expect("netlink");
                        for _ in 0..5 {
                            bpf::attach(&mut host.maps, &netlink, host.eth0, OUT, Some(kind), 0)
                                .expect("attached");
                        }
                    });
                }));
                while sent.load(Ordering::Relaxed) < 1000
                    && began.elapsed() < Duration::from_secs(20)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                done.store(true, Ordering::Relaxed);
                replaced.expect("replaced");
            });
            let sent = sent.into_inner();
            assert!(sent >= 1000, "{sent} packets");
            assert_eq!(host.totals().1, packets(sent, 60), "{kind}");
            assert_eq!(host.kinds_seen(), [(OUT, kind)]);
            assert_eq!(host.others(OUT), [], "there is one program on the hook");
        });
    }
}

#[test]
fn tcx_is_chosen_where_the_kernel_has_it_and_refused_by_name_where_it_has_not() {
    host(|host| {
        let chosen = host
            .try_attach(OUT, None)
            .expect("attached")
            .attachment
            .kind;
        if kernel_has_tcx() {
            assert_eq!(chosen, AttachKind::Tcx);
        } else {
            assert_eq!(chosen, AttachKind::Clsact);
            let error = host
                .try_attach(IN, Some(AttachKind::Tcx))
                .expect_err("no TCX");
            assert!(matches!(error, BpfError::KernelTooOld { .. }), "{error:?}");
            assert!(error.hint().expect("a hint").contains("clsact"));
        }
    });
}

#[test]
fn changing_the_kind_leaves_one_program_with_tcx() {
    requires(Feature::Tcx);
    host(|host| {
        for kind in [AttachKind::Tcx, AttachKind::Clsact, AttachKind::Tcx] {
            host.attach(OUT, kind);
            assert_eq!(host.kinds_seen(), [(OUT, kind)]);
            assert_eq!(host.others(OUT), []);
        }
        host.send("eth0", &home());
        assert_eq!(host.totals().1, packets(1, 60));
    });
}

#[test]
fn detaching_removes_our_program_at_once_and_a_second_time_does_nothing() {
    for kind in kinds() {
        host(|host| {
            let before = host.qdiscs();
            let mut qdisc = false;
            for direction in [IN, OUT] {
                qdisc |= host.attach(direction, kind).qdisc_added;
            }
            assert_eq!(qdisc, kind == AttachKind::Clsact);
            for _ in 0..2 {
                for direction in [IN, OUT] {
                    host.detach(direction, qdisc);
                }
                assert_eq!(host.kinds_seen(), []);
            }
            host.send("eth0", &home());
            assert_eq!(host.totals().1, packets(0, 0));
            assert_eq!(host.qdiscs(), before);
            assert_eq!(
                host.bpffs
                    .pins()
                    .iter()
                    .filter(|pin| pin.contains("links/"))
                    .count(),
                0
            );
        });
    }
}

#[test]
fn filters_and_qdiscs_of_others_survive() {
    for kind in kinds() {
        host(|host| {
            // Before eni-steer's, after it, and with its priority but another handle.
            for (priority, handle) in [(1, 1), (FILTER_PRIORITY, 0x777), (300, 1)] {
                host.foreign_filter(TcAttachType::Egress, priority, handle);
            }
            let before = host.tc(&["filter", "show", "dev", "eth0", "egress"]);
            assert_eq!(before.matches("direct-action").count(), 3, "{before}");
            let attached = host.attach(OUT, kind);
            assert!(!attached.qdisc_added);
            let positions = host.others(OUT);
            let names: Vec<_> = positions.iter().map(|other| other.name.as_str()).collect();
            assert_eq!(names, ["somebody_else"; 3]);
            assert_eq!(positions[0].before_ours, kind == AttachKind::Clsact);
            assert!(!positions[2].before_ours);
            // Even if eni-steer made the qdisc, it must stay: there are other filters on it.
            host.detach(OUT, true);
            assert_eq!(
                host.tc(&["filter", "show", "dev", "eth0", "egress"]),
                before
            );
            assert!(host.qdiscs().contains("clsact"));
        });
    }
}

#[test]
fn links_of_others_survive_and_run_after_ours_or_are_named_with_tcx() {
    requires(Feature::Tcx);
    host(|host| {
        host.foreign_link(TcAttachType::Egress, LinkOrder::first(), "early");
        host.attach(OUT, AttachKind::Tcx);
        let [other] = &host.others(OUT)[..] else {
            panic!("one other program is on the hook: {:?}", host.others(OUT));
        };
        assert!(!other.before_ours, "ours goes first");
        assert_eq!(
            (other.kind, other.name.as_str()),
            (AttachKind::Tcx, "somebody_else")
        );
        host.foreign_link(TcAttachType::Egress, LinkOrder::first(), "later");
        let before: Vec<_> = host.others(OUT).iter().map(|o| o.before_ours).collect();
        assert_eq!(before, [true, false]);
        // Every TCX program comes before clsact.
        host.attach(OUT, AttachKind::Clsact);
        let before: Vec<_> = host.others(OUT).iter().map(|o| o.before_ours).collect();
        assert_eq!(before, [true, true]);
        host.detach(OUT, false);
        assert_eq!(host.others(OUT).len(), 2);
    });
}

#[test]
fn a_filter_of_another_in_our_place_is_left_there_and_named() {
    host(|host| {
        let handle = FILTER_HANDLE.try_into().expect("a small handle");
        host.foreign_filter(TcAttachType::Egress, FILTER_PRIORITY, handle);
        let before = host.tc(&["filter", "show", "dev", "eth0", "egress"]);
        let error = host
            .try_attach(OUT, Some(AttachKind::Clsact))
            .expect_err("taken");
        assert!(matches!(&error, BpfError::Taken { by, .. } if by.contains("somebody_else")));
        assert!(error.hint().is_some());
        host.detach(OUT, true);
        assert_eq!(
            host.tc(&["filter", "show", "dev", "eth0", "egress"]),
            before
        );
        assert_eq!(host.kinds_seen(), []);
    });
}

#[test]
fn an_ingress_qdisc_of_another_is_left_there_and_named() {
    host(|host| {
        host.tc(&["qdisc", "add", "dev", "eth0", "ingress"]);
        let before = host.qdiscs();
        let error = host
            .try_attach(OUT, Some(AttachKind::Clsact))
            .expect_err("taken");
        assert!(
            matches!(&error, BpfError::Taken { by, .. } if by.contains("ingress")),
            "{error:?}"
        );
        host.detach(OUT, true);
        assert_eq!(host.qdiscs(), before);
    });
}

#[test]
fn what_is_gone_from_the_kernel_is_not_attached_whatever_is_pinned() {
    for kind in kinds() {
        host(|host| {
            host.attach(OUT, kind);
            match kind {
                AttachKind::Clsact => {
                    host.tc(&["filter", "del", "dev", "eth0", "egress"]);
                    assert_eq!(host.kinds_seen(), []);
                    host.attach(OUT, kind);
                    host.tc(&["qdisc", "del", "dev", "eth0", "clsact"]);
                }
                AttachKind::Tcx => {
                    let links = host.bpffs.pins();
                    let link = links
                        .iter()
                        .find(|pin| pin.contains("links/"))
                        .expect("a link");
                    std::fs::remove_file(host.bpffs.path().join(link)).expect("it is there");
                }
            }
            assert_eq!(host.kinds_seen(), [], "{kind}");
            host.attach(OUT, kind);
            host.send("eth0", &home());
            assert_eq!(host.totals().1, packets(1, 60), "{kind}");
        });
    }
}

#[test]
fn a_device_that_is_made_again_is_attached_anew_and_nothing_of_the_old_one_stays() {
    for kind in kinds() {
        host(|host| {
            host.attach(OUT, kind);
            host.send("eth0", &home());
            run_ok(&host.ns, "ip", ["link", "del", "eth0"]);
            assert_eq!(host.kinds_seen(), [], "{kind}");
            cable(&host.ns);
            let again = device("eth0");
            assert_ne!(again, host.eth0);
            host.maps
                .set_eni(again, Some(&row(1, Mode::Count)))
                .expect("an ENI");
            host.eth0 = again;
            host.maps
                .set_owner(net(OWN4), Some(Owner::Eni(again)))
                .expect("an owner");
            host.attach(OUT, kind);
            host.send("eth0", &home());
            assert_eq!(
                host.totals().1,
                packets(2, 60),
                "the counters of the MAC address go on"
            );
            let links = host
                .bpffs
                .pins()
                .iter()
                .filter(|pin| pin.contains("links/"))
                .count();
            // The directory, and in it only the new link.
            assert_eq!(
                links,
                usize::from(kind == AttachKind::Tcx),
                "{:?}",
                host.bpffs.pins()
            );
        });
    }
}

#[test]
fn frames_cut_off_at_every_length_are_counted_on_a_real_device() {
    host(|host| {
        host.try_attach(OUT, None).expect("attached");
        host.try_attach(IN, None).expect("attached");
        for (class, source, far, header) in
            [("ipv4", OWN4, FAR4, 20), ("ipv6", "fd00::1", FAR6, 40)]
        {
            let whole = Packet::udp(ip(source), ip(far), 4).bytes();
            for length in 14..=whole.len() {
                let before = host.maps.read().expect("counters");
                host.send("eth0", &whole[..length]);
                host.send("far0", &whole[..length]);
                let now = host.maps.read().expect("counters");
                let delta = now.since(&before);
                let eth0 = delta.interface(host.eth0).expect("eth0");
                let one = packets(1, length as u64);
                assert_eq!(eth0.totals.egress.sum(), one, "{class} {length}");
                assert_eq!(eth0.totals.ingress.sum(), one, "{class} {length}");
                let malformed = eth0.fates.get("malformed").copied().unwrap_or_default();
                let expected = if length < 14 + header {
                    one
                } else {
                    packets(0, 0)
                };
                assert_eq!(malformed, expected, "{class} {length}");
                let sources = delta.sources.iter().filter(|s| s.direction == IN).count();
                assert_eq!(
                    sources,
                    usize::from(length >= 14 + header),
                    "{class} {length}"
                );
            }
        }
    });
}

#[test]
fn a_packet_whose_header_lies_in_a_fragment_is_decided_like_any_other() {
    host(|host| {
        host.try_attach(OUT, None).expect("attached");
        host.try_attach(IN, None).expect("attached");
        // For a frame larger than a page, a packet socket puts only the Ethernet header into the
        // linear part.
        let out = Packet::udp(ip(OWN4), ip(FAR4), 6000).bytes();
        host.send("eth0", &out);
        let stranger = Packet::udp(ip("fd00::7"), ip(FAR6), 6000).bytes();
        host.send("eth0", &stranger);
        let inward = Packet::udp(ip(FAR4), ip(OWN4), 6000).bytes();
        host.send("far0", &inward);
        let snapshot = host.maps.read().expect("counters");
        let mut cells: Vec<_> = snapshot
            .cells
            .iter()
            .map(|cell| (cell.direction, cell.is_home(), cell.passed))
            .collect();
        cells.sort_unstable();
        assert_eq!(
            cells,
            [(IN, true, packets(1, 6042)), (OUT, true, packets(1, 6042))]
        );
        let sources: Vec<_> = snapshot
            .sources
            .iter()
            .map(|s| (s.source.addr(), s.direction, s.count))
            .collect();
        let expected = [
            (ip(FAR4), IN, packets(1, 6042)),
            (ip("fd00::7"), OUT, packets(1, 6062)),
        ];
        assert_eq!(sources, expected);
        let eth0 = snapshot.interface(host.eth0).expect("eth0");
        assert_eq!(eth0.fates.keys().copied().collect::<Vec<_>>(), ["no-owner"]);
    });
}
