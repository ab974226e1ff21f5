//! The report of `verify`.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    counters::Snapshot,
    desired::Desired,
    findings::{self, Code, Finding},
    model::{Hook, Host, IfIndex, Owner, covers, host_prefix},
    symmetry::{Class, Owned, OwnerOf, Period, RequireTraffic, TrafficVerdict, judge},
    verify::{Cause, PolicyVerdict, causes},
};

/// The counters to judge traffic by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Since the programs were attached.
    pub all: Snapshot,
    /// Those of the period.
    pub counted: Snapshot,
    /// What the period is.
    pub period: Period,
}

/// Both answers of `verify`.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// Every exit code that applies, the one that the command ends with first.
    pub exits: Vec<u8>,
    /// Are the rules, routes and programs in place, and does the kernel route by them?
    pub policy: PolicyVerdict,
    /// Whether traffic is symmetric; `None`: there are no counters.
    pub traffic: Option<TrafficVerdict>,
    /// How much silence was accepted.
    pub required_traffic: RequireTraffic,
    /// Causes of what is wrong, those that affect most first.
    pub causes: Vec<Cause>,
    /// What keeps the counters from seeing every packet.
    pub blind: Vec<Finding>,
}

/// Exit code: something differs from the policy, or the kernel routes otherwise.
pub const EXIT_DRIFT: u8 = 3;
/// Exit code: traffic is wrong.
pub const EXIT_TRAFFIC: u8 = 4;
/// Exit code: traffic could not be judged.
pub const EXIT_UNKNOWN: u8 = 7;

impl VerifyReport {
    /// Puts the verdicts together. `counters` are the ones to judge traffic by; `None`: there are
    /// none.
    pub fn new(
        host: &Host,
        desired: &Desired,
        policy: PolicyVerdict,
        counters: Option<&Counted>,
        required_traffic: RequireTraffic,
    ) -> Self {
        let mut blind = findings::foreign_programs(host, desired);
        blind.retain(|finding| finding.code == Code::ProgramRunsFirst);
        let traffic = counters.map(|counters| traffic(host, desired, &policy, counters));
        let class = match &traffic {
            Some(traffic) => traffic.class(required_traffic),
            None if required_traffic == RequireTraffic::None => Class::Success,
            None => Class::Unknown,
        };
        // Wrong traffic is what hurts now, so it comes first and hides nothing: all are listed.
        let mut exits = Vec::new();
        if class == Class::Wrong {
            exits.push(EXIT_TRAFFIC);
        }
        if !policy.holds() {
            exits.push(EXIT_DRIFT);
        }
        if class == Class::Unknown {
            exits.push(EXIT_UNKNOWN);
        }
        Self {
            causes: causes(&policy, &desired.ownership),
            exits,
            policy,
            traffic,
            required_traffic,
            blind,
        }
    }
}

/// Judges traffic, in the light of what the kernel's lookups have shown.
pub fn traffic(
    host: &Host,
    desired: &Desired,
    policy: &PolicyVerdict,
    counters: &Counted,
) -> TrafficVerdict {
    let wrong: BTreeSet<_> = policy.misrouted.iter().map(|one| one.source).collect();
    let routed_right = |net: IpNet| !wrong.iter().any(|source| covers(net, host_prefix(*source)));
    let owned = owned_addresses(host, desired, &counters.all, routed_right);
    judge(&counters.all, &counters.counted, counters.period, &owned)
}

/// The addresses to judge, with their owners by the identifiers that the counters use.
/// `routed_right`: whether the kernel routes packets of an address by its owner.
fn owned_addresses(
    host: &Host,
    desired: &Desired,
    counters: &Snapshot,
    routed_right: impl Fn(IpNet) -> bool,
) -> Vec<Owned> {
    let blind = blind_enis(host, desired);
    let owners = desired
        .datapath
        .iter()
        .flat_map(|datapath| &datapath.owners);
    owners
        .map(|(net, owner)| {
            let index = match owner {
                Owner::Eni(index) => Some(*index),
                Owner::Ambiguous => None,
            };
            let counted = index.and_then(|index| counters.interface(index));
            let unseen = "its ENI has no counters: eni-steer's programs are not attached there";
            Owned {
                address: *net,
                owner: match (index, counted) {
                    (_, Some(eni)) => OwnerOf::Eni(eni.id),
                    (Some(_), None) => OwnerOf::Uncounted,
                    (None, None) => OwnerOf::Nobody,
                },
                blind: index.and_then(|index| match counted {
                    Some(_) => blind.get(&index).cloned(),
                    None => Some(unseen.to_owned()),
                }),
                routed_right: routed_right(*net),
            }
        })
        .collect()
}

/// ENIs whose packets the programs do not all see, and why: a program of another tool that comes
/// first on a hook, or a hook without a program of eni-steer's.
fn blind_enis(host: &Host, desired: &Desired) -> BTreeMap<IfIndex, String> {
    let mut blind = BTreeMap::new();
    for eni in &desired.enis {
        for hook in Hook::tc_of(eni.index) {
            let place = hook.describe(host);
            let first = host.foreign_programs.get(&hook).into_iter().flatten();
            let first = first.clone().find(|program| program.before_ours);
            if !host.datapath.attachments.contains_key(&hook) {
                blind.insert(
                    eni.index,
                    format!("no program of eni-steer's is on {place}"),
                );
            } else if let Some(program) = first {
                let why = format!("program {} comes first on {place}", program.name);
                blind.insert(eni.index, why);
            }
        }
    }
    blind
}
