//! `doctor`: everything on a host that keeps eni-steer from working, or will, with a code, why it
//! matters, and the command that ends it.
//!
//! ```text
//! machine   kernel, privileges, bpffs, limits
//! enis      interfaces left out, sysctls, MTU, gateways, programs, offloads
//! rules     which win, which do nothing, which stand where nobody put them
//! managers  other software that manages the same interfaces
//! state     policy, configuration, daemon, traffic
//! codes     the list of all findings; docs/codes.md is written from it
//! ```

pub mod codes;
mod enis;
mod facts;
mod found;
mod machine;
pub mod managers;
mod rules;
mod state;

use serde::Serialize;

use crate::{
    desired::{Desired, PolicyError},
    findings::{Finding, Severity},
    model::Host,
    policy::Policy,
    report::{DaemonReport, EXIT_DRIFT, EXIT_TRAFFIC, Report},
    symmetry::TrafficVerdict,
    verify::{PolicyVerdict, causes},
};

pub use facts::{Device, Facts, networkd_setting};

use codes::Entry;
use found::Found;

/// What the report is made of.
pub struct DoctorInputs<'a> {
    /// The machine, its interfaces, other software.
    pub facts: &'a Facts,
    /// The host.
    pub host: &'a Host,
    /// The policy in effect.
    pub policy: &'a Policy,
    /// Where it comes from.
    pub source: String,
    /// The policy that was applied last.
    pub applied: Option<&'a Policy>,
    /// What the host should have, as far as that can be said.
    pub desired: &'a Desired,
    /// Why the host does not allow the policy.
    pub errors: &'a [PolicyError],
    /// Findings about the configuration.
    pub findings: Vec<Finding>,
    /// The kernel's routing, and whether gateways answer.
    pub verdict: &'a PolicyVerdict,
    /// The verdicts on traffic; `None`: nothing counts.
    pub traffic: Option<&'a TrafficVerdict>,
    /// The daemon, if it runs.
    pub daemon: Option<&'a DaemonReport>,
    /// Whether `eni-steer off` has switched everything off.
    pub off: bool,
    /// Seconds until a change is undone.
    pub unconfirmed: Option<u64>,
    /// Parts of the host that could not be read.
    pub unreadable: &'a [String],
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How much it matters; `None`: it is fine.
    pub severity: Option<Severity>,
    /// The code; `None`: it is fine.
    pub code: Option<&'static str>,
    /// The subject.
    pub area: &'static str,
    /// The interface, rule or program that it is about; empty: the area as a whole.
    pub object: String,
    /// It as a sentence without a full stop.
    pub text: String,
    /// What follows from it; empty: nothing.
    pub why: &'static str,
    /// Number of the fix that ends it.
    pub fix: Option<usize>,
}

/// A command or sentence that ends something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Its number, from 1.
    pub number: usize,
    /// The command, or a sentence.
    pub command: String,
}

/// What `doctor` says.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// Release of the kernel.
    pub kernel: String,
    /// The cloud or machine.
    pub machine: String,
    /// Names of the ENIs, the primary first.
    pub enis: Vec<String>,
    /// Name of the primary ENI.
    pub primary: Option<String>,
    /// What was looked at, in the order of the areas, the worst of each area first.
    pub checks: Vec<Check>,
    /// What to do, in the order of severity.
    pub remedies: Vec<Remedy>,
    /// Number of failures.
    pub failures: usize,
    /// Number of warnings.
    pub warnings: usize,
    /// Every exit code that applies, the one that the command ends with first.
    pub exits: Vec<u8>,
}

/// The areas, in the order of the report.
const AREAS: [&str; 21] = [
    "kernel",
    "privileges",
    "bpffs",
    "limits",
    "host",
    "ENIs",
    "config",
    "policy",
    "routing",
    "gateway",
    "rp_filter",
    "ARP",
    "MTU",
    "rules",
    "programs",
    "offloads",
    "queues",
    "others",
    "reboot",
    "daemon",
    "traffic",
];

impl DoctorReport {
    /// Looks at everything.
    pub fn new(inputs: &DoctorInputs<'_>) -> Self {
        let mut found = Found::default();
        let desired = inputs.desired;
        machine::check(inputs.facts, desired.enis.len(), &mut found);
        for what in inputs.unreadable {
            let text = format!("could not read {what}");
            found.add(codes::UNREADABLE, "host", text, None);
        }
        enis::check(
            inputs.host,
            inputs.facts,
            inputs.policy,
            desired,
            inputs.verdict,
            &mut found,
        );
        let causes = causes(inputs.verdict, &desired.ownership);
        let probes = inputs.verdict.probes;
        rules::check(
            inputs.host,
            inputs.policy,
            desired,
            &causes,
            probes,
            &mut found,
        );
        managers::check(inputs.facts, &mut found);
        state::check(inputs, &mut found);
        let mut report = Self::of(found, inputs.facts);
        report.enis = desired.enis.iter().map(|eni| eni.name.clone()).collect();
        let primary = desired.enis.iter().find(|eni| eni.primary);
        report.primary = primary.map(|eni| eni.name.clone());
        report
    }

    /// What can be said where the host cannot be read.
    pub fn unreadable(facts: &Facts, why: &str) -> Self {
        let mut found = Found::default();
        machine::check(facts, 0, &mut found);
        found.add(codes::UNREADABLE, "host", why.to_owned(), None);
        managers::check(facts, &mut found);
        Self::of(found, facts)
    }

    fn of(found: Found, facts: &Facts) -> Self {
        let Found { mut all, fine } = found;
        let area = |entry: &Entry| AREAS.iter().position(|area| *area == entry.area);
        // Fixes are numbered by how much they matter.
        all.sort_by_key(|one| std::cmp::Reverse(one.severity));
        let mut remedies: Vec<Remedy> = Vec::new();
        let mut checks = Vec::new();
        for one in all {
            let is_trouble = one.severity != Severity::Info;
            let fix = one.fix.filter(|_| is_trouble).map(|command| {
                let known = remedies.iter().find(|remedy| remedy.command == command);
                known.map(|remedy| remedy.number).unwrap_or_else(|| {
                    let number = remedies.len() + 1;
                    remedies.push(Remedy { number, command });
                    number
                })
            });
            checks.push((
                area(&one.entry).unwrap_or(AREAS.len()),
                Check {
                    severity: Some(one.severity),
                    code: Some(one.entry.code),
                    area: one.entry.area,
                    object: one.object,
                    text: one.text,
                    why: one.entry.why,
                    fix,
                },
            ));
        }
        for (name, text) in fine {
            let is_trouble = |(_, check): &(usize, Check)| {
                check.area == name && check.severity > Some(Severity::Info)
            };
            if checks.iter().any(is_trouble) {
                continue;
            }
            let place = AREAS.iter().position(|area| *area == name);
            checks.push((
                place.unwrap_or(AREAS.len()),
                Check {
                    severity: None,
                    code: None,
                    area: name,
                    object: String::new(),
                    text,
                    why: "",
                    fix: None,
                },
            ));
        }
        // In each area the worst first, but before mere information that all is well.
        checks.sort_by_key(|(area, check)| {
            let rank = match check.severity {
                Some(Severity::Failure) => 0,
                Some(Severity::Warning) => 1,
                None => 2,
                Some(Severity::Info) => 3,
            };
            (*area, rank)
        });
        let checks: Vec<Check> = checks.into_iter().map(|(_, check)| check).collect();
        let count = |severity| {
            let of = checks
                .iter()
                .filter(|check| check.severity == Some(severity));
            of.count()
        };
        let (failures, warnings) = (count(Severity::Failure), count(Severity::Warning));
        let is_traffic = |check: &Check| check.code == Some(codes::TRAFFIC_WRONG.code);
        let lost = checks.iter().filter(|check| is_traffic(check)).count();
        let mut exits = Vec::new();
        exits.extend((lost > 0).then_some(EXIT_TRAFFIC));
        exits.extend((failures > lost).then_some(EXIT_DRIFT));
        Self {
            kernel: facts.kernel.clone(),
            machine: facts.machine.clone(),
            enis: Vec::new(),
            primary: None,
            checks,
            remedies,
            failures,
            warnings,
            exits,
        }
    }
}

impl Report for DoctorReport {
    const NAME: &'static str = "doctor";

    fn verdict(&self) -> &'static str {
        match (self.failures, self.warnings) {
            (0, 0) => "ok",
            (0, _) => "warnings",
            _ => "failures",
        }
    }
}

#[cfg(test)]
mod tests;
