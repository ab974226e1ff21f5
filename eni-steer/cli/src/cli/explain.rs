//! `explain`: where does a packet go, and why? It needs no policy: which ENI owns an address is
//! read from the programs' maps.

use std::{io::Write, net::IpAddr, time::Duration};

use eni_steer_core::{
    counters::Snapshot,
    explain::{Facts, far},
    model::{Family, Flow, Host, IfIndex, RouteLookup},
    ownership::Ownership,
    record::Record,
    report::{Counted, ExplainInput, ExplainReport, ExplainVerdict, Origin},
};
use eni_steer_linux::{bpf, explain, netlink::Netlink, state::State};

use super::{
    args::{ExplainArgs, Global},
    context::require_privilege,
    failure::{Exit, Failure},
    origin,
    seen::read,
    verify::counted,
};
use crate::render::{self, Escaped};

pub(super) fn run(global: &Global, args: &ExplainArgs) -> Result<Exit, Failure> {
    if let Some(file) = &args.from {
        return explain(global, args, &Recorded(read(file)?));
    }
    require_privilege()?;
    if let (Some(time), Some(source)) = (args.live, args.source) {
        return live(global, source, time);
    }
    explain(global, args, &OnHost::read(global)?)
}

/// What explains a packet: this host, or a report file.
trait Explainer {
    fn host(&self) -> &Host;
    fn facts(&self) -> &Facts;
    /// Where a packet would go. `false`: nobody asked the kernel; eni-steer's walk stands in.
    fn lookup(&self, flow: &Flow) -> Result<(RouteLookup, bool), Failure>;
    fn ownership(&self) -> Option<Ownership>;
    fn counters(&self) -> Option<&Snapshot>;
    fn origin(&self) -> Origin;
    /// Parts that could not be read.
    fn unreadable(&self) -> &[String];
}

/// This host.
struct OnHost {
    netlink: Netlink,
    reading: explain::Reading,
    ownership: Option<Ownership>,
    counters: Option<Counted>,
}

impl OnHost {
    fn read(global: &Global) -> Result<Self, Failure> {
        let netlink = Netlink::open()?;
        let paths = global.paths();
        let mut reading = explain::read(&netlink, &paths)?;
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
        Ok(Self {
            netlink,
            reading,
            ownership,
            counters,
        })
    }
}

impl Explainer for OnHost {
    fn host(&self) -> &Host {
        &self.reading.host
    }

    fn facts(&self) -> &Facts {
        &self.reading.facts
    }

    fn lookup(&self, flow: &Flow) -> Result<(RouteLookup, bool), Failure> {
        Ok((self.netlink.lookup(flow)?, true))
    }

    fn ownership(&self) -> Option<Ownership> {
        self.ownership.clone()
    }

    fn counters(&self) -> Option<&Snapshot> {
        self.counters.as_ref().map(|counted| &counted.all)
    }

    fn origin(&self) -> Origin {
        origin::here()
    }

    fn unreadable(&self) -> &[String] {
        &self.reading.unreadable
    }
}

/// The host of a report file.
struct Recorded(Record);

impl Explainer for Recorded {
    fn host(&self) -> &Host {
        &self.0.host
    }

    fn facts(&self) -> &Facts {
        &self.0.facts
    }

    fn lookup(&self, flow: &Flow) -> Result<(RouteLookup, bool), Failure> {
        Ok(match self.0.lookup(flow) {
            Some(answer) => (answer, true),
            None => (self.0.walked(flow), false),
        })
    }

    fn ownership(&self) -> Option<Ownership> {
        self.0
            .applied
            .as_ref()
            .map(|policy| policy.ownership.clone())
    }

    fn counters(&self) -> Option<&Snapshot> {
        self.0.counters.as_ref().map(|counted| &counted.all)
    }

    fn origin(&self) -> Origin {
        self.0.origin()
    }

    fn unreadable(&self) -> &[String] {
        &self.0.unreadable
    }
}

fn explain(
    global: &Global,
    args: &ExplainArgs,
    explainer: &impl Explainer,
) -> Result<Exit, Failure> {
    let host = explainer.host();
    let flow = flow(args, host)?;
    let (answer, was_asked) = explainer.lookup(&flow)?;
    let chosen = match &answer {
        RouteLookup::Leaves { source, .. } if flow.from.is_none() => *source,
        _ => None,
    };
    let with_source = chosen.map(|source| explainer.lookup(&flow.from(source)));
    let with_source = with_source.transpose()?.map(|(answer, _)| answer);
    let mut report = ExplainReport::new(ExplainInput {
        host,
        facts: explainer.facts(),
        flow: &flow,
        answer: &answer,
        answer_with_source: with_source.as_ref(),
        ownership: &explainer.ownership().unwrap_or_default(),
        counters: explainer.counters(),
    });
    let unreadable = explainer.unreadable().iter();
    report
        .notes
        .extend(unreadable.map(|what| format!("Could not read {what}.")));
    if !was_asked {
        report.notes.push(
            "The report file does not hold the kernel's answer for this packet: what stands for it \
             is eni-steer's own evaluation of the rules."
                .to_owned(),
        );
    }
    let mut out = render::stdout();
    if global.json {
        render::json(explainer.origin(), &report, exit(&report).code(), &mut out)?;
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
        (None, Some(source)) => far(Family::of(source)),
        (None, None) => far(Family::V4),
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
            Failure::refused(
                format!("this host has no interface {name}"),
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
    let mut out = render::stdout();
    if global.json {
        render::json(origin::here(), &live, Exit::Fine.code(), &mut out)?;
    } else {
        render::live(&live, source, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}
