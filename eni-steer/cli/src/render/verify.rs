//! What `verify` says: a line for each thing that was checked, the causes of what is wrong with
//! the commands that end them, then the addresses whose traffic is not right.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use eni_steer_core::{
    model::{Reachability, destination_text},
    report::VerifyReport,
    symmetry::{AddressVerdict, Class, Period, RequireTraffic, Sighting, TrafficVerdict, Verdict},
    verify::{Cause, Overruled, PolicyVerdict},
};

use super::table::Table;

/// Addresses without trouble are listed as well while there are no more than this.
const FEW: usize = 12;
/// At most this many addresses with trouble are listed.
const MANY: usize = 20;

/// The whole report.
pub fn verify(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let policy = &report.policy;
    objects(policy, out)?;
    routing(report, out)?;
    gateways(policy, out)?;
    match &report.traffic {
        Some(traffic) => summary(traffic, report.required_traffic, out)?,
        None => writeln!(
            out,
            "{}  traffic   not measured: no programs are attached",
            word(report.required_traffic == RequireTraffic::None, false)
        )?,
    }
    for line in &policy.notes {
        writeln!(out, "note: {line}")?;
    }
    for finding in &report.blind {
        writeln!(out, "note: {finding}")?;
    }
    for (number, cause) in (1..).zip(&report.causes) {
        writeln!(out)?;
        self::cause(number, cause, out)?;
    }
    for overruled in &policy.overruled {
        writeln!(out, "\nOVERRULED  {}", overruled_text(overruled))?;
    }
    if let Some(traffic) = &report.traffic
        && !traffic.addresses.is_empty()
    {
        writeln!(out)?;
        addresses(&traffic.addresses, out)?;
    }
    ending(report, out)
}

/// `PASS`, `FAIL`, or for what could not be judged `????`.
fn word(ok: bool, wrong: bool) -> &'static str {
    match (ok, wrong) {
        (_, true) => "FAIL",
        (true, false) => "PASS",
        (false, false) => "????",
    }
}

fn objects(policy: &PolicyVerdict, out: &mut impl Write) -> io::Result<()> {
    let drift = policy.drift.len();
    if drift == 0 {
        return writeln!(
            out,
            "PASS  objects   every rule, route, sysctl and program is in place"
        );
    }
    let noun = if drift == 1 {
        "difference"
    } else {
        "differences"
    };
    writeln!(
        out,
        "FAIL  objects   {drift} {noun} from the policy ('eni-steer apply' mends them):"
    )?;
    for line in &policy.drift_folded {
        writeln!(out, "        drift: {line}")?;
    }
    Ok(())
}

fn routing(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let policy = &report.policy;
    let wrong = policy.misrouted.len() + policy.overruled.len();
    let refused = match policy.refused {
        0 => String::new(),
        refused => format!("; {refused} are refused, as configured"),
    };
    let probes = policy.probes;
    if wrong == 0 {
        return writeln!(
            out,
            "PASS  routing   {} of {probes} test lookups use the right ENI{refused}",
            probes - policy.refused
        );
    }
    writeln!(
        out,
        "FAIL  routing   {wrong} of {probes} test lookups do not use the right ENI{refused}"
    )
}

fn gateways(policy: &PolicyVerdict, out: &mut impl Write) -> io::Result<()> {
    let all = policy.gateways.len();
    if all == 0 {
        return Ok(());
    }
    let of = |state| policy.gateways.iter().filter(move |one| one.state == state);
    let answer = of(Reachability::Reachable).count();
    let names = |state| {
        let all: Vec<String> = of(state)
            .map(|one| format!("{} of {}", one.gateway, one.eni))
            .collect();
        all.join(", ")
    };
    let failed = of(Reachability::Failed).count();
    let mut text = format!("{answer} of {all} answer");
    if failed > 0 {
        text.push_str(&format!("; no answer from {}", names(Reachability::Failed)));
    }
    if of(Reachability::Unknown).count() > 0 {
        text.push_str(&format!("; unknown: {}", names(Reachability::Unknown)));
    }
    writeln!(out, "{}  gateways  {text}", word(answer == all, failed > 0))
}

fn summary(
    traffic: &TrafficVerdict,
    required: RequireTraffic,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for address in &traffic.addresses {
        *counts.entry(address.verdict).or_default() += 1;
    }
    // The worst first.
    let counts = counts.iter().rev();
    let counts: Vec<String> = counts
        .map(|(verdict, count)| format!("{count} {}", verdict.words()))
        .collect();
    let counts = match counts.is_empty() {
        true => "no addresses".to_owned(),
        false => counts.join(", "),
    };
    let length = traffic
        .length
        .map(|length| humantime::format_duration(rounded(length)).to_string());
    let when = match (traffic.period, length) {
        (Period::Window, Some(length)) => format!("in {length}"),
        (Period::Epoch, Some(length)) => format!("in the {length} since the last change"),
        _ => "since the programs were attached".to_owned(),
    };
    let class = traffic.class(required);
    writeln!(
        out,
        "{}  traffic   {counts} ({when})",
        word(class == Class::Success, class == Class::Wrong)
    )
}

fn cause(number: usize, cause: &Cause, out: &mut impl Write) -> io::Result<()> {
    let whose = match cause.owner {
        Some(owner) => format!("   (most likely made by {owner})"),
        None => String::new(),
    };
    writeln!(out, "CAUSE {number}  {}{whose}", cause.what)?;
    writeln!(out, "  effect   {}", cause.effect)?;
    writeln!(out, "  example  {}", cause.example)?;
    writeln!(out, "  fix      {}", cause.fix)
}

/// The addresses with trouble, and the others while they are few: in and out, ENI by ENI.
pub(super) fn addresses(all: &[AddressVerdict], out: &mut impl Write) -> io::Result<()> {
    let trouble = |address: &&AddressVerdict| address.verdict.class() == Class::Wrong;
    let listed: Vec<&AddressVerdict> = if all.len() <= FEW {
        all.iter().collect()
    } else {
        all.iter().filter(trouble).take(MANY).collect()
    };
    let mut table = Table::new(&["ADDRESS", "OWNER", "IN", "OUT", "STEERED", "VERDICT"]);
    for address in &listed {
        table.row(vec![
            destination_text(address.address).to_string(),
            address.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
            packets(address, |sighting| sighting.ingress.packets),
            packets(address, |sighting| sighting.egress.packets),
            packets(address, |sighting| sighting.steered.packets),
            verdict_text(address),
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    let hidden = all.len() - listed.len();
    if hidden > 0 {
        writeln!(out, "{hidden} more addresses are not listed (-j lists all)")?;
    }
    Ok(())
}

fn packets(address: &AddressVerdict, of: fn(&Sighting) -> u64) -> String {
    let seen = address.seen.iter().filter(|sighting| of(sighting) > 0);
    let parts: Vec<String> = seen
        .map(|sighting| format!("{} {}", sighting.eni, of(sighting)))
        .collect();
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

fn verdict_text(address: &AddressVerdict) -> String {
    let mut text = address.verdict.words().to_owned();
    if !address.why.is_empty() {
        text.push_str(&format!(": {}", address.why));
    }
    let strays = &address.strays;
    let ago = |time: Duration| humantime::format_duration(rounded(time)).to_string();
    if address.verdict == Verdict::Asymmetric {
        let sum = |of: fn(&Sighting) -> u64| address.seen.iter().map(of).sum::<u64>();
        for (stray, all, way) in [
            (strays.ingress, sum(|eni| eni.ingress.packets), "in"),
            (strays.egress, sum(|eni| eni.egress.packets), "out"),
        ] {
            if stray > 0 {
                text.push_str(&format!(", {stray} of {all} {way}"));
            }
        }
        if let Some(first) = strays.first {
            text.push_str(&format!(", first {} ago", ago(first)));
        }
        if let Some(last) = strays.last {
            text.push_str(&format!(", last {} ago", ago(last)));
        }
    }
    let before = address.history.packets();
    if before > 0 {
        text.push_str(&format!(" (before: {before} by another ENI"));
        if let Some(last) = address.history.last {
            text.push_str(&format!(", last {} ago", ago(last)));
        }
        text.push(')');
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

/// A rule for access or balance that does not get the packets it is there for, and why.
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
    let why = match (&winner.rule, reached, by) {
        (_, true, None) => {
            "the rule decides, but its own table leads nowhere, or forwarding is off".to_owned()
        }
        (Some(first), _, _) => {
            let whose = winner
                .rule_owner
                .map(|owner| format!(" (most likely made by {owner})"))
                .unwrap_or_default();
            format!("'ip {} rule {first}'{whose} decides before it", rule.family)
        }
        (None, _, _) => "no rule leads anywhere".to_owned(),
    };
    format!(
        "'ip {} rule {rule}' does not get {packet}, which {way}: {why}",
        rule.family
    )
}

fn ending(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let Some(first) = report.exits.first() else {
        return writeln!(out, "OK");
    };
    let others: Vec<String> = report.exits[1..].iter().map(u8::to_string).collect();
    let also = match others.is_empty() {
        true => String::new(),
        false => format!(" (also {})", others.join(", ")),
    };
    let mut failed = Vec::new();
    if !report.policy.drift.is_empty() {
        failed.push("objects");
    }
    if !report.policy.misrouted.is_empty() || !report.policy.overruled.is_empty() {
        failed.push("routing");
    }
    let silent = report.policy.gateways.iter();
    if silent.clone().any(|one| one.state == Reachability::Failed) {
        failed.push("gateways");
    }
    let class = report
        .traffic
        .as_ref()
        .map(|traffic| traffic.class(report.required_traffic));
    if class == Some(Class::Wrong) {
        failed.push("traffic");
    }
    match failed.is_empty() {
        true => writeln!(
            out,
            "UNKNOWN: no traffic could be judged, exit {first} (--require-traffic none accepts \
             that, --window TIME waits for traffic)"
        ),
        false => writeln!(out, "FAILED {}: exit {first}{also}", failed.join(", ")),
    }
}
