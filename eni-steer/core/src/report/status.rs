//! The report of `status`: it always answers. Whatever is broken is a finding in it, and everything
//! else is shown.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{daemon::DaemonReport, verify::Counted};
use crate::{
    counters::MapMemory,
    desired::{Absence, Desired, Eni, PolicyError},
    findings::{self, Finding, Severity},
    model::{Hook, Host},
    plan::Plan,
    policy::Policy,
    symmetry::{AddressVerdict, Class, RequireTraffic, TrafficVerdict, Verdict},
    verify::{Cause, PolicyVerdict, causes},
};

/// The first word of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Headline {
    /// The policy is in effect, and traffic was seen to be right.
    Ok,
    /// Nothing is known to be wrong, but nothing was seen to be right either.
    Unknown,
    /// A change waits for its confirmation and is undone without it.
    Unconfirmed,
    /// Something is wrong.
    Attention,
    /// The emergency brake is on: eni-steer touches no packet.
    Off,
}

impl Headline {
    /// The exit code of `status --check`, as monitors know them: 0 fine, 1 warning, 2 critical,
    /// 3 unknown.
    pub fn exit(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unconfirmed => 1,
            Self::Attention | Self::Off => 2,
            Self::Unknown => 3,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Unconfirmed => "UNCONFIRMED",
            Self::Attention => "ATTENTION",
            Self::Off => "OFF",
        }
    }
}

/// What the report is made of. Each field comes from a different source.
pub struct StatusInputs<'a> {
    /// Where the policy comes from, for example a configuration file.
    pub source: String,
    /// Whether a policy has been applied and not removed since.
    pub applied: bool,
    /// Whether the emergency brake is on (`eni-steer off`).
    pub off: bool,
    /// Seconds until a change is undone, if one waits for its confirmation.
    pub unconfirmed: Option<u64>,
    /// Report of the running daemon.
    pub daemon: Option<DaemonReport>,
    /// The host.
    pub host: &'a Host,
    /// The policy.
    pub policy: &'a Policy,
    /// What to do about an ENI that is missing.
    pub absence: Absence,
    /// What the host should have, as far as that can be said.
    pub desired: &'a Desired,
    /// Why the host does not allow the policy.
    pub errors: &'a [PolicyError],
    /// Findings of the command itself, such as a configuration that cannot be read.
    pub findings: Vec<Finding>,
    /// The kernel's routing.
    pub verdict: &'a PolicyVerdict,
    /// The counters, if programs are attached.
    pub counters: Option<Counted>,
}

/// The state of eni-steer on this host.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// The first word.
    #[serde(skip)]
    pub verdict: Headline,
    /// Why it is not OK, as a sentence; empty if it is.
    pub why: String,
    /// Where the policy comes from, for example a configuration file.
    pub policy: String,
    /// Whether a policy has been applied and not removed since.
    pub applied: bool,
    /// Whether the emergency brake is on (`eni-steer off`).
    pub off: bool,
    /// Seconds until a change is undone, if one waits for its confirmation.
    pub unconfirmed: Option<u64>,
    /// Report of the running daemon; `None`: no daemon runs.
    pub daemon: Option<DaemonReport>,
    /// The managed ENIs.
    pub enis: Vec<EniStatus>,
    /// Every difference between the host and the policy, as plan lines.
    pub drift: Vec<String>,
    /// The same differences folded for people ([`Plan::lines`]).
    #[serde(skip)]
    pub drift_folded: Vec<String>,
    /// Causes of wrong routing, those that affect most first.
    pub causes: Vec<Cause>,
    /// What the administrator should know, the most severe first.
    pub findings: Vec<Finding>,
    /// Whether the traffic of each address is symmetric; `None`: there are no counters.
    pub traffic: Option<TrafficVerdict>,
    /// Memory of the programs' maps.
    pub maps: Vec<MapMemory>,
}

/// One ENI, its programs, and the traffic of its addresses.
#[derive(Debug, Serialize)]
pub struct EniStatus {
    /// What eni-steer knows about the ENI.
    #[serde(flatten)]
    pub eni: Eni,
    /// How its programs are attached, ingress first, then egress; `None`: no program.
    pub programs: [Option<String>; 2],
    /// How many of its addresses had traffic.
    pub active: usize,
    /// Packets of its addresses that came in, by whatever ENI.
    pub packets_in: u64,
    /// Packets of its addresses that left, by whatever ENI.
    pub packets_out: u64,
    /// Packets of its addresses that came in or left by another ENI, or were redirected or
    /// dropped there.
    pub packets_wrong: u64,
    /// The worst verdict on its addresses.
    pub state: Verdict,
}

impl StatusReport {
    /// Puts the report together.
    pub fn new(inputs: StatusInputs<'_>) -> Self {
        let StatusInputs {
            host,
            policy,
            absence,
            desired,
            verdict,
            ..
        } = inputs;
        let plan = Plan::between(desired, host);
        let traffic = inputs
            .counters
            .as_ref()
            .map(|counters| super::verify::traffic(host, desired, verdict, counters));
        let mut findings = inputs.findings;
        findings.extend(inputs.errors.iter().map(findings::of_error));
        findings.extend(findings::of_policy(host, policy, absence, desired));
        if inputs.daemon.is_none() && inputs.applied {
            findings.extend(findings::primary_needs_daemon(desired, policy));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let causes = causes(verdict, &desired.ownership);
        let enis = desired
            .enis
            .iter()
            .map(|eni| EniStatus::new(host, eni, traffic.as_ref()));
        let mut report = Self {
            verdict: Headline::Attention,
            why: String::new(),
            policy: inputs.source,
            applied: inputs.applied,
            off: inputs.off,
            unconfirmed: inputs.unconfirmed,
            daemon: inputs.daemon,
            enis: enis.collect(),
            drift: plan.steps.iter().map(|step| step.describe(host)).collect(),
            drift_folded: plan.lines(host),
            causes,
            findings,
            traffic,
            maps: inputs
                .counters
                .map(|counters| counters.all.maps)
                .unwrap_or_default(),
        };
        (report.verdict, report.why) = report.headline();
        report
    }

    /// The first word and its reason: what is wrong outweighs what is unknown.
    fn headline(&self) -> (Headline, String) {
        let wrong = self.traffic.as_ref().map(|traffic| {
            let all = traffic.addresses.iter();
            all.filter(|address| address.verdict.class() == Class::Wrong)
                .count()
        });
        let failures = self.findings.iter();
        let failures = failures.filter(|finding| finding.severity == Severity::Failure);
        let say = |count: usize, one: &str, many: &str| {
            (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
        };
        let drift = if self.applied { self.drift.len() } else { 0 };
        let causes = if self.applied { self.causes.len() } else { 0 };
        let reasons: Vec<String> = [
            say(failures.count(), "failure", "failures"),
            say(causes, "cause of wrong routing", "causes of wrong routing"),
            say(
                wrong.unwrap_or(0),
                "address with wrong traffic",
                "addresses with wrong traffic",
            ),
            say(
                drift,
                "difference from the policy",
                "differences from the policy",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.off {
            let why = "eni-steer is off: it has removed its rules and tables and restored sysctls, and \
                       its programs only count; 'eni-steer on' brings them back";
            return (Headline::Off, why.to_owned());
        }
        if let Some(seconds) = self.unconfirmed {
            let mut why = format!("undone in {seconds} s unless you run 'eni-steer confirm'");
            for reason in reasons {
                why.push_str("; ");
                why.push_str(&reason);
            }
            return (Headline::Unconfirmed, why);
        }
        if !reasons.is_empty() {
            return (Headline::Attention, reasons.join(", "));
        }
        let judged = self.traffic.as_ref();
        let judged = judged.map(|traffic| traffic.class(RequireTraffic::Any));
        match (self.applied, judged) {
            (false, _) => (
                Headline::Unknown,
                "nothing is applied ('eni-steer plan' shows what apply would change)".to_owned(),
            ),
            (true, None) => (
                Headline::Unknown,
                "no programs are attached, so traffic is not measured".to_owned(),
            ),
            (true, Some(Class::Success)) => (Headline::Ok, String::new()),
            (true, Some(_)) => (
                Headline::Unknown,
                "no symmetric traffic was seen since the last change".to_owned(),
            ),
        }
    }
}

impl EniStatus {
    fn new(host: &Host, eni: &Eni, traffic: Option<&TrafficVerdict>) -> Self {
        let owned: Vec<&AddressVerdict> = traffic
            .into_iter()
            .flat_map(|traffic| &traffic.addresses)
            .filter(|address| address.owner.as_deref() == Some(eni.name.as_str()))
            .collect();
        let seen = || owned.iter().flat_map(|address| &address.seen);
        let came_in = seen().map(|one| one.ingress.packets).sum();
        let left = seen().map(|one| one.egress.packets).sum();
        let not_here = seen().filter(|one| one.eni != eni.name);
        let held = not_here.map(|one| one.steered.packets + one.dropped.packets);
        let strays = owned.iter().map(|address| address.strays.packets());
        let active: BTreeSet<_> = owned
            .iter()
            .filter(|address| !address.seen.is_empty())
            .map(|address| address.address)
            .collect();
        let verdicts = owned.iter().map(|address| address.verdict);
        // A silent address beside one with good traffic is no trouble of the ENI.
        let worst = verdicts
            .clone()
            .filter(|verdict| *verdict != Verdict::NoTraffic);
        let state = worst.max().or(verdicts.max());
        Self {
            eni: eni.clone(),
            programs: Hook::tc_of(eni.index).map(|hook| {
                let attached = host.datapath.attachments.get(&hook);
                attached.map(|attachment| attachment.kind.to_string())
            }),
            active: active.len(),
            packets_in: came_in,
            packets_out: left,
            packets_wrong: held.sum::<u64>() + strays.sum::<u64>(),
            state: state.unwrap_or(Verdict::NotMeasured),
        }
    }
}
