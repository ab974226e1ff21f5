//! The report of `status`.

use serde::Serialize;

use super::{daemon::DaemonReport, verify::Counted};
use crate::{
    counters::MapMemory,
    desired::{Absence, Desired, Eni},
    findings::{self, Finding},
    model::{Hook, Host},
    plan::Plan,
    policy::Policy,
    symmetry::TrafficVerdict,
    verify::PolicyVerdict,
};

/// The state of eni-steer on this host.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Where the policy comes from, for example a configuration file.
    pub policy: String,
    /// Whether a policy has been applied and not removed since.
    pub applied: bool,
    /// Report of the running daemon; `None`: no daemon runs.
    pub daemon: Option<DaemonReport>,
    /// The managed ENIs.
    pub enis: Vec<EniStatus>,
    /// Every difference between the host and the policy, as plan lines.
    pub drift: Vec<String>,
    /// The same differences folded for people ([`Plan::lines`]).
    #[serde(skip)]
    pub drift_folded: Vec<String>,
    /// What the administrator should know, the most severe first.
    pub findings: Vec<Finding>,
    /// Whether the traffic of each address is symmetric; `None`: there are no counters.
    pub traffic: Option<TrafficVerdict>,
    /// Memory of the programs' maps.
    pub maps: Vec<MapMemory>,
}

/// One ENI and its programs.
#[derive(Debug, Serialize)]
pub struct EniStatus {
    /// What eni-steer knows about the ENI.
    #[serde(flatten)]
    pub eni: Eni,
    /// How its programs are attached, ingress first, then egress; `None`: no program.
    pub programs: [Option<String>; 2],
}

impl StatusReport {
    /// Puts the report together. `source` says where the policy comes from, `applied` whether a
    /// policy has been applied.
    #[allow(clippy::too_many_arguments)] // each argument comes from a different source
    pub fn new(
        source: String,
        applied: bool,
        daemon: Option<DaemonReport>,
        host: &Host,
        policy: &Policy,
        absence: Absence,
        desired: &Desired,
        verdict: &PolicyVerdict,
        counters: Option<Counted>,
    ) -> Self {
        let plan = Plan::between(desired, host);
        let traffic = counters
            .as_ref()
            .map(|counters| super::verify::traffic(host, desired, verdict, counters));
        let enis = desired.enis.iter().map(|eni| EniStatus {
            eni: eni.clone(),
            programs: Hook::tc_of(eni.index).map(|hook| {
                let attached = host.datapath.attachments.get(&hook);
                attached.map(|attachment| attachment.kind.to_string())
            }),
        });
        Self {
            policy: source,
            applied,
            daemon,
            enis: enis.collect(),
            drift: plan.steps.iter().map(|step| step.describe(host)).collect(),
            drift_folded: plan.lines(host),
            findings: findings::of_policy(host, policy, absence, desired),
            traffic,
            maps: counters
                .map(|counters| counters.all.maps)
                .unwrap_or_default(),
        }
    }
}
