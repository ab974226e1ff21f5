//! A report file: one host at one moment, with everything from which the reading commands make
//! their reports. `eni-steer report` writes it, and `--from FILE` reads it on any machine.
//!
//! The commands decide from values only, so the same values give the same words wherever they are
//! computed. What asks the kernel or a gateway was asked when the file was written; the answers
//! are in it.

mod redact;

use std::{collections::HashMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    explain::{Answer, Facts, decision, trace},
    findings::Finding,
    model::{Flow, Host, IfIndex, Reachability, Route, RouteKind, RouteLookup},
    policy::Policy,
    report::{Counted, DaemonReport, Origin},
};

pub use redact::Redaction;

/// Version of the format. A file with another number cannot be read.
pub const FORMAT: u32 = 1;

/// At most this many sources are recorded: those with the most packets.
const SOURCES: usize = 1000;

/// A host at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format ([`FORMAT`]).
    pub format: u32,
    /// Name of the host.
    pub host_name: String,
    /// When it was made (RFC 3339, UTC).
    pub time: String,
    /// Versions of the programs that made it.
    pub versions: Versions,
    /// Whether addresses and the host's name were replaced.
    pub redacted: bool,
    /// The host. Its routes are of all kinds, in the order in which the kernel lists them.
    pub host: Host,
    /// Neighbours, sysctls, and attributes of routes that decide about a packet.
    pub facts: Facts,
    /// What could not be read, each with the reason.
    pub unreadable: Vec<String>,
    /// The policy in effect; `None`: the configuration is wrong.
    pub policy: Option<Policy>,
    /// Where it comes from, for example a configuration file.
    pub policy_source: String,
    /// What is wrong with the configuration.
    pub configuration_error: Option<RecordedError>,
    /// What else the command that made it found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The policy that was applied last; `None`: nothing is applied.
    pub applied: Option<Policy>,
    /// The report of the daemon, if one ran.
    pub daemon: Option<DaemonReport>,
    /// Whether `eni-steer off` had switched everything off.
    #[serde(default)]
    pub off: bool,
    /// Seconds until a change would be undone, if one waited for its confirmation.
    pub unconfirmed: Option<u64>,
    /// The machine, its interfaces and other software.
    #[serde(default)]
    pub doctor: crate::doctor::Facts,
    /// Packets, and the kernel's answers where they would go.
    pub lookups: Vec<(Flow, RouteLookup)>,
    /// Gateways, and whether they answered.
    pub gateways: Vec<(IfIndex, IpAddr, Reachability)>,
    /// The counters, if programs were attached.
    pub counters: Option<Counted>,
}

/// Versions of the programs that made a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of eni-steer.
    pub eni_steer: String,
    /// Hash of its BPF object.
    pub build: u64,
    /// Release of the kernel.
    pub kernel: String,
}

/// An error of the command that made the record, with everything that it would have printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// The error, then its causes.
    pub chain: Vec<String>,
    /// What the user can do.
    pub hint: Option<String>,
    /// The exit code.
    pub exit: u8,
}

impl Record {
    /// Where and when it was made.
    pub fn origin(&self) -> Origin {
        Origin {
            version: self.versions.eni_steer.clone(),
            host: self.host_name.clone(),
            time: self.time.clone(),
        }
    }

    /// The host as plans see it: without the routes that deliver packets to it.
    pub fn planned_host(&self) -> Host {
        self.with_routes(&RouteKind::FORWARDING)
    }

    /// The host as the lookups of `verify` are judged by: with the routes that deliver last.
    pub fn judged_host(&self) -> Host {
        let mut host = self.planned_host();
        host.routes.extend(self.routes(&RouteKind::DELIVERY));
        host
    }

    fn with_routes(&self, kinds: &[RouteKind]) -> Host {
        Host {
            routes: self.routes(kinds),
            ..self.host.clone()
        }
    }

    /// The routes of these kinds, as if they had been read kind by kind.
    fn routes(&self, kinds: &[RouteKind]) -> Vec<Route> {
        let mut routes: Vec<(usize, &Route)> = self
            .host
            .routes
            .iter()
            .filter_map(|route| {
                let kind = kinds.iter().position(|kind| *kind == route.kind)?;
                Some((kind, route))
            })
            .collect();
        routes.sort_by_key(|(kind, route)| (route.family(), *kind));
        routes.into_iter().map(|(_, route)| route.clone()).collect()
    }

    /// The kernel's answer for a packet; `None`: nobody asked for it.
    pub fn lookup(&self, flow: &Flow) -> Option<RouteLookup> {
        let mut asked = self.lookups.iter();
        let (_, answer) = asked.find(|(asked, _)| asked == flow)?;
        Some(answer.clone())
    }

    /// The kernel's answers for packets, in their order. Where nobody asked, the answer of eni-steer's
    /// own walk stands in; the second value counts these.
    pub fn answers<'a>(&self, flows: impl Iterator<Item = &'a Flow>) -> (Vec<RouteLookup>, usize) {
        let known: HashMap<&Flow, &RouteLookup> = self
            .lookups
            .iter()
            .map(|(flow, answer)| (flow, answer))
            .collect();
        let mut walked = 0;
        let answers = flows.map(|flow| match known.get(flow) {
            Some(answer) => (*answer).clone(),
            None => {
                walked += 1;
                self.walked(flow)
            }
        });
        (answers.collect(), walked)
    }

    /// Where eni-steer's own walk of the rules sees a packet end up, for a packet that nobody asked
    /// the kernel about.
    pub fn walked(&self, flow: &Flow) -> RouteLookup {
        let walk = trace(&self.host, &self.facts, flow);
        let unreachable = RouteLookup::Refused {
            errno: crate::explain::errno::NET_UNREACHABLE,
        };
        let Some(answer) = walk.answers.first() else {
            return unreachable;
        };
        let preferred = decision(&walk.visits)
            .and_then(|(_, route)| route)
            .and_then(|route| route.source);
        let source = |by: IfIndex| {
            let of_family = |address: &IpAddr| address.is_ipv4() == flow.to.is_ipv4();
            let own = self.host.usable_addresses(by);
            let own = own.map(|address| address.ip()).find(of_family);
            flow.from.or(preferred).or(own)
        };
        match answer {
            Answer::Leaves {
                table, kind, legs, ..
            } => match legs.first() {
                Some(leg) => RouteLookup::Leaves {
                    by: leg.out,
                    gateway: leg.gateway,
                    table: *table,
                    kind: *kind,
                    source: source(leg.out),
                },
                None => unreachable,
            },
            Answer::OnLink { by } => RouteLookup::Leaves {
                by: *by,
                gateway: None,
                table: crate::model::TableId::MAIN,
                kind: RouteKind::Unicast,
                source: source(*by),
            },
            Answer::Refused { errno } => RouteLookup::Refused { errno: *errno },
            Answer::Unresolved { .. } => unreachable,
        }
    }

    /// Whether gateways answered, in the order of the question; unknown where nobody asked.
    pub fn reachability(&self, asked: &[(IfIndex, IpAddr)]) -> Vec<Reachability> {
        let state = |hop: &(IfIndex, IpAddr)| {
            let mut known = self.gateways.iter();
            let found = known.find(|(on, address, _)| (*on, *address) == *hop);
            found.map_or(Reachability::Unknown, |(_, _, state)| *state)
        };
        asked.iter().map(state).collect()
    }

    /// Leaves out what makes the file large and no report needs: all sources but those with the
    /// most packets.
    pub fn shorten(&mut self) {
        let Some(counters) = &mut self.counters else {
            return;
        };
        for snapshot in [&mut counters.all, &mut counters.counted] {
            if snapshot.sources.len() > SOURCES {
                let sources = &mut snapshot.sources;
                sources.sort_by_key(|source| std::cmp::Reverse(source.count.packets));
                sources.truncate(SOURCES);
            }
        }
    }
}
