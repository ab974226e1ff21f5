//! The policy, the configuration, the daemon, and what was counted.

use super::{
    DoctorInputs,
    codes::{self, Entry},
    found::Found,
};
use crate::{
    desired::Absence,
    findings::{self, Code, Finding},
    plan::Plan,
    symmetry::{Class, RequireTraffic},
};

pub(super) fn check(inputs: &DoctorInputs<'_>, found: &mut Found) {
    let apply = || Some("eni-steer apply".to_owned());
    let of_policy = findings::of_policy(inputs.host, inputs.policy, Absence::Wait, inputs.desired);
    let errors = inputs.errors.iter().map(findings::of_error);
    let needs_daemon = match (inputs.daemon, inputs.applied) {
        (None, Some(_)) => findings::primary_needs_daemon(inputs.desired, inputs.policy),
        _ => Vec::new(),
    };
    let mut shown: Vec<Finding> = Vec::new();
    for finding in inputs
        .findings
        .iter()
        .cloned()
        .chain(errors)
        .chain(of_policy)
        .chain(needs_daemon)
    {
        if let Some(entry) = entry(finding.code)
            && !shown.contains(&finding)
        {
            found.add_finding(entry, &finding);
            shown.push(finding);
        }
    }
    if inputs.off {
        let text = "eni-steer is off: nothing is applied".to_owned();
        found.add(codes::OFF, "policy", text, Some("eni-steer on".to_owned()));
    }
    let plan = Plan::between(inputs.desired, inputs.host);
    let changes = plan.steps.len();
    match (inputs.applied, &inputs.policy) {
        (None, _) => found.add(
            codes::NOT_APPLIED,
            "policy",
            match changes {
                0 => "nothing is applied, and there is nothing to do".to_owned(),
                _ => format!(
                    "nothing is applied; 'eni-steer plan' shows {}",
                    count(changes)
                ),
            },
            Some("eni-steer apply --confirm 60s".to_owned()),
        ),
        (Some(applied), policy) if applied != *policy => found.add(
            codes::CONFIGURATION_DIFFERS,
            "configuration",
            format!(
                "{} differs from what is applied: {}",
                inputs.source,
                count(changes)
            ),
            apply(),
        ),
        (Some(_), _) if changes > 0 => found.add(
            codes::DRIFT,
            "policy",
            match changes {
                1 => "1 difference from the policy".to_owned(),
                _ => format!("{changes} differences from the policy"),
            },
            apply(),
        ),
        (Some(_), _) => found.fine("policy", "rules, routes, sysctls and programs are in place"),
    }
    if let Some(seconds) = inputs.unconfirmed {
        found.add(
            codes::UNCONFIRMED,
            "policy",
            format!("a change is undone in {seconds} s unless it is confirmed"),
            Some("eni-steer confirm".to_owned()),
        );
    }
    daemon(inputs, found);
    traffic(inputs, found);
}

/// The entry of a finding that other commands show too; `None`: another part of doctor shows it.
fn entry(code: Code) -> Option<Entry> {
    Some(match code {
        Code::PolicyRefused => codes::POLICY_REFUSED,
        Code::ConfigurationWrong => codes::CONFIGURATION_WRONG,
        Code::SourceUnavailable => codes::SOURCE_UNAVAILABLE,
        Code::LeaseIgnored => codes::LEASE_IGNORED,
        Code::GatewayConflict => codes::GATEWAY_CONFLICT,
        Code::StateDamaged => codes::STATE_DAMAGED,
        Code::AddressOnTwoEnis => codes::ADDRESS_TWICE,
        Code::AddressOwnedByNoEni => codes::ADDRESS_WITHOUT_OWNER,
        Code::ArpIgnoreLeftAlone => codes::ARP_IGNORE_LEFT,
        Code::ProgramsUnreadable => codes::UNREADABLE,
        Code::ConfirmationWithoutGuard
        | Code::UndoInterrupted
        | Code::ChangeUndone
        | Code::UndoFailed => codes::UNDO,
        Code::NotServed => codes::NOT_SERVED,
        Code::PrimaryHasRules => codes::PRIMARY_RULES,
        Code::PrimaryNeedsDaemon => codes::PRIMARY_NEEDS_DAEMON,
        Code::TunnelTakesReplies => codes::TUNNEL,
        Code::BandMoved => codes::BAND_MOVED,
        Code::MainRuleMissing
        | Code::RulePlacedBefore
        | Code::RedundantRule
        | Code::InterfaceLeftOut
        | Code::ProgramRunsFirst
        | Code::ProgramRunsAfter => return None,
    })
}

fn count(changes: usize) -> String {
    match changes {
        1 => "1 change".to_owned(),
        _ => format!("{changes} changes"),
    }
}

fn daemon(inputs: &DoctorInputs<'_>, found: &mut Found) {
    let persist = || Some("eni-steer persist".to_owned());
    if !inputs.facts.service_enabled && inputs.applied.is_some() {
        found.add(
            codes::NOT_PERSISTENT,
            "service",
            "nothing installs the policy after a reboot".to_owned(),
            persist(),
        );
    } else if inputs.facts.service_enabled {
        found.fine("reboot", "the service is enabled");
    }
    match inputs.daemon {
        None if inputs.applied.is_some() => found.add(
            codes::NO_DAEMON,
            "daemon",
            "the daemon does not run: nothing repairs the policy".to_owned(),
            persist(),
        ),
        None => {}
        Some(daemon) => {
            let troubles = daemon.error.iter().chain(&daemon.failed);
            for trouble in troubles {
                let fix = Some("journalctl -u eni-steer".to_owned());
                found.add(codes::DAEMON_TROUBLE, "daemon", trouble.clone(), fix);
            }
            found.fine("daemon", format!("runs (pid {})", daemon.pid));
        }
    }
}

fn traffic(inputs: &DoctorInputs<'_>, found: &mut Found) {
    let Some(traffic) = inputs.traffic else {
        if inputs.applied.is_some() || inputs.host.datapath.settings.is_some() {
            found.add(
                codes::TRAFFIC_UNKNOWN,
                "traffic",
                "not measured: programs are not attached".to_owned(),
                None,
            );
        }
        return;
    };
    let wrong = traffic.addresses.iter();
    let wrong = wrong.filter(|address| address.verdict.class() == Class::Wrong);
    match (wrong.count(), traffic.class(RequireTraffic::Any)) {
        (0, Class::Success) => found.fine("traffic", "what was seen is symmetric"),
        (0, _) => found.add(
            codes::TRAFFIC_UNKNOWN,
            "traffic",
            "no traffic since the last change".to_owned(),
            None,
        ),
        (wrong, _) => found.add(
            codes::TRAFFIC_WRONG,
            "traffic",
            format!("wrong on {wrong} of {} addresses", traffic.addresses.len()),
            Some("eni-steer verify".to_owned()),
        ),
    }
}
