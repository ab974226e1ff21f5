//! What `verify` says: a line for each thing that was checked, the causes of what is wrong with
//! the commands that end them, then the addresses whose traffic is not right.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use eni_steer_core::{
    known_tools::KERNEL,
    model::{Family, Priority, Reachability, RuleAction, TableId, destination_text},
    report::VerifyReport,
    symmetry::{AddressVerdict, Class, Period, RequireTraffic, Sighting, TrafficVerdict, Verdict},
    verify::{Cause, Overruled, PolicyVerdict, Winner},
};

use super::table::Table;

/// Addresses without trouble are listed as well while there are no more than this.
const FEW: usize = 12;
/// At most this many addresses with trouble are listed.
const MANY: usize = 20;

/// The whole report. `last`: the last priority of eni-steer's rules.
pub fn verify(report: &VerifyReport, last: Priority, out: &mut impl Write) -> io::Result<()> {
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
        writeln!(out, "Note: {line}")?;
    }
    for finding in &report.blind {
        writeln!(out, "Note: {finding}")?;
    }
    for (number, cause) in (1..).zip(&report.causes) {
        writeln!(out)?;
        self::cause(number, cause, out)?;
    }
    for one in &policy.overruled {
        writeln!(out)?;
        overruled(one, policy.drift.is_empty(), last).write(out)?;
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
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn routing(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let policy = &report.policy;
    let wrong = policy.misrouted.len() + policy.overruled.len() + policy.unbound.len();
    let refused = match policy.refused {
        0 => ".".to_owned(),
        1 => "; 1 more is refused, as configured.".to_owned(),
        more => format!("; {more} more are refused, as configured."),
    };
    let all = policy.probes.saturating_sub(policy.refused);
    if all == 0 {
        let text = "not tested: no ENI has an address to look up";
        return writeln!(out, "{}  routing   {text}{refused}", word(false, false));
    }
    writeln!(
        out,
        "{}  routing   {} of {all} test lookups use the right interface{refused}",
        word(wrong == 0, wrong > 0),
        all.saturating_sub(wrong)
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
        cause: winner_text(winner, by.as_deref()),
        hint: hint(winner, applied, last),
    }
}

/// Which rule decides about a packet, and whose it is.
fn winner_text(winner: &Winner, by: Option<&str>) -> String {
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
    let policy = &report.policy;
    if !(policy.misrouted.is_empty() && policy.overruled.is_empty() && policy.unbound.is_empty()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use eni_steer_core::{
        desired::Desired, fake::fake_host, ownership::Ownership, report::VerifyReport,
        verify::Inspection,
    };

    #[test]
    fn lookups_that_were_not_made_are_no_success() {
        let host = fake_host();
        let desired = Desired::empty(Ownership::default());
        let verdict = Inspection::new(&desired, &host).judge(&[]);
        assert_eq!(verdict.probes, 0);
        let report = VerifyReport::new(&host, &desired, verdict, None, RequireTraffic::Any);
        let mut out = Vec::new();
        verify(&report, desired.ownership.last, &mut out).expect("a vector takes it");
        let text = String::from_utf8(out).expect("text");
        let line = text.lines().find(|line| line.contains("  routing  "));
        let line = line.expect("a line about routing");
        assert!(
            line.starts_with("????") && line.contains("not tested"),
            "{line}"
        );
    }
}
