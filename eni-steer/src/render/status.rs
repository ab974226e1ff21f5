//! The answer of `status`.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    table::{Table, bytes},
    verify::addresses,
};
use crate::{
    bpf::MapMemory,
    daemon::DaemonReport,
    desired::{Eni, GatewaySource},
    model::Mode,
    symmetry::TrafficVerdict,
};

/// Everything at a glance.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Where the policy comes from.
    pub policy: String,
    /// Whether something of it is applied.
    pub applied: bool,
    /// The daemon, if one runs.
    pub daemon: Option<DaemonReport>,
    /// The ENIs.
    pub enis: Vec<EniStatus>,
    /// What is not as it should be, as plan lines.
    pub drift: Vec<String>,
    /// What the administrator should know.
    pub notes: Vec<String>,
    /// Address by address; `None`: no counters.
    pub traffic: Option<TrafficVerdict>,
    /// Memory of the maps.
    pub maps: Vec<MapMemory>,
}

/// One ENI.
#[derive(Debug, Serialize)]
pub struct EniStatus {
    /// What it is.
    #[serde(flatten)]
    pub eni: Eni,
    /// How its programs are attached: ingress, egress.
    pub programs: [Option<String>; 2],
    /// Programs of others on its hooks.
    pub others: Vec<String>,
}

/// The ENIs, then what is worth knowing, then the addresses.
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
        let mode = match eni.mode {
            Mode::Count => "count",
            Mode::Steer => "steer",
            Mode::Drop => "drop",
        };
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
            if eni.ruled {
                eni.table.to_string()
            } else {
                "main".to_owned()
            },
            dash(gateways.join(", ")),
            dash(sources.join(", ")),
            mode.to_owned(),
            programs,
        ]);
    }
    table.write(out)?;
    writeln!(out, "\npolicy: {}", report.policy)?;
    match (report.applied, report.drift.len()) {
        (_, 0) => writeln!(out, "state: as it should be")?,
        (false, _) => writeln!(
            out,
            "state: not applied ('eni-steer plan' shows what would be done)"
        )?,
        (true, n) => {
            writeln!(out, "state: {n} steps from what it should be:")?;
            for line in &report.drift {
                writeln!(out, "  {line}")?;
            }
        }
    }
    match &report.daemon {
        None => writeln!(out, "daemon: does not run")?,
        Some(daemon) => self::daemon(daemon, out)?,
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for eni in &report.enis {
        for other in &eni.others {
            writeln!(out, "note: {other}")?;
        }
    }
    let memory: u64 = report.maps.iter().map(|map| map.bytes).sum();
    if memory > 0 {
        writeln!(out, "maps: {}", bytes(memory))?;
        for map in report.maps.iter().filter(|map| map.entries.is_some()) {
            let entries = map.entries.unwrap_or_default();
            writeln!(
                out,
                "  {:<10} {entries} of {}, {}",
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
        "daemon: runs, pid {}, {restored} objects restored so far",
        daemon.pid
    )?;
    for (who, times) in &daemon.removed_by {
        writeln!(out, "  {times} of ours were removed by {who}")?;
    }
    for object in &daemon.fights {
        writeln!(
            out,
            "  somebody removes this again and again, it is left for a while: {object}"
        )?;
    }
    for text in daemon.error.iter().chain(&daemon.failed) {
        writeln!(out, "  not done: {text}")?;
    }
    Ok(())
}
