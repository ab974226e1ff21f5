//! Prints the report of `verify` as text.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::table::Table;
use eni_steer_core::{
    known_tools::KERNEL,
    model::{Family, Priority, RuleAction, TableId, destination_text},
    report::VerifyReport,
    symmetry::{AddressVerdict, Sighting, Verdict},
    verify::{Misrouted, Overruled, Winner},
};

/// Prints what is wrong with routing, then the verdict on traffic and the table of addresses.
/// `last`: the last priority of eni-steer's rules.
pub fn verify(report: &VerifyReport, last: Priority, out: &mut impl Write) -> io::Result<()> {
    let policy = &report.policy;
    if !policy.drift.is_empty() {
        differences(policy.drift.len(), &policy.drift_folded, out)?;
    }
    let all = policy.probes.saturating_sub(policy.refused);
    let wrong = policy.misrouted.len() + policy.overruled.len();
    writeln!(
        out,
        "Routing: {}{} of {all} test lookups use the right interface{}",
        if policy.holds() { "OK. " } else { "" },
        all.saturating_sub(wrong),
        match policy.refused {
            0 => ".".to_owned(),
            1 => "; 1 more is refused, as configured.".to_owned(),
            more => format!("; {more} more are refused, as configured."),
        }
    )?;
    let applied = policy.drift.is_empty();
    for trouble in misrouted(&policy.misrouted, applied, last) {
        trouble.write(out)?;
    }
    for one in &policy.overruled {
        overruled(one, applied, last).write(out)?;
    }
    for line in &policy.notes {
        writeln!(out, "Note: {line}")?;
    }
    for finding in &report.blind {
        writeln!(out, "Note: {finding}")?;
    }
    match &report.traffic {
        None => writeln!(
            out,
            "Traffic: not counted, because eni-steer has no programs here. 'eni-steer apply \
             --programs on' attaches them."
        ),
        Some(traffic) => {
            let window = match traffic.window {
                Some(window) => format!("in {}", humantime::format_duration(rounded(window))),
                None => "since the programs were attached".to_owned(),
            };
            writeln!(out, "Traffic: {}", traffic_text(traffic.worst(), &window))?;
            addresses(&traffic.addresses, out)
        }
    }
}

/// Prints the differences between host and policy, one line for each change.
pub(super) fn differences(count: usize, lines: &[String], out: &mut impl Write) -> io::Result<()> {
    let s = if count == 1 { "" } else { "s" };
    writeln!(
        out,
        "State: {count} difference{s} from the policy. 'eni-steer apply' makes these changes:"
    )?;
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn traffic_text(worst: Verdict, window: &str) -> String {
    match worst {
        Verdict::NoTraffic => format!("none {window}, so nothing can be concluded."),
        Verdict::Symmetric => format!(
            "symmetric {window}. Every packet used the ENI that has its address (its owner)."
        ),
        Verdict::NoOwner => format!(
            "no mismatch {window}, but two ENIs have the same address, and its packets cannot be \
             judged."
        ),
        Verdict::Asymmetric => format!(
            "asymmetric {window}. Some packets used an ENI other than the one that has their address \
             (its owner)."
        ),
    }
}

/// Prints one row for each address: packets in and out on each ENI, and the verdict.
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
            address.owner.clone().unwrap_or_else(|| "none".to_owned()),
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
            text.push_str(&format!(", {stray} of {all} {way} by another ENI"));
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

/// Rounds long times to the second, short ones to the millisecond.
pub(super) fn rounded(time: Duration) -> Duration {
    if time.as_secs() >= 10 {
        Duration::from_secs(time.as_secs())
    } else {
        Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Something that is wrong with routing, in the form of an error.
#[derive(PartialEq, Eq)]
struct Trouble {
    what: String,
    cause: String,
    hint: Option<String>,
}

impl Trouble {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "Routing: {}", self.what)?;
        writeln!(out, "  caused by: {}", self.cause)?;
        match &self.hint {
            Some(hint) => writeln!(out, "  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// One entry for each source, way and cause, with all destinations it applies to.
fn misrouted(misrouted: &[Misrouted], applied: bool, last: Priority) -> Vec<Trouble> {
    let mut groups: Vec<(String, Vec<String>, Trouble)> = Vec::new();
    for one in misrouted {
        let (from, to) = (one.source.to_string(), one.to.to_string());
        let trouble = why_misrouted(one, applied, last);
        match groups
            .iter_mut()
            .find(|(f, _, t)| *f == from && *t == trouble)
        {
            Some((_, destinations, _)) => destinations.push(to),
            None => groups.push((from, vec![to], trouble)),
        }
    }
    let text = |(from, to, trouble): (String, Vec<String>, Trouble)| Trouble {
        what: format!("packets from {from} to {} {}", to.join(", "), trouble.what),
        ..trouble
    };
    groups.into_iter().map(text).collect()
}

/// Which way a packet leaves instead, and why.
fn why_misrouted(misrouted: &Misrouted, applied: bool, last: Priority) -> Trouble {
    let Misrouted {
        owner,
        wanted,
        by,
        winner,
        served_by_main,
        ..
    } = misrouted;
    let what = match by {
        Some(by) => format!("leave by {by}, not by {wanted}"),
        None => format!("are refused; they should leave by {wanted}"),
    };
    let full = served_by_main.then(|| {
        format!(
            "{owner} is the primary ENI and uses the main table; primary = \"full\" gives it rules \
             of its own"
        )
    });
    Trouble {
        what,
        cause: cause(winner, by.as_deref()),
        hint: full.or_else(|| hint(winner, applied, last)),
    }
}

/// A rule of eni-steer that has no effect, and why.
fn overruled(overruled: &Overruled, applied: bool, last: Priority) -> Trouble {
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
    let what = format!(
        "the rule 'ip {} rule {rule}' has no effect: a packet to {packet} {way}",
        rule.family
    );
    // The rule decides, but the kernel refuses to forward the packet.
    if winner.rule.as_ref() == Some(rule) && by.is_none() {
        return Trouble {
            what,
            cause: "the rule's table has no route for this packet, or forwarding is off".to_owned(),
            hint: Some(match rule.family {
                Family::V4 => "sysctl net.ipv4.ip_forward".to_owned(),
                Family::V6 => "sysctl net.ipv6.conf.all.forwarding".to_owned(),
            }),
        };
    }
    Trouble {
        what,
        cause: cause(winner, by.as_deref()),
        hint: hint(winner, applied, last),
    }
}

/// Which rule decides about a packet, and whose it is.
fn cause(winner: &Winner, by: Option<&str>) -> String {
    let Some(rule) = &winner.rule else {
        return "no rule has a route for it".to_owned();
    };
    let command = format!("ip {} rule {rule}", rule.family);
    if winner.rule_is_ours {
        return format!("eni-steer's own rule decides: {command}");
    }
    match winner.rule_owner {
        Some(KERNEL) if rule.action == RuleAction::Table(TableId::MAIN) => match by {
            Some(by) => format!(
                "no rule with a route matches this source, so the main table is used ({by})"
            ),
            None => "no rule with a route matches this source, not even the main table".to_owned(),
        },
        Some(KERNEL) => format!("no rule before the kernel's own rule matches: {command}"),
        Some(tool) => {
            format!("a rule, probably of {tool}, comes before eni-steer's: {command}")
        }
        None => format!("another program's rule comes before eni-steer's: {command}"),
    }
}

/// What the administrator can do about the rule that decides. `applied`: the plan is empty.
fn hint(winner: &Winner, applied: bool, last: Priority) -> Option<String> {
    let rule = winner.rule.as_ref()?;
    match winner.rule_owner {
        _ if winner.rule_is_ours => None,
        _ if rule.action == RuleAction::L3mdev => {
            Some("interfaces in a VRF use the table of the VRF, not eni-steer's".to_owned())
        }
        Some(KERNEL) if applied => Some(
            "let eni-steer install its rules: eni-steer apply --rules on (in the configuration: \
             rules = true)"
                .to_owned(),
        ),
        Some(KERNEL) => Some("run 'eni-steer apply'".to_owned()),
        Some(_) | None => Some(format!(
            "delete it, or give it a priority above {last}: ip {} rule del {rule}",
            rule.family
        )),
    }
}
