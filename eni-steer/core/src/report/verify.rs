//! What `verify` says.

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

/// Both answers of `verify`.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// Are the rules, routes and programs in place, and does the kernel route by them?
    pub policy: PolicyVerdict,
    /// Is traffic symmetric? `None`: there are no counters.
    pub traffic: Option<TrafficVerdict>,
    /// What keeps the counters from seeing every packet.
    pub blind: Vec<Finding>,
}

impl VerifyReport {
    /// Puts the answers together. `counters`: those to judge traffic by, if there are any.
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

/// Who should own each address, by the identifiers that the counters use.
pub fn owners_of_counters(desired: &Desired, counters: &Snapshot) -> Vec<(IpNet, Option<EniId>)> {
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
