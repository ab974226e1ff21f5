//! Findings: what an administrator should hear about a host, as one type for every command.
//!
//! `status`, `verify`, `apply` and the daemon all show findings of this module, so no warning is
//! worded twice. A finding is not drift: drift is what the plan will change.

use std::fmt;

use serde::Serialize;

use crate::{
    desired::{Absence, Desired},
    model::{Family, Host, Owner, destination_text},
    policy::Policy,
};

/// What kind of thing was found. The identifier stays the same for good: monitoring and
/// documentation refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The kernel's rule that looks up table main is gone.
    MainRuleMissing,
    /// A source of gateways (a lease file) could not be read.
    SourceUnavailable,
    /// Two ENIs have the same address.
    AddressOnTwoEnis,
    /// Another program's rule does what a rule of eni-steer does.
    RedundantRule,
    /// An interface looks like an ENI, but eni-steer knows no gateway for it.
    InterfaceLeftOut,
    /// Another program runs before eni-steer's on a hook.
    ProgramRunsFirst,
    /// Another program runs after eni-steer's on a hook.
    ProgramRunsAfter,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing is wrong.
    Info,
    /// Something may be wrong, or eni-steer cannot tell.
    Warning,
    /// Something is wrong now.
    Failure,
}

/// Something an administrator should hear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of thing it is.
    pub code: Code,
    /// The interface, address, rule or file that it is about.
    pub object: String,
    /// What is the case, and what follows from it: a sentence without a full stop.
    pub why: String,
    /// Commands that end it, or a sentence that says what to do; empty where nothing is to be
    /// done.
    pub remedy: Vec<String>,
}

impl fmt::Display for Finding {
    /// The sentence, and behind a semicolon what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy.join("; "))?;
        }
        Ok(())
    }
}

/// Findings about the host alone: those that need no policy.
pub fn of_host(host: &Host) -> Vec<Finding> {
    let main_rules = Family::BOTH
        .into_iter()
        .filter(|family| !host.has_main_rule(*family))
        .map(main_rule_missing);
    let sources = host.unavailable.iter().map(|source| Finding {
        severity: Severity::Warning,
        code: Code::SourceUnavailable,
        object: source.clone(),
        why: format!("could not read {source}; eni-steer keeps the last value it had from there"),
        remedy: Vec::new(),
    });
    main_rules.chain(sources).collect()
}

/// Every finding about a host under a policy, the most severe first.
pub fn of_policy(
    host: &Host,
    policy: &Policy,
    absence: Absence,
    desired: &Desired,
) -> Vec<Finding> {
    let mut findings = of_host(host);
    findings.extend(addresses_on_two_enis(desired));
    findings.extend(redundant_rules(host, desired));
    let left_out = desired.left_out(host, policy, absence);
    findings.extend(left_out.into_iter().map(interface_left_out));
    findings.extend(foreign_programs(host, desired));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Without this rule nothing of the host's default routing works.
fn main_rule_missing(family: Family) -> Finding {
    let command = format!("ip {family} rule add pref 32766 lookup main");
    Finding {
        severity: Severity::Failure,
        code: Code::MainRuleMissing,
        object: format!("ip {family} rule pref 32766"),
        why: format!(
            "the kernel's own rule for table main is gone ({}): packets that no other rule \
             serves have no route",
            match family {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            }
        ),
        remedy: vec![command],
    }
}

fn addresses_on_two_enis(desired: &Desired) -> Vec<Finding> {
    let owners = desired
        .datapath
        .iter()
        .flat_map(|datapath| &datapath.owners);
    owners
        .filter(|(_, owner)| **owner == Owner::Ambiguous)
        .map(|(net, _)| {
            let holders = desired.enis.iter().filter(|eni| eni.owned.contains(net));
            let holders: Vec<&str> = holders.map(|eni| eni.name.as_str()).collect();
            let net = destination_text(*net).to_string();
            Finding {
                severity: Severity::Warning,
                code: Code::AddressOnTwoEnis,
                why: format!(
                    "{net} is on {}: eni-steer counts its packets but cannot tell which of them \
                     is right, and never steers them",
                    holders.join(" and ")
                ),
                object: net,
                remedy: Vec::new(),
            }
        })
        .collect()
}

fn redundant_rules(host: &Host, desired: &Desired) -> Vec<Finding> {
    let redundant = desired.redundant_rules(host).into_iter();
    redundant
        .map(|redundant| Finding {
            severity: Severity::Info,
            code: Code::RedundantRule,
            object: format!("ip {} rule {}", redundant.rule.family, redundant.rule),
            why: format!(
                "the rule '{}' was made by hand or by a script and does for {} what eni-steer's \
                 own rule does; you can remove it",
                redundant.rule, redundant.eni
            ),
            remedy: redundant.commands,
        })
        .collect()
}

fn interface_left_out(link: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: Code::InterfaceLeftOut,
        object: link.to_owned(),
        why: format!(
            "{link} has a global address, but eni-steer knows no gateway for it and does not \
             manage it"
        ),
        remedy: vec![format!(
            "to manage it, name it: --eni {link} --gateway {link}=ADDRESS"
        )],
    }
}

/// Programs of others on the hooks of ENIs.
pub fn foreign_programs(host: &Host, desired: &Desired) -> Vec<Finding> {
    let managed = |index| desired.enis.iter().any(|eni| eni.index == index);
    let hooks = host.foreign_programs.iter();
    hooks
        .filter(|(hook, _)| managed(hook.interface()))
        .flat_map(|(hook, programs)| programs.iter().map(move |program| (hook, program)))
        .map(|(hook, program)| {
            let place = hook.describe(host);
            let name = format!("{} ({}, id {})", program.name, program.kind, program.id);
            let hides = program.before_ours && host.datapath.attachments.contains_key(hook);
            let (severity, code, why) = if hides {
                (
                    Severity::Warning,
                    Code::ProgramRunsFirst,
                    format!(
                        "program {name} runs before eni-steer's on {place}: eni-steer does not \
                         count the packets that it drops or redirects there"
                    ),
                )
            } else {
                (
                    Severity::Info,
                    Code::ProgramRunsAfter,
                    format!("program {name} runs on {place} too, after eni-steer's"),
                )
            };
            Finding {
                severity,
                code,
                object: place,
                why,
                remedy: Vec::new(),
            }
        })
        .collect()
}
