//! Events: mismatches that the programs report one by one.

use std::time::Duration;

use eni_steer_core::model::{Direction, Mode};
use eni_steer_linux::bpf::{Events, Maps, Mismatch};
use eni_steer_tests::packets::{Ipv6, Packet, protocol, udp};

use crate::bench::*;

/// Reads events from the ring buffer until no more come.
fn events(bench: &Bench) -> Vec<Mismatch> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let maps = Maps::open(bench.maps.root())
            .expect("maps")
            .expect("they are pinned");
        let mut events = Events::open(maps).expect("a ring buffer");
        let mut all = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(50), events.next()).await {
            all.push(event.expect("an event"));
        }
        all
    })
}

#[test]
fn an_event_has_the_five_tuple_the_enis_the_mark_and_what_was_done() {
    let mut bench = Bench::new(Mode::Steer);
    bench.settings(|settings| settings.events_per_second = 100);
    let metadata = Metadata {
        mark: 0xbeef,
        ..Metadata::default()
    };
    let out = Packet::tcp(ip(THEIRS4), ip(FAR4), 0).bytes();
    bench.run(Direction::Egress, &out, metadata);
    let inward = Packet::udp(ip(FAR6), ip(THEIRS6), 0).bytes();
    bench.run(Direction::Ingress, &inward, Metadata::default());
    let [first, second] = &events(&bench)[..] else {
        panic!("not two events: {:?}", events(&bench));
    };
    assert!(first.time > 0);
    let expected = Mismatch {
        time: first.time,
        direction: Direction::Egress,
        eni: first.eni,
        ifindex: Some(index(HERE)),
        owner: first.owner,
        owner_ifindex: Some(index(THERE)),
        source: ip(THEIRS4),
        source_port: 1000,
        destination: ip(FAR4),
        destination_port: 2000,
        protocol: 6,
        mark: 0xbeef,
        bytes: 54,
        fate: Some("steered"),
    };
    assert_eq!(*first, expected);
    assert_eq!(second.direction, Direction::Ingress);
    assert_eq!((second.source, second.source_port), (ip(FAR6), 1000));
    assert_eq!(
        (second.destination, second.destination_port),
        (ip(THEIRS6), 2000)
    );
    assert_eq!((second.protocol, second.fate), (17, None));
}

#[test]
fn ports_are_found_behind_extension_headers_and_are_zero_in_later_fragments() {
    let mut bench = Bench::new(Mode::Steer);
    bench.settings(|settings| settings.events_per_second = 100);
    let (std::net::IpAddr::V6(source), std::net::IpAddr::V6(far)) = (ip(THEIRS6), ip(FAR6)) else {
        panic!("they are IPv6 addresses");
    };
    let mut header = Ipv6::new(source, far, protocol::UDP);
    let options = (protocol::DESTINATION_OPTIONS, vec![0; 7]);
    let long = (protocol::ROUTING, [vec![2], vec![0; 22]].concat());
    let authentication = (protocol::AUTHENTICATION, [vec![4], vec![0; 22]].concat());
    let fragment = |offset: u16| {
        let [high, low] = (offset << 3).to_be_bytes();
        (protocol::FRAGMENT, vec![0, high, low, 0, 0, 0, 1])
    };
    let cases = [
        (vec![], (7, 8)),
        (vec![options.clone(); 8], (7, 8)),
        // More extension headers than the programs follow.
        (vec![options.clone(); 9], (0, 0)),
        (vec![long, options.clone(), authentication], (7, 8)),
        (vec![fragment(0)], (7, 8)),
        (vec![fragment(1)], (0, 0)),
    ];
    for (extensions, _) in &cases {
        header.extensions.clone_from(extensions);
        let packet = header.packet(&udp(7, 8, 0)).bytes();
        bench.run(Direction::Egress, &packet, Metadata::default());
    }
    let ports: Vec<_> = events(&bench)
        .iter()
        .map(|event| (event.source_port, event.destination_port))
        .collect();
    assert_eq!(ports, cases.map(|(_, ports)| ports));
}

#[test]
fn events_are_limited_each_second_and_what_is_not_sent_is_counted() {
    let mut bench = Bench::new(Mode::Count);
    bench.settings(|settings| settings.events_per_second = 10);
    let packet = Packet::udp(ip(THEIRS4), ip(FAR4), 0).bytes();
    run(bench.program(Direction::Egress), &packet, None, 1000);
    let sent = events(&bench).len() as u64;
    let lost = lost(&bench, "event-rate-limited");
    assert_eq!(sent + lost, 1000);
    // Each CPU has its own limit, and a new second can begin meanwhile.
    assert!((10..=40).contains(&sent), "{sent} events");

    bench.settings(|settings| settings.events_per_second = 0);
    run(bench.program(Direction::Egress), &packet, None, 1000);
    assert_eq!(events(&bench).len(), 0);
    assert_eq!(
        self::lost(&bench, "event-rate-limited"),
        lost,
        "nobody asked: nothing is lost"
    );
}

#[test]
fn a_full_ring_loses_events_and_counts_them() {
    let mut bench = Bench::new(Mode::Count);
    bench.settings(|settings| settings.events_per_second = u32::MAX);
    let packet = Packet::udp(ip(THEIRS4), ip(FAR4), 0).bytes();
    run(bench.program(Direction::Egress), &packet, None, 10_000);
    let lost = lost(&bench, "event-ring-full");
    let sent = events(&bench).len() as u64;
    assert_eq!(sent + lost, 10_000);
    assert!(sent > 1000 && lost > 1000, "{sent} sent, {lost} lost");
}

#[test]
fn packets_that_are_exempt_or_home_make_no_events() {
    let mut bench = Bench::new(Mode::Steer);
    bench.settings(|settings| settings.events_per_second = 100);
    for (source, far) in [
        (OWN4, FAR4),
        (THEIRS4, "224.0.0.1"),
        (THEIRS4, "169.254.169.254"),
        (FAR4, OWN4),
    ] {
        let packet = Packet::udp(ip(source), ip(far), 0).bytes();
        bench.run(Direction::Egress, &packet, Metadata::default());
    }
    assert_eq!(events(&bench), []);
}

fn lost(bench: &Bench, label: &str) -> u64 {
    let snapshot = bench.read();
    let here = snapshot.interface(index(HERE)).expect("this ENI");
    here.losses.get(label).copied().unwrap_or_default()
}
