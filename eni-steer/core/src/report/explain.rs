//! What `explain` says: the verdict on one packet, and everything it rests on.

mod cause;
mod words;

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    counters::{AddressCounters, Snapshot},
    explain::{
        Answer, Beside, Facts, LegsBy, NeighbourState, Outcome, Owned, Owners, Passage,
        SourceOwner, Walk, passage, steer, trace,
    },
    model::{Direction, Family, Flow, Host, IfIndex, RouteKind, RouteLookup, Rule, RuleAction},
    ownership::Ownership,
};

/// What the report is made of.
#[derive(Clone, Copy, Debug)]
pub struct ExplainInput<'a> {
    /// The host, with routes of all kinds.
    pub host: &'a Host,
    /// What decides beside its routes and rules.
    pub facts: &'a Facts,
    /// The packet.
    pub flow: &'a Flow,
    /// The kernel's answer for it.
    pub answer: &'a RouteLookup,
    /// Where the packet names no source: the kernel's answer for the source that it chose.
    pub answer_with_source: Option<&'a RouteLookup>,
    /// Numbers by which eni-steer's rules are known.
    pub ownership: &'a Ownership,
    /// Counters, if there are any.
    pub counters: Option<&'a Snapshot>,
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainVerdict {
    /// The packet leaves by the ENI that owns its source, by an interface that is not an ENI, or
    /// stays on this host.
    Ok,
    /// It leaves by another ENI.
    WrongEni,
    /// The kernel does not send it.
    Refused,
    /// Nobody can say what is right, or what happens.
    CannotTell,
}

/// A way out of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The interface.
    pub by: String,
    /// The gateway, if there is one.
    pub via: Option<IpAddr>,
    /// The destination is a neighbour. Without this and without a gateway no route is known.
    pub on_link: bool,
    /// What the kernel knows of the neighbour that gets the packet; `None`: nothing.
    pub neighbour: Option<NeighbourState>,
    /// The table that leads there; 0 where none does.
    pub table: Option<String>,
    /// Share of the packets, where a multipath route has several ways.
    pub weight: Option<u16>,
}

/// What the kernel answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelAnswer {
    /// The packet leaves.
    Leaves(Way),
    /// It is delivered to this host.
    Delivered,
    /// It is refused.
    Refused {
        /// Positive errno.
        errno: i32,
        /// What it means.
        why: &'static str,
    },
}

/// One rule of the walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// Its priority.
    pub priority: u32,
    /// It in the words of `ip rule`.
    pub rule: String,
    /// It is eni-steer's.
    pub ours: bool,
    /// It decides.
    pub wins: bool,
    /// It is one of eni-steer's for this source.
    pub meant: bool,
    /// What it did with the packet.
    pub outcome: Outcome,
    /// The same in words.
    pub result: String,
}

/// A command, and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// The command.
    pub command: String,
    /// When to choose it.
    pub why: String,
}

/// What `explain` says.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainReport {
    /// In one word.
    #[serde(skip)]
    pub verdict: ExplainVerdict,
    /// In one sentence, without the word.
    pub summary: String,
    /// The packet in the words of `ip route get`.
    pub packet: String,
    /// Its source, given or chosen by the kernel.
    pub source: Option<IpAddr>,
    /// The kernel chose the source.
    pub source_chosen: bool,
    /// The ENIs that have the source: one if it is owned.
    pub owners: Vec<String>,
    /// The owner is known from the programs' maps; else from the addresses of interfaces.
    pub owner_by_programs: bool,
    /// By the owner, as it should be; `None` where nobody owns the source.
    pub wanted: Option<Way>,
    /// What the kernel does.
    pub kernel: KernelAnswer,
    /// All legs of the route, where there are several.
    pub legs: Vec<Way>,
    /// What the kernel does once the source is chosen, where that differs.
    pub kernel_with_source: Option<KernelAnswer>,
    /// The rules in their order.
    pub rules: Vec<RuleRow>,
    /// The walk of the rules and the kernel agree. If not, eni-steer misunderstands this kernel,
    /// and the rules above explain nothing.
    pub walk_agrees: bool,
    /// Where the walk sees the packet end up.
    pub walk: Vec<Answer>,
    /// What else the kernel does with such a packet.
    pub beside: Option<Beside>,
    /// What eni-steer's program does on the ENI by which the packet leaves.
    pub passage: Option<Passage>,
    /// Packets of this source that left by that ENI so far.
    pub counted: Option<PassageCounts>,
    /// Why, as sentences.
    pub why: Vec<String>,
    /// What to do, one of them.
    pub fixes: Vec<Fix>,
    /// What else the reader should know.
    pub notes: Vec<String>,
    /// eni-steer refuses the packet as configured.
    pub as_configured: bool,
}

/// Packets of a source on one ENI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PassageCounts {
    /// How many.
    pub packets: u64,
    /// Seconds since the last, where that is known.
    pub last_seconds_ago: Option<u64>,
}

impl ExplainReport {
    /// Puts the report together.
    pub fn new(input: ExplainInput<'_>) -> Self {
        let walk = trace(input.host, input.facts, input.flow);
        let agrees = walk.agrees(input.answer);
        let owners = Owners::of(input.host, input.ownership);
        let chosen = match (input.flow.from, input.answer) {
            (None, RouteLookup::Leaves { source, .. }) => *source,
            _ => None,
        };
        let source = input.flow.from.or(chosen);
        let owned = source.map(|source| owners.owner(source));
        let view = Picture {
            input,
            owners,
            source,
            owned,
            walk,
        };
        view.report(chosen.is_some(), agrees)
    }
}

/// All that sentences are made of.
struct Picture<'a> {
    input: ExplainInput<'a>,
    owners: Owners<'a>,
    source: Option<IpAddr>,
    owned: Option<Owned>,
    walk: Walk,
}

impl Picture<'_> {
    fn report(&self, source_chosen: bool, walk_agrees: bool) -> ExplainReport {
        let ExplainInput { host, answer, .. } = self.input;
        let flow = Flow {
            from: self.source,
            ..*self.input.flow
        };
        let passage = answer
            .leaves_by()
            .filter(|_| !self.stays(answer))
            .zip(self.owned.as_ref())
            .and_then(|(out, owned)| passage(host, owned, &flow, out));
        let counted = passage
            .as_ref()
            .and_then(|passage| self.counted(passage.eni));
        let (verdict, summary) = self.verdict(passage.as_ref());
        let kernel_with_source = self
            .input
            .answer_with_source
            .filter(|second| second.leaves_by() != answer.leaves_by())
            .map(|second| self.kernel(second));
        let homes = match self.owned.as_ref().map(|owned| &owned.owner) {
            Some(SourceOwner::Eni(eni) | SourceOwner::Elsewhere(eni)) => vec![*eni],
            Some(SourceOwner::Ambiguous(enis)) => enis.clone(),
            Some(SourceOwner::Nobody) | None => Vec::new(),
        };
        let mut report = ExplainReport {
            verdict,
            summary,
            packet: words::packet(host, self.input.flow),
            source: self.source,
            source_chosen,
            owners: homes.into_iter().map(|eni| host.name(eni)).collect(),
            owner_by_programs: self.owned.as_ref().is_some_and(|owned| owned.by_programs),
            wanted: self.wanted(),
            kernel: self.kernel(answer),
            legs: self.legs(),
            kernel_with_source,
            rules: self.rows(),
            walk_agrees,
            walk: self.walk.answers.clone(),
            beside: self.walk.beside,
            passage,
            counted,
            why: Vec::new(),
            fixes: Vec::new(),
            notes: Vec::new(),
            as_configured: self.refused_as_configured(),
        };
        cause::explain(self, &mut report);
        report
    }

    fn name(&self, index: IfIndex) -> String {
        self.input.host.name(index)
    }

    fn owner(&self) -> Option<IfIndex> {
        match self.owned.as_ref().map(|owned| &owned.owner) {
            Some(SourceOwner::Eni(eni)) => Some(*eni),
            _ => None,
        }
    }

    /// Whether the packet is delivered to this host.
    fn stays(&self, answer: &RouteLookup) -> bool {
        matches!(
            answer,
            RouteLookup::Leaves {
                kind: RouteKind::Local,
                ..
            }
        )
    }

    /// Whether leaving by an interface is leaving by the wrong ENI.
    fn is_wrong(&self, by: IfIndex) -> bool {
        let owner = self.owner();
        owner.is_some_and(|owner| owner != by) && self.owners.is_eni(by)
    }

    /// The ways by which the packet may leave: several of a multipath route, or where a rule cannot
    /// be judged.
    fn ways(&self) -> Vec<IfIndex> {
        let mut ways: Vec<IfIndex> = Vec::new();
        ways.extend(self.input.answer.leaves_by());
        if self.walk.agrees(self.input.answer) {
            ways.extend(self.walk.answers.iter().flat_map(Answer::interfaces));
        }
        ways.sort();
        ways.dedup();
        ways
    }

    fn verdict(&self, passage: Option<&Passage>) -> (ExplainVerdict, String) {
        use ExplainVerdict::{CannotTell, Ok, Refused, WrongEni};
        let to = self.input.flow.to;
        let packet = match self.source {
            Some(source) => format!("{source} -> {to}"),
            None => format!("-> {to}"),
        };
        let by = match self.input.answer {
            RouteLookup::Refused { errno } => {
                let why = words::errno(*errno);
                return (Refused, format!("{packet} is not sent: {why}"));
            }
            answer if self.stays(answer) => {
                return (Ok, format!("{packet} stays on this host"));
            }
            RouteLookup::Leaves { by, .. } => *by,
        };
        let unknown: Vec<String> = self
            .walk
            .unknown()
            .map(|visit| visit.rule.priority.to_string())
            .collect();
        let ways = self.ways();
        let wrong = ways.iter().filter(|by| self.is_wrong(**by)).count();
        let names: Vec<String> = ways.iter().map(|by| self.name(*by)).collect();
        let (name, names) = (self.name(by), names.join(" or "));
        if !unknown.is_empty() && wrong > 0 && wrong < ways.len() {
            let rules = unknown.join(", ");
            return (
                CannotTell,
                format!(
                    "{packet} leaves by {names}: rule {rules} has selectors that eni-steer does not know"
                ),
            );
        }
        if let Some(why) = self.neighbour_by_default(by) {
            return (Refused, format!("{packet} is not sent: {why}"));
        }
        match self.owned.as_ref().map(|owned| &owned.owner) {
            Some(SourceOwner::Eni(owner)) => {
                let owner = self.name(*owner);
                let second = self
                    .input
                    .answer_with_source
                    .and_then(RouteLookup::leaves_by);
                match passage.and_then(|passage| passage.steered.as_ref()) {
                    Some(steered) if wrong == ways.len() => {
                        let steered = self.name(steered.by);
                        let text = format!(
                            "{packet} leaves by {steered}: routed by {name}, steered by eni-steer"
                        );
                        return (Ok, text);
                    }
                    _ => {}
                }
                if self.is_wrong(by) || wrong > 0 {
                    let text = format!("{packet} leaves by {names}; the address is {owner}'s");
                    return (WrongEni, text);
                }
                if let Some(second) = second.filter(|second| self.is_wrong(*second)) {
                    let second = self.name(second);
                    let text = format!(
                        "{packet} leaves by {second} once it is connected; the address is {owner}'s"
                    );
                    return (WrongEni, text);
                }
                if let Some(why) = self.is_lost(by) {
                    return (CannotTell, format!("{packet} leaves by {name}, but {why}"));
                }
                if self.owner() == Some(by) {
                    (
                        Ok,
                        format!("{packet} leaves by {name}, which owns the address"),
                    )
                } else {
                    let text = format!("{packet} leaves by {name}, which is not an ENI");
                    (Ok, text)
                }
            }
            Some(SourceOwner::Ambiguous(enis)) => {
                let enis: Vec<String> = enis.iter().map(|eni| self.name(*eni)).collect();
                let enis = if enis.is_empty() {
                    "two ENIs".to_owned()
                } else {
                    enis.join(" and ")
                };
                let text = format!("{packet} leaves by {names}; the address is on {enis}");
                (CannotTell, text)
            }
            Some(SourceOwner::Elsewhere(home)) => {
                let home = self.name(*home);
                let text =
                    format!("{packet} leaves by {names}; the address is {home}'s, not an ENI's");
                (CannotTell, text)
            }
            Some(SourceOwner::Nobody) => (
                CannotTell,
                format!("{packet} leaves by {names}; no ENI owns the address"),
            ),
            None => (
                CannotTell,
                format!("{packet} leaves by {names}; the kernel names no source"),
            ),
        }
    }

    /// A socket that is bound to an interface without a route: the kernel asks for the destination
    /// itself, which answers only if it is a neighbour.
    fn neighbour_by_default(&self, by: IfIndex) -> Option<String> {
        self.walk
            .beside
            .filter(|beside| *beside == Beside::BoundAllTheSame)?;
        let to = self.input.flow.to;
        let mut addresses = self.input.host.addresses.iter();
        let near = addresses.any(|address| address.index == by && address.net.contains(&to));
        let name = self.name(by);
        (!near).then(|| format!("no route by {name}, and {to} is not in its subnets"))
    }

    /// Why a packet that leaves by an interface does not arrive.
    fn is_lost(&self, by: IfIndex) -> Option<String> {
        let ExplainInput { host, facts, .. } = self.input;
        let name = self.name(by);
        if host.links.get(&by).is_some_and(|link| !link.carrier) {
            return Some(format!("{name} has no carrier"));
        }
        let RouteLookup::Leaves { gateway, .. } = self.input.answer else {
            return None;
        };
        let next = gateway.unwrap_or(self.input.flow.to);
        let state = facts.neighbour(by, next);
        let what = if gateway.is_some() {
            "the gateway "
        } else {
            ""
        };
        (state == Some(NeighbourState::Failed)).then(|| format!("{what}{next} does not answer"))
    }

    fn way(&self, by: IfIndex, via: Option<IpAddr>, table: Option<String>) -> Way {
        let next = via.unwrap_or(self.input.flow.to);
        Way {
            by: self.name(by),
            via,
            on_link: via.is_none(),
            neighbour: self.input.facts.neighbour(by, next),
            table,
            weight: None,
        }
    }

    fn kernel(&self, answer: &RouteLookup) -> KernelAnswer {
        match answer {
            RouteLookup::Refused { errno } => KernelAnswer::Refused {
                errno: *errno,
                why: words::errno(*errno),
            },
            answer if self.stays(answer) => KernelAnswer::Delivered,
            RouteLookup::Leaves {
                by, gateway, table, ..
            } => {
                let table = Some(table.to_string()).filter(|_| table.0 != 0);
                KernelAnswer::Leaves(self.way(*by, *gateway, table))
            }
        }
    }

    /// The legs of the route that decides, where there are several.
    fn legs(&self) -> Vec<Way> {
        let legs = self.walk.answers.iter().flat_map(|answer| match answer {
            Answer::Leaves {
                legs, table, kind, ..
            } if legs.len() > 1 && *kind != RouteKind::Local => legs
                .iter()
                .map(|leg| Way {
                    weight: Some(leg.weight),
                    ..self.way(leg.out, leg.gateway, Some(table.to_string()))
                })
                .collect(),
            _ => Vec::new(),
        });
        legs.collect()
    }

    /// The rules that the walk met, and those behind them.
    fn rows(&self) -> Vec<RuleRow> {
        let host = self.input.host;
        let family = Family::of(self.input.flow.to);
        let mut met = self.walk.visits.iter().peekable();
        let decides = self.walk.decision().map(|(rule, _)| rule);
        let all = host.rules_of(family);
        all.map(|rule| {
            let outcome = match met.next_if(|visit| visit.rule == *rule) {
                Some(visit) => visit.outcome.clone(),
                None => Outcome::NotReached,
            };
            let wins = outcome.ends() && decides == Some(rule);
            RuleRow {
                priority: rule.priority.0,
                rule: words::rule(rule),
                ours: self.input.ownership.rule(rule),
                wins,
                meant: self.is_meant(rule),
                result: words::outcome(host, &outcome),
                outcome,
            }
        })
        .collect()
    }

    /// Whether a rule of eni-steer's is there for this source.
    fn is_meant(&self, rule: &Rule) -> bool {
        let of_source = |source: IpAddr| {
            let from = rule.from.filter(|_| rule.family == Family::of(source));
            from.is_some_and(|from| from.contains(&source))
        };
        self.input.ownership.rule(rule) && self.source.is_some_and(of_source)
    }

    /// Whether the rule that refuses is one of eni-steer's.
    fn refused_as_configured(&self) -> bool {
        let refused = matches!(self.input.answer, RouteLookup::Refused { .. });
        let decides = self.walk.decision();
        refused
            && self.walk.agrees(self.input.answer)
            && decides
                .is_some_and(|(rule, route)| route.is_none() && self.input.ownership.rule(rule))
    }

    /// How the packet should leave: by the owner, as eni-steer's own rule or next hops say, else as
    /// any route by the owner does.
    fn wanted(&self) -> Option<Way> {
        let ExplainInput { host, facts, .. } = self.input;
        let owner = self.owner()?;
        let by_owner = Flow {
            from: self.source,
            oif: None,
            ..*self.input.flow
        };
        let rules = host.rules_of(Family::of(by_owner.to));
        let tables =
            rules
                .filter(|rule| self.is_meant(rule))
                .filter_map(|rule| match rule.action {
                    RuleAction::Table(table) => Some(table),
                    _ => None,
                });
        let legs = LegsBy::of(host, facts, by_owner, owner);
        for table in tables {
            if let Some(leg) = legs.in_table(table) {
                return Some(self.way(owner, leg.gateway, Some(table.to_string())));
            }
        }
        if let Ok(steered) = steer(host, owner, by_owner.to) {
            let via = Some(steered.to).filter(|next| *next != by_owner.to);
            return Some(self.way(owner, via, None));
        }
        let leg = legs.in_any_table();
        Some(match leg {
            Some((leg, table)) => self.way(owner, leg.gateway, Some(table.to_string())),
            None => Way {
                on_link: false,
                neighbour: None,
                ..self.way(owner, None, None)
            },
        })
    }

    /// What was counted of the source on an ENI, on its way out.
    fn counted(&self, eni: IfIndex) -> Option<PassageCounts> {
        let counters = self.input.counters?;
        let source = self.source?;
        let id = counters.interface(eni)?.id;
        let of_source = |cell: &&AddressCounters| {
            cell.address.contains(&source) && cell.eni == id && cell.direction == Direction::Egress
        };
        let cell = counters.cells.iter().filter(of_source);
        let cell = cell.max_by_key(|cell| cell.address.prefix_len())?;
        let packets = [cell.passed, cell.steered, cell.dropped, cell.exempt];
        Some(PassageCounts {
            packets: packets.iter().map(|count| count.packets).sum(),
            last_seconds_ago: cell
                .last_seen
                .map(|last| counters.taken_at.age(last).as_secs()),
        })
    }
}
