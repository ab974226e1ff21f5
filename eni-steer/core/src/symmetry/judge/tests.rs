//! A verdict for each way in which traffic can go, and for the ways in which it can be mistaken.

use super::*;
use crate::{
    counters::{Count, EniCounters, Timestamp, Totals},
    model::Mac,
    symmetry::{Class, RequireTraffic},
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1000 * SECOND;
const ETH0: EniId = EniId(0);
const ETH1: EniId = EniId(1);

fn net(text: &str) -> IpNet {
    let address: std::net::IpAddr = text.parse().expect("an address");
    address.into()
}

fn eni(id: EniId, name: &str) -> EniCounters {
    EniCounters {
        id,
        mac: Mac([2, 0, 0, 0, 0, u8::try_from(id.0).expect("small")]),
        ifindex: None,
        name: Some(name.to_owned()),
        totals: Totals::default(),
        fates: BTreeMap::new(),
        losses: BTreeMap::new(),
    }
}

/// The counters of a host with eth0 and eth1.
fn counters() -> Snapshot {
    Snapshot {
        taken_at: Timestamp {
            monotonic: NOW,
            unix_ms: 0,
        },
        since: None,
        enis: vec![eni(ETH0, "eth0"), eni(ETH1, "eth1")],
        cells: Vec::new(),
        sources: Vec::new(),
        maps: Vec::new(),
    }
}

fn packets(packets: u64) -> Count {
    Count {
        packets,
        bytes: packets * 100,
    }
}

/// An address of eth1's on an ENI; `last_seen` in seconds before now where it is kept.
fn cell(address: &str, on: EniId, direction: Direction, passed: u64) -> AddressCounters {
    let stray = on != ETH1;
    AddressCounters {
        address: net(address),
        owner: Some(ETH1),
        eni: on,
        direction,
        passed: packets(passed),
        steered: Count::default(),
        dropped: Count::default(),
        exempt: Count::default(),
        first_seen: stray.then_some(NOW - 20 * SECOND),
        last_seen: stray.then_some(NOW - 10 * SECOND),
    }
}

const A: &str = "10.0.1.7";
const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

fn owned(address: &str) -> Owned {
    Owned {
        address: net(address),
        owner: OwnerOf::Eni(ETH1),
        blind: None,
        routed_right: true,
    }
}

/// The verdict on A of eth1 with these counters.
fn verdict_of(cells: Vec<AddressCounters>) -> AddressVerdict {
    let counters = Snapshot {
        cells,
        ..counters()
    };
    let mut judged = judge(&counters, &counters, Period::Attached, &[owned(A)]);
    judged.addresses.remove(0)
}

fn verdict(cells: Vec<AddressCounters>) -> Verdict {
    verdict_of(cells).verdict
}

#[test]
fn what_comes_and_leaves_by_the_owner_is_symmetric() {
    let judged = verdict_of(vec![cell(A, ETH1, IN, 5), cell(A, ETH1, OUT, 5)]);
    assert_eq!(judged.verdict, Verdict::Symmetric);
    assert_eq!(judged.owner.as_deref(), Some("eth1"));
    assert_eq!(judged.seen.len(), 1);
    assert_eq!(judged.seen[0].ingress, packets(5));
    assert_eq!(judged.seen[0].egress, packets(5));
    assert_eq!(judged.why, "");
}

#[test]
fn silence_is_no_success() {
    assert_eq!(verdict(Vec::new()), Verdict::NoTraffic);
    assert_eq!(Verdict::NoTraffic.class(), Class::Unknown);
}

#[test]
fn a_request_without_any_reply_is_no_success_but_two_packets_are_no_verdict() {
    let judged = verdict_of(vec![cell(A, ETH1, IN, 3)]);
    assert_eq!(judged.verdict, Verdict::NoReplies);
    assert_eq!(judged.why, "3 came in, none left");
    assert_eq!(verdict(vec![cell(A, ETH1, IN, 2)]), Verdict::Symmetric);
    // One reply is a reply.
    let one = vec![cell(A, ETH1, IN, 9), cell(A, ETH1, OUT, 1)];
    assert_eq!(verdict(one), Verdict::Symmetric);
}

#[test]
fn a_packet_by_another_eni_is_asymmetric_in_either_direction_with_its_times() {
    for direction in Direction::BOTH {
        let judged = verdict_of(vec![
            cell(A, ETH1, IN, 5),
            cell(A, ETH1, OUT, 4),
            cell(A, ETH0, direction, 1),
        ]);
        assert_eq!(judged.verdict, Verdict::Asymmetric);
        let expected = match direction {
            Direction::Ingress => (1, 0),
            Direction::Egress => (0, 1),
        };
        assert_eq!((judged.strays.ingress, judged.strays.egress), expected);
        assert_eq!(judged.strays.packets(), 1);
        assert_eq!(judged.strays.first, Some(Duration::from_secs(20)));
        assert_eq!(judged.strays.last, Some(Duration::from_secs(10)));
        assert_eq!(judged.history.packets(), 0);
        let enis: Vec<&str> = judged.seen.iter().map(|eni| eni.eni.as_str()).collect();
        assert_eq!(enis, ["eth1", "eth0"], "the owner comes first");
    }
}

#[test]
fn the_first_and_the_last_stray_packet_are_those_of_all_directions() {
    let mut early = cell(A, ETH0, IN, 1);
    (early.first_seen, early.last_seen) = (Some(NOW - 50 * SECOND), Some(NOW - 40 * SECOND));
    let mut unknown = cell(A, EniId(2), IN, 1);
    (unknown.first_seen, unknown.last_seen) = (None, None);
    let judged = verdict_of(vec![early, cell(A, ETH0, OUT, 1), unknown]);
    assert_eq!(judged.strays.first, Some(Duration::from_secs(50)));
    assert_eq!(judged.strays.last, Some(Duration::from_secs(10)));
    assert_eq!((judged.strays.ingress, judged.strays.egress), (2, 1));
}

#[test]
fn what_the_configuration_exempts_is_not_stray() {
    let mut exempt = cell(A, ETH0, OUT, 0);
    exempt.exempt = packets(7);
    let judged = verdict_of(vec![cell(A, ETH1, IN, 7), exempt]);
    assert_eq!(judged.verdict, Verdict::Symmetric);
    assert_eq!(judged.seen[1].exempt, packets(7));
    assert_eq!(judged.seen[1].egress, packets(7));
}

#[test]
fn redirected_traffic_is_steered_and_no_success() {
    let mut wrong = cell(A, ETH0, OUT, 0);
    wrong.steered = packets(5);
    let judged = verdict_of(vec![cell(A, ETH1, IN, 5), cell(A, ETH1, OUT, 5), wrong]);
    assert_eq!(judged.verdict, Verdict::Steered);
    assert_eq!(judged.seen[1].steered, packets(5));
    assert_eq!(Verdict::Steered.class(), Class::Wrong);
}

#[test]
fn redirected_packets_that_never_left_the_owner_are_unsent() {
    let steered = |steered, left| {
        let mut wrong = cell(A, ETH0, OUT, 0);
        wrong.steered = packets(steered);
        verdict(vec![cell(A, ETH1, IN, 9), cell(A, ETH1, OUT, left), wrong])
    };
    assert_eq!(steered(5, 0), Verdict::Unsent);
    assert_eq!(steered(3, 0), Verdict::Unsent);
    // A few are the reading of two counters one after the other.
    assert_eq!(steered(5, 3), Verdict::Steered);
    assert_eq!(steered(1600, 1500), Verdict::Steered);
    assert_eq!(steered(1600, 1499), Verdict::Unsent);
}

#[test]
fn dropped_packets_are_no_success_whatever_else_left() {
    let mut wrong = cell(A, ETH0, OUT, 0);
    wrong.dropped = packets(4);
    let judged = verdict_of(vec![cell(A, ETH1, IN, 5), cell(A, ETH1, OUT, 5), wrong]);
    assert_eq!(judged.verdict, Verdict::Dropped);
    assert_eq!(judged.why, "4 dropped on another ENI");
    assert_eq!(judged.seen[1].dropped, packets(4));
}

#[test]
fn an_address_on_two_enis_has_no_verdict_however_its_traffic_goes() {
    let counters = Snapshot {
        cells: vec![cell(A, ETH0, OUT, 5)],
        ..counters()
    };
    let nobody = Owned {
        owner: OwnerOf::Nobody,
        ..owned(A)
    };
    let judged = judge(&counters, &counters, Period::Attached, &[nobody]);
    assert_eq!(judged.addresses[0].verdict, Verdict::NoOwner);
    assert_eq!(judged.addresses[0].owner, None);
}

#[test]
fn what_the_programs_do_not_see_whole_is_not_measured_but_wrong_packets_stay_wrong() {
    let blind = Owned {
        blind: Some("another program comes first".to_owned()),
        ..owned(A)
    };
    let with = |cells| {
        let counters = Snapshot {
            cells,
            ..counters()
        };
        judge(
            &counters,
            &counters,
            Period::Attached,
            std::slice::from_ref(&blind),
        )
        .addresses
        .remove(0)
    };
    let judged = with(vec![cell(A, ETH1, IN, 5), cell(A, ETH1, OUT, 5)]);
    assert_eq!(judged.verdict, Verdict::NotMeasured);
    assert_eq!(judged.why, "another program comes first");
    assert_eq!(with(Vec::new()).verdict, Verdict::NotMeasured);
    let stray = with(vec![cell(A, ETH0, OUT, 1)]);
    assert_eq!(stray.verdict, Verdict::Asymmetric);
}

#[test]
fn an_address_whose_eni_is_not_counted_is_not_measured() {
    let uncounted = Owned {
        owner: OwnerOf::Uncounted,
        blind: Some("no program is attached".to_owned()),
        ..owned(A)
    };
    let counters = counters();
    let judged = judge(&counters, &counters, Period::Attached, &[uncounted]);
    assert_eq!(judged.addresses[0].verdict, Verdict::NotMeasured);
}

#[test]
fn an_answer_from_another_address_is_a_wrong_source_for_both() {
    const B: &str = "10.0.0.7";
    let of_b = |direction, passed| {
        let mut cell = cell(B, ETH0, direction, passed);
        (cell.owner, cell.first_seen, cell.last_seen) = (Some(ETH0), None, None);
        cell
    };
    let judged = |cells| {
        let counters = Snapshot {
            cells,
            ..counters()
        };
        let b = Owned {
            owner: OwnerOf::Eni(ETH0),
            ..owned(B)
        };
        let judged = judge(&counters, &counters, Period::Attached, &[b, owned(A)]);
        judged
            .addresses
            .into_iter()
            .map(|address| (address.verdict, address.why))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        judged(vec![cell(A, ETH1, IN, 5), of_b(OUT, 5)]),
        [
            (
                Verdict::WrongSource,
                "answers what 10.0.1.7 was asked".to_owned()
            ),
            (
                Verdict::WrongSource,
                "asked at 10.0.1.7, answered from 10.0.0.7".to_owned()
            ),
        ]
    );
    let words = |cells| {
        judged(cells)
            .into_iter()
            .map(|(verdict, _)| verdict)
            .collect::<Vec<_>>()
    };
    // B is asked itself, answers far more, far less, or nothing.
    let not = [Verdict::Symmetric, Verdict::NoReplies];
    assert_eq!(
        words(vec![cell(A, ETH1, IN, 5), of_b(IN, 5), of_b(OUT, 5)]),
        not
    );
    assert_eq!(words(vec![cell(A, ETH1, IN, 5), of_b(OUT, 11)]), not);
    assert_eq!(words(vec![cell(A, ETH1, IN, 5), of_b(OUT, 2)]), not);
    let both = [Verdict::WrongSource; 2];
    assert_eq!(words(vec![cell(A, ETH1, IN, 5), of_b(OUT, 10)]), both);
    assert_eq!(words(vec![cell(A, ETH1, IN, 5), of_b(OUT, 3)]), both);
    // Another family's answers are not these.
    let mut six = of_b(OUT, 5);
    six.address = net("fd00::7");
    assert_eq!(
        words(vec![cell(A, ETH1, IN, 5), six])[1],
        Verdict::NoReplies
    );
}

#[test]
fn an_address_that_moved_to_another_eni_is_judged_by_its_owner_at_the_time() {
    let mut moved = cell(A, ETH0, IN, 9);
    moved.owner = Some(ETH0);
    let judged = verdict_of(vec![moved, cell(A, ETH1, IN, 5), cell(A, ETH1, OUT, 5)]);
    assert_eq!(judged.verdict, Verdict::Symmetric);
    assert_eq!(judged.strays.packets() + judged.history.packets(), 0);
}

#[test]
fn what_was_wrong_before_the_epoch_is_history_and_decides_nothing() {
    let all = Snapshot {
        cells: vec![
            cell(A, ETH1, IN, 15),
            cell(A, ETH1, OUT, 10),
            cell(A, ETH0, OUT, 5),
        ],
        ..counters()
    };
    let epoch = Snapshot {
        since: Some(Timestamp {
            monotonic: NOW - 5 * SECOND,
            unix_ms: 0,
        }),
        cells: vec![cell(A, ETH1, IN, 5), cell(A, ETH1, OUT, 5)],
        ..counters()
    };
    let judged = judge(&all, &epoch, Period::Epoch, &[owned(A)]);
    assert_eq!(judged.length, Some(Duration::from_secs(5)));
    assert_eq!(judged.period, Period::Epoch);
    let address = &judged.addresses[0];
    assert_eq!(address.verdict, Verdict::Symmetric);
    assert_eq!(address.strays, Strays::default());
    assert_eq!((address.history.ingress, address.history.egress), (0, 5));
    assert_eq!(address.history.last, Some(Duration::from_secs(10)));
    // Both before and in the period: the programs keep only the first time of all and the last.
    let since = |seconds, stray| {
        let period = Snapshot {
            since: Some(Timestamp {
                monotonic: NOW - seconds * SECOND,
                unix_ms: 0,
            }),
            cells: vec![cell(A, ETH0, OUT, stray)],
            ..counters()
        };
        judge(&all, &period, Period::Window, &[owned(A)])
            .addresses
            .remove(0)
    };
    let both = since(15, 2);
    assert_eq!((both.strays.egress, both.history.egress), (2, 3));
    assert_eq!(both.strays.first, None, "the first one was before");
    assert_eq!(both.strays.last, Some(Duration::from_secs(10)));
    assert_eq!(both.history.last, None, "the last one was in the period");
    let all_of_them = since(20, 5);
    assert_eq!(all_of_them.strays.first, Some(Duration::from_secs(20)));
}

/// A source that was seen on an ENI some seconds ago.
fn heard(eni: EniId, direction: Direction, seconds_ago: u64) -> crate::counters::Source {
    crate::counters::Source {
        source: net("203.0.113.9"),
        eni,
        direction,
        count: packets(1),
        mismatched: 0,
        last_seen: NOW - seconds_ago * SECOND,
    }
}

#[test]
fn wrong_packets_are_over_once_routing_is_right_and_a_later_request_had_no_wrong_answer() {
    let cells = || {
        vec![
            cell(A, ETH1, IN, 15),
            cell(A, ETH1, OUT, 10),
            cell(A, ETH0, OUT, 5),
        ]
    };
    let with = |sources, cells, owned: Owned| {
        let counters = Snapshot {
            cells,
            sources,
            ..counters()
        };
        judge(&counters, &counters, Period::Attached, &[owned])
            .addresses
            .remove(0)
    };
    // The last stray packet was seen 10 s ago.
    let over = with(vec![heard(ETH1, IN, 3)], cells(), owned(A));
    assert_eq!(over.verdict, Verdict::Symmetric);
    assert_eq!(over.strays.packets(), 0);
    assert_eq!(over.history.egress, 5);
    // No request since, one by another ENI, one that left: not over.
    for source in [heard(ETH1, IN, 10), heard(ETH0, IN, 3), heard(ETH1, OUT, 3)] {
        let judged = with(vec![source], cells(), owned(A));
        assert_eq!(judged.verdict, Verdict::Asymmetric);
    }
    // No answer ever left by the owner: address translation makes every one stray, whatever the
    // kernel routes, and what came later needed no answer.
    let translated = vec![cell(A, ETH1, IN, 4), cell(A, ETH0, OUT, 2)];
    let judged = with(vec![heard(ETH1, IN, 3)], translated, owned(A));
    assert_eq!(judged.verdict, Verdict::Asymmetric);
    // Routing is still wrong.
    let wrong = Owned {
        routed_right: false,
        ..owned(A)
    };
    let judged = with(vec![heard(ETH1, IN, 3)], cells(), wrong);
    assert_eq!(judged.verdict, Verdict::Asymmetric);
    // The later request may have been for another address of the ENI.
    let mut two = cells();
    two.push(cell("10.0.1.8", ETH1, IN, 1));
    let judged = with(vec![heard(ETH1, IN, 3)], two, owned(A));
    assert_eq!(judged.verdict, Verdict::NoTraffic);
    assert_eq!(judged.history.egress, 5);
    // The latest request counts, whichever source it came from.
    let sources = vec![heard(ETH1, IN, 3), heard(ETH1, IN, 30)];
    assert_eq!(with(sources, cells(), owned(A)).verdict, Verdict::Symmetric);
}

#[test]
fn all_verdicts_together_are_as_bad_as_the_worst_and_silence_counts_as_the_caller_says() {
    let of = |verdicts: &[Verdict]| TrafficVerdict {
        period: Period::Window,
        length: None,
        addresses: verdicts
            .iter()
            .map(|verdict| AddressVerdict {
                verdict: *verdict,
                ..verdict_of(Vec::new())
            })
            .collect(),
    };
    let cases = [
        (
            &[][..],
            Verdict::NoTraffic,
            [Class::Success, Class::Unknown, Class::Unknown],
        ),
        (
            &[Verdict::Symmetric, Verdict::NoTraffic],
            Verdict::NoTraffic,
            [Class::Success, Class::Success, Class::Unknown],
        ),
        (
            &[Verdict::Symmetric],
            Verdict::Symmetric,
            [Class::Success, Class::Success, Class::Success],
        ),
        (
            &[Verdict::NoTraffic, Verdict::NotMeasured, Verdict::NoOwner],
            Verdict::NoOwner,
            [Class::Success, Class::Unknown, Class::Unknown],
        ),
        (
            &[Verdict::Symmetric, Verdict::NoReplies, Verdict::Steered],
            Verdict::NoReplies,
            [Class::Wrong, Class::Wrong, Class::Wrong],
        ),
    ];
    for (verdicts, worst, classes) in cases {
        let judged = of(verdicts);
        assert_eq!(judged.worst(), worst, "{verdicts:?}");
        let asked = [
            RequireTraffic::None,
            RequireTraffic::Any,
            RequireTraffic::All,
        ]
        .map(|required| judged.class(required));
        assert_eq!(asked, classes, "{verdicts:?}");
    }
    let judged = of(&[Verdict::Symmetric, Verdict::NoReplies, Verdict::Symmetric]);
    assert_eq!(judged.count(Verdict::Symmetric), 2);
    assert_eq!(judged.count(Verdict::Dropped), 0);
}

#[test]
fn an_eni_without_a_name_is_named_by_its_mac_address_and_one_that_is_unknown_by_its_number() {
    let mut counters = counters();
    counters.enis.pop();
    counters.enis[0].name = None;
    let mut unknown = cell(A, ETH1, IN, 5);
    unknown.owner = Some(ETH1);
    counters.cells = vec![unknown, cell(A, ETH0, OUT, 1)];
    let judged = judge(&counters, &counters, Period::Attached, &[owned(A)]);
    let enis: Vec<&str> = judged.addresses[0]
        .seen
        .iter()
        .map(|eni| eni.eni.as_str())
        .collect();
    assert_eq!(enis, ["eni 1", "02:00:00:00:00:00"]);
}

#[test]
fn each_verdict_has_words_of_its_own() {
    let all = [
        Verdict::Symmetric,
        Verdict::NoTraffic,
        Verdict::NotMeasured,
        Verdict::NoOwner,
        Verdict::Steered,
        Verdict::Dropped,
        Verdict::Unsent,
        Verdict::WrongSource,
        Verdict::NoReplies,
        Verdict::Asymmetric,
    ];
    let words: std::collections::BTreeSet<&str> = all.iter().map(|v| v.words()).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|words| !words.is_empty()));
}
