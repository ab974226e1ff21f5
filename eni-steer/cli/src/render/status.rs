//! What `status` says: one line with the verdict, what is wrong, then a table of ENIs that fits 80
//! columns. `-v` adds how each ENI is known and what the maps hold.

use std::io::{self, Write};

use eni_steer_core::{
    desired::{GatewaySource, RoutedBy},
    model::Family,
    report::{DaemonReport, EniStatus, StatusReport},
    symmetry::{Class, Verdict},
};

use super::{
    table::{Table, bytes},
    verify::addresses,
};

/// How many findings, causes and differences are listed before the rest is only counted.
const LISTED: usize = 12;

/// What of the report is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusView {
    /// Only this ENI, with its addresses.
    pub eni: Option<String>,
    /// Only ENIs with trouble.
    pub bad: bool,
    /// Every ENI and every address.
    pub all: bool,
    /// How each ENI is known, and the maps.
    pub details: bool,
}

/// Prints the report.
pub fn status(report: &StatusReport, view: &StatusView, out: &mut impl Write) -> io::Result<()> {
    let word = report.verdict.word();
    match report.why.is_empty() {
        true => writeln!(out, "{word}")?,
        false => writeln!(out, "{word}  {}", report.why)?,
    }
    writeln!(out, "policy: {}", report.policy)?;
    daemon(report.daemon.as_ref(), out)?;
    troubles(report, out)?;
    writeln!(out)?;
    enis(report, view, out)?;
    if view.details {
        writeln!(out)?;
        details(report, out)?;
    }
    if let Some(traffic) = &report.traffic
        && (view.all || view.eni.is_some() || traffic.addresses.len() <= LISTED)
        && !traffic.addresses.is_empty()
    {
        let wanted = |owner: &Option<String>| view.eni.is_none() || *owner == view.eni;
        let listed = traffic.addresses.iter();
        let listed: Vec<_> = listed
            .filter(|address| wanted(&address.owner))
            .cloned()
            .collect();
        writeln!(out)?;
        addresses(&listed, out)?;
    }
    Ok(())
}

/// Everything that is wrong or worth knowing, a line each, with what to do.
fn troubles(report: &StatusReport, out: &mut impl Write) -> io::Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for cause in &report.causes {
        let whose = cause.owner.map(|owner| format!(" (made by {owner}?)"));
        lines.push(format!(
            "! {}: {}{}\n    {}",
            cause.what,
            cause.effect,
            whose.unwrap_or_default(),
            cause.fix
        ));
    }
    for finding in &report.findings {
        let sign = match finding.severity {
            eni_steer_core::findings::Severity::Failure => '!',
            _ => '-',
        };
        let mut line = format!("{sign} {}", finding.why);
        for remedy in &finding.remedy {
            line.push_str("\n    ");
            line.push_str(remedy);
        }
        lines.push(line);
    }
    let hidden = lines.len().saturating_sub(LISTED);
    for line in lines.iter().take(LISTED) {
        writeln!(out, "  {line}")?;
    }
    if hidden > 0 {
        writeln!(out, "  {hidden} more findings (-j lists all)")?;
    }
    if report.drift.is_empty() {
        return Ok(());
    }
    let s = if report.drift.len() == 1 { "" } else { "s" };
    writeln!(
        out,
        "  {} difference{s} from the policy; 'eni-steer apply' makes these changes:",
        report.drift.len()
    )?;
    for line in report.drift_folded.iter().take(LISTED) {
        writeln!(out, "    {line}")?;
    }
    let hidden = report.drift_folded.len().saturating_sub(LISTED);
    if hidden > 0 {
        writeln!(out, "    {hidden} more lines ('eni-steer plan' shows all)")?;
    }
    Ok(())
}

/// One row for each ENI.
fn enis(report: &StatusReport, view: &StatusView, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        "ENI", ">ADDR", ">ACTIVE", "GATEWAY", "TABLE", ">IN", ">OUT", ">WRONG", "STATE",
    ]);
    let mut hidden = 0;
    for one in &report.enis {
        let trouble = one.state.class() == Class::Wrong || !one.eni.up;
        let wanted = match &view.eni {
            Some(name) => *name == one.eni.name,
            None => !view.bad || trouble,
        };
        if !wanted {
            hidden += 1;
            continue;
        }
        table.row(row(one));
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    if hidden > 0 {
        writeln!(out, "  {hidden} more ENIs are not shown")?;
    }
    Ok(())
}

fn row(one: &EniStatus) -> Vec<String> {
    let EniStatus { eni, .. } = one;
    let gateway = match eni.gateways.as_slice() {
        [] => "-".to_owned(),
        [only] => only.address.to_string(),
        [first, more @ ..] => format!("{} +{}", first.address, more.len()),
    };
    let by = |wanted| {
        let mut families = Family::BOTH.into_iter();
        families.any(|family| eni.routing(family).by == wanted)
    };
    let table = if by(RoutedBy::Table) {
        eni.table.to_string()
    } else if by(RoutedBy::OnLink) {
        format!("main+{}", eni.table)
    } else {
        "main".to_owned()
    };
    let state = match (eni.up, one.state) {
        (false, _) => "DOWN".to_owned(),
        (true, Verdict::Symmetric) => "ok".to_owned(),
        (true, Verdict::NoTraffic) => "idle".to_owned(),
        (true, Verdict::NotMeasured) => "unknown".to_owned(),
        (true, wrong) => wrong.words().to_uppercase(),
    };
    vec![
        eni.name.clone(),
        eni.owned.len().to_string(),
        one.active.to_string(),
        gateway,
        table,
        short(one.packets_in),
        short(one.packets_out),
        short(one.packets_wrong),
        state,
    ]
}

/// A number of packets in at most six characters: 74210, 12.4M.
fn short(packets: u64) -> String {
    match packets {
        0..100_000 => packets.to_string(),
        100_000..10_000_000 => format!("{}k", packets / 1000),
        10_000_000..10_000_000_000 => format!("{}M", packets / 1_000_000),
        _ => format!("{}G", packets / 1_000_000_000),
    }
}

/// How each ENI is known, how its programs are attached, and what the maps hold.
fn details(report: &StatusReport, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        "ENI", "MAC", "ROLE", "STATE", "GATEWAY", "FROM", "MODE", "PROGRAMS",
    ]);
    for EniStatus { eni, programs, .. } in &report.enis {
        let gateways: Vec<String> = eni.gateways.iter().map(|g| g.address.to_string()).collect();
        let mut sources: Vec<String> = eni
            .gateways
            .iter()
            .map(|g| source_text(&g.source))
            .collect();
        sources.dedup();
        let programs = match programs {
            [Some(ingress), Some(egress)] if ingress == egress => ingress.clone(),
            [None, None] => "none".to_owned(),
            [ingress, egress] => {
                let word = |p: &Option<String>| p.clone().unwrap_or_else(|| "none".to_owned());
                format!("in {}, out {}", word(ingress), word(egress))
            }
        };
        let dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        table.row(vec![
            eni.name.clone(),
            eni.mac.to_string(),
            if eni.primary { "primary" } else { "secondary" }.to_owned(),
            if eni.up { "up" } else { "down" }.to_owned(),
            dash(gateways.join(", ")),
            dash(sources.join(", ")),
            eni.mode.to_string(),
            programs,
        ]);
    }
    table.write(out)?;
    let memory: u64 = report.maps.iter().map(|map| map.bytes).sum();
    if memory > 0 {
        writeln!(out, "\nMemory of the BPF maps: {}", bytes(memory))?;
        for map in report.maps.iter().filter(|map| map.entries.is_some()) {
            let entries = map.entries.unwrap_or_default();
            writeln!(
                out,
                "  {:<10} {entries} of {} entries used, {}",
                map.name,
                map.capacity,
                bytes(map.bytes)
            )?;
        }
    }
    Ok(())
}

fn source_text(source: &GatewaySource) -> String {
    match source {
        GatewaySource::Policy => "policy".to_owned(),
        GatewaySource::DefaultRoute => "default route".to_owned(),
        GatewaySource::Lease(_) => "DHCP lease".to_owned(),
        GatewaySource::SubnetRoute(net) => format!("route to {net}"),
        GatewaySource::SameSubnet(eni) => format!("subnet of {eni}"),
        GatewaySource::Earlier => "earlier apply".to_owned(),
    }
}

fn daemon(daemon: Option<&DaemonReport>, out: &mut impl Write) -> io::Result<()> {
    let Some(daemon) = daemon else {
        return writeln!(
            out,
            "daemon: not running, so nothing repairs rules and routes that other programs delete"
        );
    };
    let restored: u64 = daemon.restored.values().sum();
    writeln!(
        out,
        "daemon: running (pid {}); it restored {} so far",
        daemon.pid,
        rules_or_routes(restored)
    )?;
    for (who, times) in &daemon.removed_by {
        writeln!(
            out,
            "  {who} deleted {} of eni-steer",
            rules_or_routes(*times)
        )?;
    }
    for object in &daemon.paused {
        writeln!(
            out,
            "  another program keeps deleting this, so eni-steer pauses its repair: {object}"
        )?;
    }
    if let Some(error) = &daemon.error {
        writeln!(out, "  last error: {error}")?;
    }
    for text in &daemon.failed {
        writeln!(
            out,
            "  this step failed, and the daemon will try it again: {text}"
        )?;
    }
    Ok(())
}

fn rules_or_routes(count: u64) -> String {
    match count {
        1 => "1 rule or route".to_owned(),
        count => format!("{count} rules or routes"),
    }
}
