//! Prints the report of `counters` as text.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::table::{Table, bytes};
use eni_steer_common::{Fate, Loss};
use eni_steer_core::{
    counters::{Count, EniId, describe},
    model::{Direction, destination_text},
    report::CountersReport,
};

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    }
}

fn pair(count: Count) -> [String; 2] {
    [count.packets.to_string(), bytes(count.bytes)]
}

/// Prints totals, addresses, sources, decisions, losses and maps, one section each.
pub fn counters(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    totals(report, out)?;
    cells(report, out)?;
    sources(report, out)?;
    fates(report, out)?;
    losses(report, out)?;
    maps(report, out)
}

fn totals(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["ENI", "", ">PACKETS", ">BYTES", ">IPV4", ">IPV6", ">OTHER"]);
    for eni in report
        .counters
        .enis
        .iter()
        .filter(|eni| report.shows(eni.id))
    {
        for direction in Direction::BOTH {
            let classes = eni.totals.get(direction);
            let [packets, bytes] = pair(classes.sum());
            table.row(vec![
                report.name(eni.id),
                way(direction).to_owned(),
                packets,
                bytes,
                classes.ipv4.packets.to_string(),
                classes.ipv6.packets.to_string(),
                classes.other.packets.to_string(),
            ]);
        }
    }
    writeln!(out, "Packets by ENI (exact):")?;
    table.write(out)
}

fn cells(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        "ADDRESS", "OWNER", "ENI", "", ">PACKETS", ">BYTES", ">STEERED", ">DROPPED", ">EXEMPT",
    ]);
    for cell in report
        .counters
        .cells
        .iter()
        .filter(|cell| report.shows(cell.eni))
    {
        let [packets, bytes] = pair(cell.went());
        table.row(vec![
            destination_text(cell.address).to_string(),
            cell.owner
                .map_or_else(|| "none".to_owned(), |owner| report.name(owner)),
            report.name(cell.eni),
            way(cell.direction).to_owned(),
            packets,
            bytes,
            cell.steered.packets.to_string(),
            cell.dropped.packets.to_string(),
            cell.exempt.packets.to_string(),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nPackets by address (exact). OWNER is the ENI that has the address; the other columns count \
         packets on ENI. STEERED: redirected from there to the owner."
    )?;
    table.write(out)
}

fn sources(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut groups: BTreeMap<(EniId, Direction), Vec<_>> = BTreeMap::new();
    for source in report
        .counters
        .sources
        .iter()
        .filter(|source| report.shows(source.eni))
    {
        groups
            .entry((source.eni, source.direction))
            .or_default()
            .push(source);
    }
    let mut table = Table::new(&["SOURCE", "ENI", "", ">PACKETS", ">BYTES", ">MISMATCHED"]);
    for ((eni, direction), mut group) in groups {
        group.sort_by_key(|source| std::cmp::Reverse(source.count.packets));
        let hidden = group.split_off(report.top.min(group.len()));
        for source in group {
            let [packets, bytes] = pair(source.count);
            table.row(vec![
                destination_text(source.source).to_string(),
                report.name(eni),
                way(direction).to_owned(),
                packets,
                bytes,
                source.mismatched.to_string(),
            ]);
        }
        if !hidden.is_empty() {
            let sum = hidden
                .iter()
                .map(|s| s.count)
                .fold(Count::default(), Count::wrapping_add);
            let [packets, bytes] = pair(sum);
            table.row(vec![
                format!("({} more sources; --all lists them)", hidden.len()),
                report.name(eni),
                way(direction).to_owned(),
                packets,
                bytes,
                hidden
                    .iter()
                    .map(|source| source.mismatched)
                    .sum::<u64>()
                    .to_string(),
            ]);
        }
    }
    for other in report.other.iter().filter(|other| report.shows(other.eni)) {
        let ip = other.ipv4.wrapping_add(other.ipv6);
        if !ip.is_zero() {
            let [packets, bytes] = pair(ip);
            table.row(vec![
                "(other: sources evicted from the table, and malformed packets)".to_owned(),
                report.name(other.eni),
                way(other.direction).to_owned(),
                packets,
                bytes,
                String::new(),
            ]);
        }
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nPackets by source. Packets that leave from an address above are not listed again. \
         MISMATCHED: on an ENI other than the owner of the source (out) or destination (in)."
    )?;
    table.write(out)
}

fn fates(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        "ENI",
        "OUTGOING PACKETS THAT NEEDED A DECISION",
        ">PACKETS",
        ">BYTES",
        "MEANING",
    ]);
    for eni in report
        .counters
        .enis
        .iter()
        .filter(|eni| report.shows(eni.id))
    {
        for (label, count) in &eni.fates {
            let [packets, bytes] = pair(*count);
            let fate = Fate::ALL.iter().find(|fate| fate.label() == *label);
            table.row(vec![
                report.name(eni.id),
                (*label).to_owned(),
                packets,
                bytes,
                fate.map_or_else(String::new, |fate| describe::fate(*fate).to_owned()),
            ]);
        }
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table.write(out)
}

fn losses(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["ENI", "NOT RECORDED", ">TIMES", "MEANING"]);
    for eni in report
        .counters
        .enis
        .iter()
        .filter(|eni| report.shows(eni.id))
    {
        for (label, times) in &eni.losses {
            let loss = Loss::ALL.iter().find(|loss| loss.label() == *label);
            table.row(vec![
                report.name(eni.id),
                (*label).to_owned(),
                times.to_string(),
                loss.map_or_else(String::new, |loss| describe::loss(*loss).to_owned()),
            ]);
        }
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table.write(out)
}

fn maps(report: &CountersReport<'_>, out: &mut impl Write) -> io::Result<()> {
    let total: u64 = report.counters.maps.iter().map(|map| map.bytes).sum();
    writeln!(out, "\nMemory of the BPF maps: {}", bytes(total))?;
    let mut table = Table::new(&["MAP", ">ENTRIES", ">CAPACITY", ">MEMORY"]);
    for map in report
        .counters
        .maps
        .iter()
        .filter(|map| map.entries.is_some())
    {
        table.row(vec![
            map.name.to_owned(),
            map.entries
                .map(|entries| entries.to_string())
                .unwrap_or_default(),
            map.capacity.to_string(),
            bytes(map.bytes),
        ]);
    }
    table.write(out)
}
