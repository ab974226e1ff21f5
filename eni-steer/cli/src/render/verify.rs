//! The answer of `verify`.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::table::Table;
use eni_steer_core::{
    known_tools::KERNEL,
    model::destination_text,
    report::VerifyReport,
    symmetry::{AddressVerdict, Sighting, Verdict},
    verify::{Misrouted, Overruled, Winner},
};

/// Sentences, then the table of addresses.
pub fn verify(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let policy = &report.policy;
    if policy.holds() {
        let refused = match policy.refused {
            0 => String::new(),
            refused => format!(", and refuses {refused} as configured"),
        };
        writeln!(
            out,
            "policy: in place; the kernel sends {} probes the way they should go{refused}",
            policy.probes - policy.refused
        )?;
    }
    for line in &policy.drift_folded {
        writeln!(out, "policy: drift: {line}")?;
    }
    for line in astray(&policy.misrouted) {
        writeln!(out, "policy: {line}")?;
    }
    for overruled in &policy.overruled {
        writeln!(out, "policy: {}", overruled_text(overruled))?;
    }
    for line in &policy.notes {
        writeln!(out, "note: {line}")?;
    }
    for finding in &report.blind {
        writeln!(out, "note: {finding}")?;
    }
    match &report.traffic {
        None => writeln!(out, "traffic: not counted, no programs are attached"),
        Some(traffic) => {
            let window = match traffic.window {
                Some(window) => format!("in {}", humantime::format_duration(rounded(window))),
                None => "since the programs were attached".to_owned(),
            };
            writeln!(out, "traffic: {} {window}", verdict_word(traffic.worst()))?;
            addresses(&traffic.addresses, out)
        }
    }
}

/// One row for each address: in and out, ENI by ENI.
pub(super) fn addresses(addresses: &[AddressVerdict], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["ADDRESS", "OWNER", "IN", "OUT", "STEERED", "VERDICT"]);
    for address in addresses {
        let packets = |of: fn(&Sighting) -> u64| {
            let parts: Vec<String> = address
                .seen
                .iter()
                .filter(|sighting| of(sighting) > 0)
                .map(|sighting| format!("{} {}", sighting.eni, of(sighting)))
                .collect();
            if parts.is_empty() {
                "-".to_owned()
            } else {
                parts.join(", ")
            }
        };
        table.row(vec![
            destination_text(address.address).to_string(),
            address.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
            packets(|sighting| sighting.ingress.packets),
            packets(|sighting| sighting.egress.packets),
            packets(|sighting| sighting.steered.packets),
            verdict_text(address),
        ]);
    }
    table.write(out)
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NoTraffic => "no traffic",
        Verdict::Symmetric => "symmetric",
        Verdict::NoOwner => "no owner",
        Verdict::Asymmetric => "asymmetric",
    }
}

fn verdict_text(address: &AddressVerdict) -> String {
    let mut text = verdict_word(address.verdict).to_owned();
    let dropped: u64 = address
        .seen
        .iter()
        .map(|sighting| sighting.dropped.packets)
        .sum();
    if dropped > 0 {
        text.push_str(&format!(", {dropped} dropped"));
    }
    if address.verdict != Verdict::Asymmetric {
        return text;
    }
    let all_in: u64 = address
        .seen
        .iter()
        .map(|sighting| sighting.ingress.packets)
        .sum();
    let all_out: u64 = address
        .seen
        .iter()
        .map(|sighting| sighting.egress.packets)
        .sum();
    for (stray, all, way) in [
        (address.stray_ingress, all_in, "in"),
        (address.stray_egress, all_out, "out"),
    ] {
        if stray > 0 {
            text.push_str(&format!(", {stray} of {all} {way}"));
        }
    }
    if let Some(first) = address.first_stray {
        text.push_str(&format!(
            ", first {} ago",
            humantime::format_duration(rounded(first))
        ));
    }
    if let Some(last) = address.last_stray {
        text.push_str(&format!(
            ", last {} ago",
            humantime::format_duration(rounded(last))
        ));
    }
    text
}

/// Long times to the second, short ones to the millisecond.
pub(super) fn rounded(time: Duration) -> Duration {
    if time.as_secs() >= 10 {
        Duration::from_secs(time.as_secs())
    } else {
        Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

/// One line for each source and winner, with all destinations that go astray for it.
fn astray(misrouted: &[Misrouted]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<String>, String)> = Vec::new();
    for one in misrouted {
        let (from, verdict) = (one.source.to_string(), verdict_of(one));
        let to = one.to.to_string();
        match lines
            .iter_mut()
            .find(|(f, _, v)| *f == from && *v == verdict)
        {
            Some((_, destinations, _)) => destinations.push(to),
            None => lines.push((from, vec![to], verdict)),
        }
    }
    let text = |(from, to, verdict): (String, Vec<String>, String)| {
        format!("from {from} to {} {verdict}", to.join(", "))
    };
    lines.into_iter().map(text).collect()
}

/// Which way a packet goes instead, and why.
fn verdict_of(misrouted: &Misrouted) -> String {
    let Misrouted {
        owner,
        wanted,
        by,
        winner,
        served_by_main,
        ..
    } = misrouted;
    let way = match by {
        Some(by) => format!("leaves by {by}, not by {wanted}"),
        None => format!("is refused; it should leave by {wanted}"),
    };
    let advice = if *served_by_main {
        format!("main serves {owner}; primary = \"full\" gives it rules of its own")
    } else {
        BEHIND_OURS.to_owned()
    };
    format!("{way}: {}", cause(winner, &advice))
}

/// What is to be done where a rule of somebody else stands before ours.
const BEHIND_OURS: &str = "its owner has to move it behind ours";

/// What does not get what it is there for, and why.
fn overruled_text(overruled: &Overruled) -> String {
    let Overruled {
        overruled: rule,
        packet,
        by,
        winner,
    } = overruled;
    let way = match by {
        Some(by) => format!("leaves by {by}"),
        None => "is refused".to_owned(),
    };
    let reached = winner.rule.as_ref() == Some(rule);
    let cause = match (reached, by) {
        // The rule decides, and the kernel refuses all the same: what is to be forwarded.
        (true, None) => "its own table leads nowhere, or forwarding is off".to_owned(),
        (true, Some(_)) | (false, _) => cause(winner, BEHIND_OURS),
    };
    format!(
        "'ip {} rule {rule}' does not get {packet}, which {way}: {cause}",
        rule.family
    )
}

/// Which rule won, whose it is, and what to do.
fn cause(winner: &Winner, advice: &str) -> String {
    match &winner.rule {
        None => "no rule leads anywhere".to_owned(),
        Some(rule) if winner.rule_is_ours => {
            format!("our own rule decides: ip {} rule {rule}", rule.family)
        }
        Some(rule) if winner.rule_owner == Some(KERNEL) => {
            format!(
                "no rule before the kernel's own decides: ip {} rule {rule}",
                rule.family
            )
        }
        Some(rule) => {
            let whose = winner
                .rule_owner
                .map(|whose| format!(" (most likely of {whose})"))
                .unwrap_or_default();
            format!(
                "the rule that wins is 'ip {} rule {rule}'{whose}; {advice}",
                rule.family
            )
        }
    }
}
