//! `explain`: where does a packet go, and why? It needs no policy: which ENI owns an address is
//! read from the programs' maps.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use eni_steer_core::{
    model::{Flow, Host, IfIndex, RouteLookup},
    ownership::Ownership,
    report::{ExplainInput, ExplainReport, ExplainVerdict},
};
use eni_steer_linux::{bpf, explain, netlink::Netlink, state::State};

use super::{
    args::{ExplainArgs, Global},
    context::require_privilege,
    failure::{Exit, Failure},
    verify::counted,
};
use crate::render::{self, Escaped};

/// Destinations beyond the default route: addresses for documentation, which no table names on
/// purpose (RFC 5737, RFC 9637).
const FAR4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 113));
const FAR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3fff, 0xfff, 0, 0, 0, 0, 0, 113));

pub(super) fn run(global: &Global, args: &ExplainArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    if let (Some(time), Some(source)) = (args.live, args.source) {
        return live(global, source, time);
    }
    let netlink = Netlink::open()?;
    let paths = global.paths();
    let mut reading = explain::read(&netlink, &paths)?;
    let flow = flow(args, &reading.host)?;
    let answer = netlink.lookup(&flow)?;
    let chosen = match &answer {
        RouteLookup::Leaves { source, .. } if flow.from.is_none() => *source,
        _ => None,
    };
    let with_source = chosen.map(|source| netlink.lookup(&flow.from(source)));
    let with_source = with_source.transpose()?;
    let ownership = match State::read(&paths) {
        Ok(state) => state.policy.map(|policy| policy.ownership),
        Err(error) => {
            reading
                .unreadable
                .push(format!("what was applied last: {error}"));
            None
        }
    };
    let counters = counted(&paths, None).unwrap_or_else(|failure| {
        reading
            .unreadable
            .push(format!("the counters: {:#}", failure.into_error()));
        None
    });
    let mut report = ExplainReport::new(ExplainInput {
        host: &reading.host,
        facts: &reading.facts,
        flow: &flow,
        answer: &answer,
        answer_with_source: with_source.as_ref(),
        ownership: &ownership.unwrap_or_else(Ownership::default),
        counters: counters.as_ref().map(|counted| &counted.all),
    });
    let unreadable = reading.unreadable.into_iter();
    report
        .notes
        .extend(unreadable.map(|what| format!("Could not read {what}.")));
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::explain(&report, global.verbose > 0, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(exit(&report))
}

/// What differs from the kernel explains nothing, whatever the verdict.
fn exit(report: &ExplainReport) -> Exit {
    if !report.walk_agrees {
        return Exit::Unknown;
    }
    match report.verdict {
        ExplainVerdict::Ok => Exit::Fine,
        ExplainVerdict::Refused if report.as_configured => Exit::Fine,
        ExplainVerdict::WrongEni | ExplainVerdict::Refused => Exit::Drift,
        ExplainVerdict::CannotTell => Exit::Unknown,
    }
}

/// The packet that the arguments describe.
fn flow(args: &ExplainArgs, host: &Host) -> Result<Flow, Failure> {
    let to = match (args.to, args.source) {
        (Some(to), _) => to,
        (None, Some(IpAddr::V6(_))) => FAR6,
        (None, _) => FAR4,
    };
    if let Some(source) = args.source
        && source.is_ipv4() != to.is_ipv4()
    {
        return Err(Failure::usage(
            format!("{source} and {to} are of different IP versions"),
            "name two IPv4 addresses or two IPv6 addresses",
        ));
    }
    let index = |name: &String| -> Result<IfIndex, Failure> {
        let link = host.link_named(name);
        link.map(|link| link.index).ok_or_else(|| {
            let known: Vec<&str> = host.links.values().map(|link| link.name.as_str()).collect();
            Failure::usage(
                format!("there is no interface {name}"),
                format!("this host has the interfaces {}", known.join(", ")),
            )
        })
    };
    Ok(Flow {
        from: args.source,
        mark: args.mark,
        iif: args.iif.as_ref().map(index).transpose()?,
        oif: args.oif.as_ref().map(index).transpose()?,
        uid: args.uid,
        tos: args.tos,
        ip_protocol: args.proto.map(|protocol| protocol.number(to.is_ipv6())),
        sport: args.sport,
        dport: args.dport,
        ..Flow::to(to)
    })
}

/// Watches real lookups of a source.
fn live(global: &Global, source: IpAddr, time: Duration) -> Result<Exit, Failure> {
    let live = bpf::watch_lookups(source, time)?;
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&live, &mut out)?;
    } else {
        render::live(&live, source, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}
