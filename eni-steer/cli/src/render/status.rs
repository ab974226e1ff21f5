//! Prints the report of `status` as text.

use std::io::{self, Write};

use super::{
    table::{Table, bytes},
    verify::{addresses, differences},
};
use eni_steer_core::{
    desired::GatewaySource,
    report::{DaemonReport, EniStatus, StatusReport},
};

/// Prints the ENIs, the differences from the policy, the daemon, findings, maps and addresses.
pub fn status(report: &StatusReport, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        "ENI", "MAC", "ROLE", "STATE", "TABLE", "GATEWAY", "FROM", "MODE", "PROGRAMS",
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
            if eni.has_source_rules {
                eni.table.to_string()
            } else {
                "main".to_owned()
            },
            dash(gateways.join(", ")),
            dash(sources.join(", ")),
            eni.mode.to_string(),
            programs,
        ]);
    }
    table.write(out)?;
    writeln!(out, "\nPolicy: {}", report.policy)?;
    match (report.applied, report.drift.len()) {
        (_, 0) => writeln!(out, "State: OK. The host matches the policy.")?,
        (false, _) => writeln!(
            out,
            "State: not applied. 'eni-steer plan' shows what 'eni-steer apply' would change."
        )?,
        (true, n) => differences(n, &report.drift_folded, out)?,
    }
    match &report.daemon {
        None => writeln!(
            out,
            "Daemon: not running, so nothing repairs rules and routes that other programs delete. \
             'eni-steer persist' installs it."
        )?,
        Some(daemon) => self::daemon(daemon, out)?,
    }
    for finding in &report.findings {
        writeln!(out, "Note: {finding}")?;
    }
    let memory: u64 = report.maps.iter().map(|map| map.bytes).sum();
    if memory > 0 {
        writeln!(out, "Memory of the BPF maps: {}", bytes(memory))?;
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
    if let Some(traffic) = &report.traffic {
        writeln!(out)?;
        addresses(&traffic.addresses, out)?;
    }
    Ok(())
}

fn source_text(source: &GatewaySource) -> String {
    match source {
        GatewaySource::Policy => "policy".to_owned(),
        GatewaySource::DefaultRoute => "default route".to_owned(),
        GatewaySource::Lease(_) => "DHCP lease".to_owned(),
        GatewaySource::SameSubnet(eni) => format!("subnet of {eni}"),
        GatewaySource::Earlier => "earlier apply".to_owned(),
    }
}

fn daemon(daemon: &DaemonReport, out: &mut impl Write) -> io::Result<()> {
    let restored: u64 = daemon.restored.values().sum();
    writeln!(
        out,
        "Daemon: running (pid {}). It restored {} so far.",
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
