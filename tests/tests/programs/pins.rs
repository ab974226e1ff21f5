//! Pinned maps: how eni-steer recognises, reuses, refuses and removes them.

use std::{os::unix::fs::PermissionsExt, path::Path};

use aya::maps::MapData;
use eni_steer_common::{MAX_ENIS, names};
use eni_steer_core::model::{Direction, EniRow, Mac, Mode, Owner};
use eni_steer_linux::bpf::{BpfError, Limits, Maps, PinRoot};
use eni_steer_tests::{Bpffs, NetNs, packets::Packet};

use crate::bench::*;

const OUT: Direction = Direction::Egress;

fn leave(bench: &Bench, source: &str) {
    let packet = Packet::udp(ip(source), ip(FAR4), 0).bytes();
    bench.run(OUT, &packet, Metadata::default());
}

/// Returns address, owner's slot, slot on which it was seen, and packets that passed.
fn cells(bench: &Bench) -> Vec<(String, Option<u16>, u16, u64)> {
    bench
        .read()
        .cells
        .iter()
        .map(|cell| {
            let owner = cell.owner.map(|owner| owner.0);
            (
                cell.address.addr().to_string(),
                owner,
                cell.eni.0,
                cell.passed.packets,
            )
        })
        .collect()
}

fn cell(owner: u16, seen: u16, packets: u64) -> (String, Option<u16>, u16, u64) {
    (OWN4.to_owned(), Some(owner), seen, packets)
}

#[test]
fn opening_the_maps_again_continues_the_counters() {
    let mut bench = Bench::new(Mode::Count);
    leave(&bench, OWN4);
    let root = bench.maps.root().clone();
    bench.maps = Maps::open(&root).expect("maps").expect("they are pinned");
    leave(&bench, OWN4);
    // Opening existing maps with other limits does not change them.
    let limits = Limits {
        addresses: 17,
        source_bytes: 1 << 20,
        ..Limits::default()
    };
    bench.maps = Maps::create(&root, &limits).expect("maps");
    leave(&bench, OWN4);
    assert_eq!(cells(&bench), [cell(0, 0, 3)]);
    let memory = bench.maps.memory().expect("memory");
    let capacity = memory
        .iter()
        .find(|map| map.name == names::CELLS)
        .map(|map| map.capacity);
    assert_eq!(capacity, Some(4096));
}

#[test]
fn an_address_that_goes_and_comes_back_continues() {
    let mut bench = Bench::new(Mode::Count);
    leave(&bench, OWN4);
    bench.maps.set_owner(net(OWN4), None).expect("no owner");
    leave(&bench, OWN4);
    assert_eq!(cells(&bench), [cell(0, 0, 1)], "nobody owns it meanwhile");
    bench
        .maps
        .set_owner(net(OWN4), Some(Owner::Eni(index(HERE))))
        .expect("an owner");
    leave(&bench, OWN4);
    assert_eq!(cells(&bench), [cell(0, 0, 2)]);
}

#[test]
fn an_address_that_moves_leaves_its_counters_with_the_eni_it_was_on() {
    let mut bench = Bench::new(Mode::Count);
    leave(&bench, OWN4);
    bench
        .maps
        .set_owner(net(OWN4), Some(Owner::Eni(index(THERE))))
        .expect("an owner");
    leave(&bench, OWN4);
    leave(&bench, OWN4);
    assert_eq!(cells(&bench), [cell(0, 0, 1), cell(1, 0, 2)]);
    bench
        .maps
        .set_owner(net(OWN4), Some(Owner::Ambiguous))
        .expect("an owner");
    leave(&bench, OWN4);
    bench
        .maps
        .set_owner(net(OWN4), Some(Owner::Eni(index(HERE))))
        .expect("an owner");
    leave(&bench, OWN4);
    let nobodys = (OWN4.to_owned(), None, 0, 1);
    assert_eq!(cells(&bench), [nobodys, cell(0, 0, 2), cell(1, 0, 2)]);
}

#[test]
fn an_eni_that_is_unplugged_and_comes_back_under_another_index_continues() {
    let mut bench = Bench::new(Mode::Count);
    leave(&bench, OWN4);
    bench.maps.set_eni(index(HERE), None).expect("no ENI");
    leave(&bench, OWN4);
    let snapshot = bench.read();
    assert_eq!(snapshot.enis.len(), 2, "its counters are still there");
    assert_eq!(snapshot.enis[0].ifindex, None);
    assert_eq!(cells(&bench), [cell(0, 0, 1)], "nobody owns its addresses");
    bench
        .maps
        .set_eni(index(207), Some(&row(1, Mode::Count)))
        .expect("an ENI");
    bench
        .maps
        .set_owner(net(OWN4), Some(Owner::Eni(index(207))))
        .expect("an owner");
    leave(&bench, OWN4);
    assert_eq!(cells(&bench), [cell(0, 0, 2)]);
    assert_eq!(bench.read().enis[0].ifindex, Some(index(207)));
}

#[test]
fn another_mac_address_on_the_same_interface_is_another_eni() {
    let mut bench = Bench::new(Mode::Count);
    leave(&bench, OWN4);
    bench
        .maps
        .set_eni(index(HERE), Some(&row(9, Mode::Count)))
        .expect("an ENI");
    let snapshot = bench.read();
    let macs: Vec<_> = snapshot
        .enis
        .iter()
        .map(|eni| (eni.mac, eni.ifindex))
        .collect();
    let mac = |last| Mac([2, 0, 0, 0, 0, last]);
    let expected = [
        (mac(1), None),
        (mac(2), Some(index(THERE))),
        (mac(9), Some(index(HERE))),
    ];
    assert_eq!(macs, expected);
}

#[test]
fn when_all_address_slots_are_taken_the_one_released_longest_ago_is_given_away() {
    let limits = Limits {
        addresses: 6,
        source_bytes: 1 << 20,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(Mode::Count, &limits); // takes four
    let owner = Some(Owner::Eni(index(HERE)));
    let count = |bench: &mut Bench, address: &str| {
        bench.maps.set_owner(net(address), owner).expect("an owner");
        leave(bench, address);
        leave(bench, address);
        bench.maps.set_owner(net(address), None).expect("no owner");
    };
    count(&mut bench, "10.0.0.5");
    count(&mut bench, "10.0.0.6");
    count(&mut bench, "10.0.0.5");
    // No slot is free, and that of .6 was released before that of .5.
    count(&mut bench, "10.0.0.7");
    let seen: Vec<_> = cells(&bench)
        .into_iter()
        .map(|(address, _, _, packets)| (address, packets))
        .collect();
    assert_eq!(
        seen,
        [("10.0.0.5".to_owned(), 4), ("10.0.0.7".to_owned(), 2)]
    );

    for address in ["10.0.0.8", "10.0.0.9"] {
        bench.maps.set_owner(net(address), owner).expect("an owner");
    }
    match bench.maps.set_owner(net("10.0.0.10"), owner) {
        Err(BpfError::Full {
            what: "addresses",
            capacity: 6,
        }) => {}
        other => panic!("six addresses are owned, and a seventh: {other:?}"),
    }
}

#[test]
fn a_slot_that_is_given_to_another_eni_counts_from_zero() {
    let mut bench = Bench::new(Mode::Count);
    leave(&bench, OWN4);
    leave(&bench, THEIRS4);
    leave(&bench, FAR4);
    bench.maps.set_eni(index(HERE), None).expect("no ENI");
    let eni = |number: u16| EniRow {
        mac: Mac([4, 0, 0, 0, (number >> 8) as u8, number as u8]),
        ..row(0, Mode::Count)
    };
    // All other slots are taken first, then the one of the ENI that is gone.
    for number in 2..=MAX_ENIS {
        let ifindex = index(1000 + u32::from(number));
        bench
            .maps
            .set_eni(ifindex, Some(&eni(number)))
            .expect("an ENI");
    }
    let snapshot = bench.read();
    assert_eq!(snapshot.enis.len(), usize::from(MAX_ENIS));
    assert_eq!(snapshot.enis[0].mac, eni(MAX_ENIS).mac);
    assert_eq!(snapshot.enis[0].totals, Default::default());
    assert!(snapshot.enis[0].fates.is_empty());
    assert_eq!((snapshot.cells, snapshot.sources), (vec![], vec![]));
    match bench.maps.set_eni(index(5000), Some(&eni(999))) {
        Err(BpfError::Full { what: "ENIs", .. }) => {}
        other => panic!("a 65th ENI: {other:?}"),
    }
}

/// Pins another map in the place of one of eni-steer's.
fn replace(root: &PinRoot, name: &str, kind: u32, key: u32, value: u32, entries: u32, flags: u32) {
    let definition = aya_obj::Map::new_from_params(kind, key, value, entries, flags);
    let map = MapData::create(definition, "other", None).expect("a map");
    std::fs::remove_file(root.map(name)).expect("it is pinned");
    map.pin(root.map(name)).expect("it can be pinned");
}

#[test]
fn a_pin_of_another_layout_is_refused_by_name_before_anything_is_read_or_written() {
    use aya_obj::generated::bpf_map_type::*;
    let owners = |key, value, flags| (BPF_MAP_TYPE_HASH as u32, key, value, 4096, flags);
    for (name, what, (kind, key, value, entries, flags)) in [
        (names::OWNERS4, "key size is 8, not 4", owners(8, 8, 0)),
        (names::OWNERS4, "value size is 16, not 8", owners(4, 16, 0)),
        (names::OWNERS4, "flags is 1, not 0", owners(4, 8, 1)),
        (
            names::OWNERS4,
            "type is 9, not 1",
            (BPF_MAP_TYPE_LRU_HASH as u32, 4, 8, 4096, 0),
        ),
        (
            names::ENIS,
            "entries is 32, not 64",
            (BPF_MAP_TYPE_ARRAY as u32, 4, 48, 32, 0),
        ),
    ] {
        let bench = Bench::new(Mode::Count);
        let root = bench.maps.root().clone();
        replace(&root, name, kind, key, value, entries, flags);
        for result in [
            Maps::open(&root).map(drop),
            Maps::create(&root, &Limits::default()).map(drop),
        ] {
            let error = result.expect_err("another layout");
            assert!(error.hint().is_some());
            match error {
                BpfError::LayoutMismatch { pin, what: said } => {
                    assert_eq!((pin, said.as_str()), (root.map(name), what));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    // A size that the configuration sets is not part of the layout.
    let bench = Bench::new(Mode::Count);
    let root = bench.maps.root().clone();
    replace(&root, names::OWNERS4, BPF_MAP_TYPE_HASH as u32, 4, 8, 99, 0);
    assert!(Maps::open(&root).expect("the same layout").is_some());
}

#[test]
fn a_pin_deleted_by_hand_is_reported_and_restored_and_programs_are_loaded_again() {
    let bench = Bench::new(Mode::Count);
    let root = bench.maps.root().clone();
    std::fs::remove_file(root.map(names::CELLS)).expect("it is pinned");
    match Maps::open(&root) {
        Err(BpfError::LayoutMismatch { pin, .. }) => assert_eq!(pin, root.map(names::CELLS)),
        other => panic!("{other:?}"),
    }
    Maps::create(&root, &Limits::default()).expect("maps");
    let maps = Maps::open(&root)
        .expect("maps")
        .expect("the maps are pinned");
    assert_eq!(
        maps.read().expect("counters").enis.len(),
        2,
        "the others kept what they held"
    );
}

#[test]
fn sources_are_still_listed_when_the_marks_that_lead_to_them_were_deleted() {
    let bench = Bench::new(Mode::Count);
    let root = bench.maps.root().clone();
    let packet = Packet::udp(ip(FAR4), ip(OWN4), 0).bytes();
    bench.run(Direction::Ingress, &packet, Metadata::default());
    std::fs::remove_file(root.map(names::SOURCE_MARKS)).expect("it is pinned");
    for limits in [
        Limits::default(),
        Limits {
            source_bytes: 0,
            ..Limits::default()
        },
    ] {
        let maps = Maps::create(&root, &limits).expect("maps");
        let listed = maps.read().expect("counters").sources.len();
        assert_eq!(listed, 1, "{limits:?}");
        std::fs::remove_file(root.map(names::SOURCE_MARKS)).expect("it is pinned");
    }
}

#[test]
fn nothing_pinned_is_an_answer_and_no_bpffs_is_an_error_with_a_hint() {
    let bpffs = Bpffs::mount_private();
    let root = PinRoot::here(bpffs.path()).expect("a namespace");
    assert!(Maps::open(&root).expect("an answer").is_none());

    let elsewhere = tempfile::tempdir().expect("a directory");
    let root = PinRoot::here(elsewhere.path()).expect("a namespace");
    let error = Maps::create(&root, &Limits::default()).expect_err("no bpffs");
    assert!(matches!(&error, BpfError::BpffsMissing { path, .. } if path == elsewhere.path()));
    assert!(error.hint().expect("a hint").contains("mount -t bpf"));
    assert!(error.is_unsupported());
    let left = std::fs::read_dir(elsewhere.path())
        .expect("a directory")
        .count();
    assert_eq!(left, 0, "nothing was made");
}

#[test]
fn pins_are_for_their_owner_only_and_removing_them_leaves_nothing() {
    let bpffs = Bpffs::mount_private();
    let root = PinRoot::here(bpffs.path()).expect("a namespace");
    let maps = Maps::create(&root, &Limits::default()).expect("maps");
    let mut dirs = 0;
    let mut path = root.map(names::ENIS);
    while path.pop() && path != bpffs.path() {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
        dirs += 1;
    }
    assert_eq!(dirs, 4); // eni-steer, the namespace, the layout, maps
    maps.remove().expect("they can be removed");
    assert_eq!(bpffs.pins(), Vec::<String>::new());
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o7777
}

#[test]
fn each_network_namespace_has_its_own_pins() {
    let bpffs = Bpffs::mount_private();
    let roots: Vec<_> = ["one", "two"]
        .map(|name| NetNs::new(name))
        .iter()
        .map(|ns| ns.run(|| PinRoot::here(bpffs.path()).expect("a namespace")))
        .collect();
    assert_ne!(roots[0], roots[1]);
    let first = Maps::create(&roots[0], &Limits::default()).expect("maps");
    assert!(Maps::open(&roots[1]).expect("an answer").is_none());
    let second = Maps::create(&roots[1], &Limits::default()).expect("maps");
    first.remove().expect("they can be removed");
    assert!(Maps::open(&roots[1]).expect("an answer").is_some());
    second.remove().expect("they can be removed");
    assert_eq!(bpffs.pins(), Vec::<String>::new());
}
