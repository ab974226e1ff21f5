//! What must hold on every kernel: the programs load, rules keep symmetry, programs restore it.
//! `cargo xtask test --kernel` runs these on each kernel; each test is a row in the table of
//! kernels. A test asks the kernel what it supports and does not look at its version.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use aya::maps::MapData;
use eni_steer_common::names;
use eni_steer_core::model::{Direction, EniRow, IfIndex, Mac, Mode};
use eni_steer_linux::bpf::{self, Limits, Maps, PinRoot};
use eni_steer_tests::{
    Bpffs, Capture, Lab, Shape, Steer, attach_kinds, flush_neighbours, neighbours, ping, run_ok,
};

const BRIEFLY: Duration = Duration::from_millis(5);

/// Reports a fact about this kernel for the table. It does not use `println!`, whose output is
/// captured.
fn fact(name: &str, value: impl std::fmt::Display) {
    // It does not matter to the test whether anybody reads it.
    if writeln!(std::io::stdout(), "\nfact: {name} = {value}").is_err() {
        eprintln!("nobody reads facts");
    }
}

/// Applies to all ENIs of the lab; it names the gateways that nothing on the host shows.
#[track_caller]
fn apply(steer: &Steer, lab: &Lab, flags: &[&str]) {
    let mut args = vec!["apply".to_owned()];
    for eni in lab.enis() {
        args.extend(["--eni".to_owned(), eni.name.clone()]);
        if lab.shape() == Shape::DifferentSubnets && eni.index > 0 {
            for gateway in [IpAddr::from(eni.gateway_v4), eni.gateway_v6.into()] {
                args.extend(["--gateway".to_owned(), format!("{}={gateway}", eni.name)]);
            }
        }
    }
    args.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    steer.ok(lab, &args);
}

/// Returns how the programs of an ENI are attached, as `status` reports it.
#[track_caller]
fn attached(steer: &Steer, lab: &Lab, eni: usize) -> Vec<String> {
    let status = steer.json(lab, &["status"]);
    let name = &lab.eni(eni).name;
    let found = status["enis"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|eni| eni["name"] == name.as_str())
        .unwrap_or_else(|| panic!("no {name} in {status}"));
    let programs = found["programs"].as_array().into_iter().flatten();
    programs
        .map(|kind| kind.as_str().unwrap_or("not attached").to_owned())
        .collect()
}

/// Pings an address of eth1 from the client. From the first one on, every answer must leave by
/// eth1, none by eth0, with the MAC addresses of eth1 and its gateway.
#[track_caller]
fn expect_answers_by_eth1(lab: &Lab, address: IpAddr) {
    let eni = lab.eni(1);
    let (before0, before1) = (lab.router_seen(0), lab.router_seen(1));
    let capture = Capture::start(&lab.router, &eni.port);
    let told = ping(&lab.client, None, address, 3, BRIEFLY);
    assert!(told.all_answered(), "{address}: {told:?}");
    let answers: Vec<_> = capture
        .stop()
        .into_iter()
        .filter(|frame| frame.source() == Some(address) && frame.is_echo_reply())
        .collect();
    assert_eq!(answers.len(), 3, "{address}: {answers:?}");
    for answer in &answers {
        let macs = (answer.src_mac(), answer.dst_mac());
        assert_eq!(macs, (eni.mac, eni.gateway_mac), "{address}: {answer}");
    }
    let by_eth0 = lab.router_seen(0).since(before0);
    let by_eth1 = lab.router_seen(1).since(before1);
    assert_eq!(by_eth0.wrong.packets, 0, "{address}: {by_eth0:?}");
    assert_eq!(
        (by_eth1.right.packets, by_eth1.wrong.packets),
        (3, 0),
        "{address}"
    );
}

#[test]
fn both_programs_load() {
    let bpffs = Bpffs::mount_private();
    let root = PinRoot::here(bpffs.path()).expect("a namespace");
    let mut maps = Maps::create(&root, &Limits::default()).expect("maps");
    let eni = IfIndex::new(101).expect("not 0");
    let row = EniRow {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        mode: Mode::Steer,
        up: true,
    };
    maps.set_eni(eni, Some(&row)).expect("a row");
    for (direction, name) in [
        (Direction::Ingress, "ingress"),
        (Direction::Egress, "egress"),
    ] {
        let loaded = bpf::load(&maps, eni, direction, 0)
            .unwrap_or_else(|error| panic!("{name} does not load: {error:?}"));
        let program = loaded.classifier().expect("a classifier");
        let seen = program.info().expect("its description");
        let steps = match seen.verified_instruction_count() {
            Some(count) => count.to_string(),
            None => "not told".to_owned(),
        };
        fact(
            &format!("instructions the verifier followed, {name}"),
            steps,
        );
    }
}

/// Returns how many bytes a map takes by the kernel's account: before 5.11 its locked memory,
/// later the memory it is charged for.
fn memory(map: &MapData) -> u64 {
    let info = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&info).unwrap_or_else(|e| panic!("{info}: {e}"));
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = line.and_then(|bytes| bytes.trim().parse().ok());
    bytes.unwrap_or_else(|| panic!("no memory in {text}"))
}

#[test]
fn all_maps_at_defaults_are_within_64_mib() {
    let bpffs = Bpffs::mount_private();
    let root = PinRoot::here(bpffs.path()).expect("a namespace");
    let _maps = Maps::create(&root, &Limits::default()).expect("maps");
    let of_each = names::PINNED.map(|name| {
        let map = MapData::from_pin(root.map(name)).expect("it is pinned");
        (name, memory(&map))
    });
    let bytes: u64 = of_each.iter().map(|(_, bytes)| bytes).sum();
    fact(
        "memory of all maps at defaults, two processors",
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    );
    assert!(0 < bytes && bytes <= 64 << 20, "{bytes}: {of_each:?}");
}

#[test]
fn a_reply_leaves_by_the_eni_that_owns_its_source() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        apply(&steer, &lab, &["--programs", "off"]);
        for address in lab.eni(1).both() {
            expect_answers_by_eth1(&lab, address);
        }
    }
}

#[test]
fn a_first_steered_packet_has_the_macs_of_its_way() {
    for shape in Shape::ALL {
        let lab = Lab::builder(shape).drop_wrong_source().build();
        let _report = lab.on_failure_print();
        let steer = Steer::new();
        apply(&steer, &lab, &["--rules", "off", "--mode", "steer"]);
        for address in lab.eni(1).both() {
            flush_neighbours(&lab.host);
            let gateway = lab.eni(1).gateway(address);
            let known = neighbours(&lab.host).into_iter().any(|neighbour| {
                neighbour.address == gateway
                    && neighbour.device == "eth1"
                    && neighbour.lladdr.is_some()
            });
            assert!(!known, "{gateway} is known already");
            expect_answers_by_eth1(&lab, address);
        }
    }
}

#[test]
fn programs_are_attached_by_the_best_way_the_kernel_has() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    apply(&steer, &lab, &["--rules", "off"]);
    let best = attach_kinds()[0];
    fact("programs are attached by", best);
    assert_eq!(attached(&steer, &lab, 1), [best, best]);
}

#[test]
fn clsact_filters_steer_and_are_replaced_in_place() {
    let lab = Lab::builder(Shape::DifferentSubnets).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    for _ in 0..2 {
        apply(
            &steer,
            &lab,
            &["--rules", "off", "--mode", "steer", "--attach", "clsact"],
        );
        assert_eq!(attached(&steer, &lab, 0), ["clsact", "clsact"]);
        for hook in ["ingress", "egress"] {
            let filters = run_ok(&lab.host, "tc", ["filter", "show", "dev", "eth0", hook]);
            let ours = filters.lines().filter(|line| line.contains("eni_steer"));
            assert_eq!(ours.count(), 1, "{hook}: {filters}");
        }
        for address in lab.eni(1).both() {
            expect_answers_by_eth1(&lab, address);
        }
    }
    steer.ok(&lab, &["remove"]);
    let qdiscs = run_ok(&lab.host, "tc", ["qdisc", "show", "dev", "eth0"]);
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
}
