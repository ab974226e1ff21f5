//! The epoch: the time since the policy, the owners of addresses or the host's routing last
//! changed. Traffic is judged by what was counted in it; older counts are history.
//!
//! An epoch is known by the fingerprint of what routing depends on, and holds the counters at its
//! beginning. Whoever changes something begins a new one (`apply`, a pass of the daemon), and
//! whoever finds that something has changed since (the daemon, `verify`, `status`).

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::{
    counters::{AddressCounters, Snapshot, Timestamp},
    desired::Desired,
    model::{Host, Route, TableId},
};

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// What routing depended on when it began ([`fingerprint`]); `None`: the change that began it
    /// was just made, and nobody has looked since.
    pub fingerprint: Option<u64>,
    /// When it began.
    pub began: Timestamp,
    /// The counters of owned addresses at that time.
    pub addresses: Vec<AddressCounters>,
}

impl Epoch {
    /// An epoch that begins now.
    pub fn begin(fingerprint: Option<u64>, now: &Snapshot) -> Self {
        Self {
            fingerprint,
            began: now.taken_at,
            addresses: now.cells.clone(),
        }
    }

    /// What was counted since the epoch began; `None` if it began in the future, which means
    /// before the last boot.
    pub fn counted(&self, now: &Snapshot) -> Option<Snapshot> {
        if self.began.monotonic > now.taken_at.monotonic {
            return None;
        }
        let before = Snapshot {
            taken_at: self.began,
            since: None,
            enis: Vec::new(),
            cells: self.addresses.clone(),
            sources: Vec::new(),
            maps: Vec::new(),
        };
        Some(now.since(&before))
    }
}

/// A number that changes whenever something does that decides where packets of an ENI go: a rule
/// of anyone, a route in an ENI's table or main's routes through ENIs, an owner, a mode, an ENI
/// that comes, goes, or is set up or down. It does not change with other routes of main, of which
/// a router can have a million that come and go. The order of rules and routes in `host` does not
/// matter.
pub fn fingerprint(host: &Host, desired: &Desired) -> u64 {
    let mut all = host.rules.iter().map(hash).fold(0, u64::wrapping_add);
    let tables: Vec<TableId> = desired.enis.iter().map(|eni| eni.table).collect();
    let by_an_eni = |route: &Route| {
        let mut enis = desired.enis.iter();
        enis.any(|eni| route.hop_by(eni.index).is_some())
    };
    for route in &host.routes {
        let decides = tables.contains(&route.table)
            || (route.table == TableId::MAIN && (route.is_default() || by_an_eni(route)));
        if decides {
            all = all.wrapping_add(hash(route));
        }
    }
    let mut hasher = DefaultHasher::new();
    all.hash(&mut hasher);
    for (index, row) in &host.datapath.enis {
        (index, row.up, row.mode).hash(&mut hasher);
    }
    for (net, owner) in &host.datapath.owners {
        (net, owner).hash(&mut hasher);
    }
    for eni in &desired.enis {
        (eni.index, eni.up, &eni.owned).hash(&mut hasher);
    }
    hasher.finish()
}

fn hash(object: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        counters::{Count, EniId},
        desired::Absence,
        fake::fake_host,
        model::{Direction, TunableKind},
        policy::Policy,
    };

    fn two_enis() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 172.16.20.253 dev eth1 table 21001 proto 229")
    }

    fn print(host: &Host) -> u64 {
        let policy = Policy::default();
        let desired = Desired::for_host(host, &policy, Absence::Wait, 1);
        fingerprint(host, &desired.unwrap_or_else(|e| panic!("{e}")))
    }

    #[test]
    fn what_decides_about_packets_of_enis_begins_a_new_epoch() {
        let before = print(&two_enis());
        assert_eq!(print(&two_enis()), before, "the same host has the same one");
        let mut steered = two_enis();
        let desired = Desired::for_host(&steered, &Policy::default(), Absence::Error, 1);
        let datapath = desired.unwrap_or_else(|e| panic!("{e}")).datapath;
        steered.datapath.owners = datapath.expect("programs are wanted").owners;
        let changed = [
            ("a foreign rule", two_enis().rule("pref 100 lookup 254")),
            (
                "main's default",
                two_enis().route("default via 172.16.20.9 dev eth1 metric 5"),
            ),
            (
                "a route in an ENI's table",
                two_enis().route("10.1.0.0/16 dev eth1 table 21001 proto 229"),
            ),
            (
                "a route of main through an ENI",
                two_enis().route("10.1.0.0/16 via 172.16.20.9 dev eth1"),
            ),
            ("an address", two_enis().address("eth1", "172.16.20.178/24")),
            ("a link", two_enis().down("eth1")),
            ("an owner", steered),
        ];
        for (what, host) in changed {
            assert_ne!(print(&host), before, "{what}");
        }
        let rule = |words| print(&two_enis().rule(words));
        assert_ne!(rule("pref 100 lookup 254"), rule("pref 101 lookup 254"));
    }

    #[test]
    fn what_concerns_no_eni_does_not_begin_a_new_epoch() {
        let before = print(&two_enis());
        let routes = two_enis().route("10.1.0.0/16 dev docker0");
        assert_eq!(print(&routes), before);
        let table = two_enis().route("10.1.0.0/16 dev docker0 table 99");
        assert_eq!(print(&table), before);
        let tunable = two_enis().tunable("eth1", TunableKind::RpFilter, 2);
        assert_eq!(print(&tunable), before);
    }

    fn snapshot(monotonic: u64, packets: u64) -> Snapshot {
        Snapshot {
            taken_at: Timestamp {
                monotonic,
                unix_ms: 0,
            },
            since: None,
            enis: Vec::new(),
            cells: vec![AddressCounters {
                address: "10.0.1.7/32".parse().expect("a prefix"),
                owner: Some(EniId(1)),
                eni: EniId(1),
                direction: Direction::Ingress,
                passed: Count { packets, bytes: 0 },
                steered: Count::default(),
                dropped: Count::default(),
                exempt: Count::default(),
                first_seen: None,
                last_seen: None,
            }],
            sources: Vec::new(),
            maps: Vec::new(),
        }
    }

    #[test]
    fn only_what_was_counted_since_the_epoch_began_counts() {
        let host = two_enis();
        let desired = Desired::for_host(&host, &Policy::default(), Absence::Error, 1);
        let desired = desired.unwrap_or_else(|e| panic!("{e}"));
        let print = fingerprint(&host, &desired);
        let epoch = Epoch::begin(Some(print), &snapshot(100, 7));
        assert_eq!(epoch.fingerprint, Some(print));
        let text = serde_json::to_string(&epoch).expect("it can be written");
        let read: Epoch = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(read, epoch);
        let counted = read.counted(&snapshot(300, 9)).expect("it began before");
        assert_eq!(counted.cells[0].passed.packets, 2);
        assert_eq!(counted.since.map(|since| since.monotonic), Some(100));
        assert_eq!(read.counted(&snapshot(99, 9)), None, "before the last boot");
        assert!(read.counted(&snapshot(100, 7)).is_some());
    }
}
