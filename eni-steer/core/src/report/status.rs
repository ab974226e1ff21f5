//! What `status` says.

use serde::Serialize;

use super::{Counted, DaemonReport};
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

/// Everything at a glance.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Where the policy comes from.
    pub policy: String,
    /// Whether a policy was applied.
    pub applied: bool,
    /// The daemon, if one runs.
    pub daemon: Option<DaemonReport>,
    /// The ENIs.
    pub enis: Vec<EniStatus>,
    /// Every difference from the policy, as plan lines.
    pub drift: Vec<String>,
    /// The same for people, folded ([`Plan::lines`]).
    #[serde(skip)]
    pub drift_folded: Vec<String>,
    /// What the administrator should know.
    pub findings: Vec<Finding>,
    /// Address by address; `None`: there are no counters.
    pub traffic: Option<TrafficVerdict>,
    /// Memory of the maps.
    pub maps: Vec<MapMemory>,
}

/// One ENI.
#[derive(Debug, Serialize)]
pub struct EniStatus {
    /// What eni-steer knows of it.
    #[serde(flatten)]
    pub eni: Eni,
    /// How its programs are attached: ingress, egress; `None`: no program.
    pub programs: [Option<String>; 2],
}

impl StatusReport {
    /// Puts the report together. `source`: where the policy comes from; `applied`: whether a
    /// policy was applied.
    #[allow(clippy::too_many_arguments)] // each is one source of truth of its own
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
            .map(|counters| super::traffic(host, desired, verdict, counters));
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
