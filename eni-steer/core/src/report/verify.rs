//! The report of `verify`.

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    counters::{EniId, Snapshot},
    desired::Desired,
    findings::{self, Code, Finding},
    model::{Host, Owner},
    symmetry::{TrafficVerdict, judge},
    verify::PolicyVerdict,
};

/// The two verdicts of `verify`, on routing and on traffic.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// Whether rules, routes and programs are in place, and whether the kernel routes by them.
    pub policy: PolicyVerdict,
    /// Whether traffic is symmetric; `None`: there are no counters.
    pub traffic: Option<TrafficVerdict>,
    /// Programs of other tools because of which the counters do not see every packet.
    pub blind: Vec<Finding>,
}

impl VerifyReport {
    /// Puts the verdicts together. `counters` are the ones to judge traffic by; `None`: there are
    /// none.
    pub fn new(
        host: &Host,
        desired: &Desired,
        policy: PolicyVerdict,
        counters: Option<&Snapshot>,
    ) -> Self {
        let mut blind = findings::foreign_programs(host, desired);
        blind.retain(|finding| finding.code == Code::ProgramRunsFirst);
        Self {
            policy,
            traffic: counters
                .map(|counters| judge(counters, &owners_of_counters(desired, counters))),
            blind,
        }
    }
}

/// The owner that each address should have, by the identifiers that the counters use. `None`: two
/// ENIs have the address, or the counters do not know its owner.
pub(super) fn owners_of_counters(
    desired: &Desired,
    counters: &Snapshot,
) -> Vec<(IpNet, Option<EniId>)> {
    let owners = desired
        .datapath
        .iter()
        .flat_map(|datapath| &datapath.owners);
    owners
        .map(|(net, owner)| match owner {
            Owner::Eni(index) => (*net, counters.interface(*index).map(|eni| eni.id)),
            Owner::Ambiguous => (*net, None),
        })
        .collect()
}
