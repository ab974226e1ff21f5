//! The walk: `fib_rules_lookup` of net/core/fib_rules.c with the actions and suppressions of
//! net/ipv4/fib_rules.c and net/ipv6/fib6_rules.c, and around it what
//! `ip_route_output_key_hash_rcu` and `ip_route_input_slow` of net/ipv4/route.c do.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    Answer, Beside, Facts, LinkFacts, Outcome, View, Visit, Walk, errno,
    select::{self, Match},
    table::{self, Covering, Found},
};
use crate::model::{
    Family, Flow, Group, Hop, Host, IfIndex, Route, RouteKind, Rule, RuleAction, TableId,
};

/// The rules met by a packet, the deciding one last, as far as a host alone tells.
pub fn trace_rules(host: &Host, flow: &Flow) -> Vec<Visit> {
    look_up(View::of(host), flow).visits
}

/// What the kernel does with a packet.
pub fn trace(host: &Host, facts: &Facts, flow: &Flow) -> Walk {
    let view = View { host, facts };
    match (flow.to, flow.iif) {
        (IpAddr::V4(to), None) => output4(view, flow, to),
        (IpAddr::V4(to), Some(iif)) => input4(view, flow, to, iif),
        (IpAddr::V6(_), _) => look_up(view, flow),
    }
}

/// Such a packet never gets to the rules.
fn before(answer: Answer, why: Beside) -> Walk {
    Walk {
        visits: Vec::new(),
        answers: vec![answer],
        beside: Some(why),
    }
}

fn refused(errno: i32) -> Answer {
    Answer::Refused { errno }
}

/// A packet of this host (`ip_route_output_key_hash_rcu`).
fn output4(view: View<'_>, flow: &Flow, to: Ipv4Addr) -> Walk {
    let to_group = to.is_multicast() || to.is_broadcast();
    if let Some(IpAddr::V4(from)) = flow.from {
        if senseless_source(from) {
            return before(refused(errno::INVALID), Beside::Senseless);
        }
        let home = home_of(view, from);
        if let (true, None, Some(by)) = (to_group, flow.oif, home) {
            return before(Answer::OnLink { by }, Beside::Group);
        }
        if home.is_none() {
            return before(refused(errno::NET_UNREACHABLE), Beside::ForeignSource);
        }
    }
    if let Some(oif) = flow.oif {
        match view.host.links.get(&oif) {
            None => return before(refused(errno::NO_DEVICE), Beside::InterfaceDown),
            Some(link) if !link.up => {
                return before(refused(errno::NET_UNREACHABLE), Beside::InterfaceDown);
            }
            Some(_) if to.octets()[..3] == [224, 0, 0] || to.is_broadcast() => {
                return before(Answer::OnLink { by: oif }, Beside::Group);
            }
            Some(_) => {}
        }
    }
    let mut walk = look_up(view, flow);
    if let Some(by) = flow.oif {
        for answer in &mut walk.answers {
            if matches!(answer, Answer::Refused { .. }) {
                *answer = Answer::OnLink { by };
                walk.beside = Some(Beside::BoundAllTheSame);
            }
        }
    }
    let is_loopback = |by: &IfIndex| view.host.links.get(by).is_some_and(|link| link.loopback);
    if flow.from.is_some_and(|from| from.is_loopback()) {
        for answer in &mut walk.answers {
            let stays = matches!(answer, Answer::Leaves { kind, .. } if *kind == RouteKind::Local);
            if !stays && !answer.interfaces().iter().all(is_loopback) {
                *answer = refused(errno::INVALID);
                walk.beside = Some(Beside::Senseless);
            }
        }
    }
    walk
}

fn senseless_source(from: Ipv4Addr) -> bool {
    from.is_multicast() || from.is_broadcast() || from.octets()[0] == 0
}

/// The interface that an address of this host is on (`__ip_dev_find`).
fn home_of(view: View<'_>, address: Ipv4Addr) -> Option<IfIndex> {
    let configured = view.host.addresses.iter();
    let configured = configured.filter(|configured| configured.ip() == IpAddr::V4(address));
    let by_route = || match table::find(view, &Flow::to(address.into()), TableId::LOCAL) {
        Found::Way(route, legs, _) if route.kind == RouteKind::Local => {
            legs.first().map(|leg| leg.out)
        }
        _ => None,
    };
    configured.map(|home| home.index).next().or_else(by_route)
}

/// A packet that came in (`ip_route_input_slow`).
fn input4(view: View<'_>, flow: &Flow, to: Ipv4Addr, iif: IfIndex) -> Walk {
    let Some(link) = view.host.links.get(&iif) else {
        return before(refused(errno::NO_DEVICE), Beside::InterfaceDown);
    };
    let from = match flow.from {
        Some(IpAddr::V4(from)) => from,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let looped = (from.is_loopback() || to.is_loopback()) && !link.loopback;
    if senseless_source(from) || to.octets()[0] == 0 || looped {
        return before(refused(errno::INVALID), Beside::Senseless);
    }
    let forwards = !view
        .facts
        .links
        .get(&iif)
        .is_some_and(|facts| facts.no_forwarding4);
    let mut walk = look_up(view, flow);
    let mut answers = Vec::new();
    for answer in std::mem::take(&mut walk.answers) {
        let (answer, why) = match answer {
            Answer::Refused { .. } if !forwards => (
                refused(errno::HOST_UNREACHABLE),
                Some(Beside::NotForwarding),
            ),
            Answer::Leaves { kind, .. } if delivers(kind) => {
                if comes_from_there(view, flow, iif, None) {
                    (answer, None)
                } else {
                    (refused(errno::INVALID), Some(Beside::ReversePath))
                }
            }
            Answer::Leaves { .. } if !forwards => (
                refused(errno::HOST_UNREACHABLE),
                Some(Beside::NotForwarding),
            ),
            Answer::Leaves {
                table,
                kind,
                legs,
                shared,
            } => {
                if kind != RouteKind::Unicast {
                    (refused(errno::INVALID), Some(Beside::Senseless))
                } else {
                    let valid = |leg: &Hop| comes_from_there(view, flow, iif, Some(leg.out));
                    let (legs, unwanted): (Vec<Hop>, Vec<Hop>) = legs.into_iter().partition(valid);
                    if !unwanted.is_empty() {
                        answers.push(refused(errno::INVALID));
                        walk.beside = Some(Beside::ReversePath);
                    }
                    if legs.is_empty() {
                        continue;
                    }
                    let leaves = Answer::Leaves {
                        table,
                        kind,
                        legs,
                        shared,
                    };
                    (leaves, None)
                }
            }
            other => (other, None),
        };
        answers.push(answer);
        walk.beside = walk.beside.or(why);
    }
    walk.answers = answers;
    walk
}

/// Whether a route of this kind keeps what comes in on this host.
fn delivers(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Local | RouteKind::Broadcast)
}

/// `__fib_validate_source` of net/ipv4/fib_frontend.c: whether the packet's source is where it
/// came from.
fn comes_from_there(view: View<'_>, flow: &Flow, iif: IfIndex, out: Option<IfIndex>) -> bool {
    let Some(from) = flow.from else {
        return false;
    };
    let default = LinkFacts::default();
    let facts = view.facts.links.get(&iif).unwrap_or(&default);
    let strictness = facts.rp_filter;
    let back = Flow {
        to: from,
        from: Some(flow.to),
        iif: out,
        oif: None,
        uid: None,
        mark: if facts.source_valid_mark {
            flow.mark
        } else {
            0
        },
        // The answer's ports.
        sport: flow.dport,
        dport: flow.sport,
        ..*flow
    };
    let walk = look_up(view, &back);
    let judge = |answer: &Answer| match answer {
        Answer::Leaves { kind, legs, .. } => match kind {
            RouteKind::Local => facts.accepts_local,
            RouteKind::Unicast => strictness != 1 || legs.iter().any(|leg| leg.out == iif),
            _ => false,
        },
        Answer::OnLink { .. } | Answer::Unresolved { .. } => true,
        Answer::Refused { .. } => strictness == 0,
    };
    walk.answers.iter().all(judge)
}

/// The rules alone (`fib_lookup`, `fib6_rule_lookup`).
fn look_up(view: View<'_>, flow: &Flow) -> Walk {
    let family = Family::of(flow.to);
    let rules: Vec<&Rule> = view.host.rules_of(family).collect();
    let mut tracer = Tracer {
        view,
        covering: Covering::of(view, flow.to),
        flow,
        rules,
        started: BTreeSet::new(),
        answers: Vec::new(),
    };
    let mut visits = Vec::new();
    tracer.run(0, &mut visits);
    Walk {
        visits,
        answers: tracer.answers,
        beside: None,
    }
}

struct Tracer<'a> {
    view: View<'a>,
    covering: Covering<'a>,
    flow: &'a Flow,
    rules: Vec<&'a Rule>,
    /// Where a walk has begun: from one place there is one way on.
    started: BTreeSet<usize>,
    answers: Vec<Answer>,
}

impl Tracer<'_> {
    /// Walks from a rule on.
    fn run(&mut self, mut at: usize, visits: &mut Vec<Visit>) {
        if !self.started.insert(at) {
            return;
        }
        while let Some(rule) = self.rules.get(at).copied() {
            at += 1;
            let outcome = match select::matches(self.view, self.flow, rule) {
                Match::No(selector) => Outcome::NoMatch(selector),
                Match::Yes => {
                    let (outcome, answers) = self.act(rule);
                    match &outcome {
                        Outcome::Jumps(target) => at = self.place(*target).unwrap_or(at),
                        _ => answers.into_iter().for_each(|answer| self.add(answer)),
                    }
                    outcome
                }
                Match::Unknown(selectors) => {
                    let (then, answers) = self.act(rule);
                    match &then {
                        Outcome::Jumps(target) => {
                            if let Some(target) = self.place(*target) {
                                self.run(target, &mut Vec::new());
                            }
                        }
                        _ => answers.into_iter().for_each(|answer| self.add(answer)),
                    }
                    Outcome::CannotTell {
                        selectors,
                        then: Box::new(then),
                    }
                }
            };
            let ends = outcome.ends();
            visits.push(Visit {
                rule: rule.clone(),
                outcome,
            });
            if ends {
                return;
            }
        }
        self.add(refused(errno::NET_UNREACHABLE));
    }

    fn add(&mut self, answer: Answer) {
        if !self.answers.contains(&answer) {
            self.answers.push(answer);
        }
    }

    /// Where the rules of a priority begin.
    fn place(&self, priority: crate::model::Priority) -> Option<usize> {
        self.rules.iter().position(|rule| rule.priority == priority)
    }

    /// What a rule does with a packet that it selects, and where the packet may end up by it.
    fn act(&self, rule: &Rule) -> (Outcome, Vec<Answer>) {
        let refuses = |errno| (Outcome::Refuses, vec![refused(errno)]);
        match rule.action {
            RuleAction::Table(table) => self.look_up(rule, table),
            RuleAction::Goto(target) if self.place(target).is_some() => {
                (Outcome::Jumps(target), Vec::new())
            }
            RuleAction::Goto(target) => (Outcome::JumpsNowhere(target), Vec::new()),
            RuleAction::Nop => (Outcome::Nothing, Vec::new()),
            RuleAction::Unreachable => refuses(errno::NET_UNREACHABLE),
            RuleAction::Prohibit => refuses(errno::ACCESS),
            // The kernel takes an action that it does not know for this one.
            RuleAction::Blackhole | RuleAction::Other(_) => refuses(errno::INVALID),
            RuleAction::L3mdev => {
                let vrf = self.view.vrf(self.flow);
                let facts = vrf.and_then(|vrf| self.view.facts.links.get(&vrf));
                match facts.and_then(|facts| facts.vrf_table) {
                    Some(table) => self.look_up(rule, table),
                    None => (Outcome::Nothing, Vec::new()),
                }
            }
        }
    }

    fn look_up(&self, rule: &Rule, table: TableId) -> (Outcome, Vec<Answer>) {
        match self.covering.find(self.view, self.flow, table) {
            Found::Nothing => (Outcome::NoRoute(table), Vec::new()),
            Found::Thrown(_) => (Outcome::Thrown, Vec::new()),
            // Only an answer can be suppressed: IPv4 refuses with an error.
            Found::Refuses(route) => {
                let errno = match route.kind {
                    RouteKind::Prohibit => errno::ACCESS,
                    RouteKind::Unreachable => errno::HOST_UNREACHABLE,
                    _ => errno::INVALID,
                };
                (
                    Outcome::Decides(Box::new(route.clone())),
                    vec![refused(errno)],
                )
            }
            Found::Unresolved(route, object) => (
                Outcome::Unresolved(Box::new(route.clone())),
                vec![Answer::Unresolved { table, object }],
            ),
            Found::Way(route, legs, by_object) => self.suppress(rule, route, legs, by_object),
        }
    }

    fn suppress(
        &self,
        rule: &Rule,
        route: &Route,
        legs: Vec<Hop>,
        by_object: bool,
    ) -> (Outcome, Vec<Answer>) {
        let shared = by_object && rule.family == Family::V6;
        let leaves = |legs: Vec<Hop>| Answer::Leaves {
            table: route.table,
            kind: route.kind,
            legs,
            shared,
        };
        if let Some(length) = rule.suppress_prefix_length {
            let too_short = |route: &Route| u32::from(route.destination.prefix_len()) <= length;
            let others = self.view.host.routes.iter();
            let mut others = others.filter(|other| shared && other.nexthop_object.is_some());
            if others
                .any(|other| other.family() == rule.family && too_short(other) != too_short(route))
            {
                let outcome = Outcome::MaySuppress(Box::new(route.clone()));
                return (outcome, vec![leaves(legs)]);
            }
            if too_short(route) {
                return (Outcome::Suppressed(Box::new(route.clone())), Vec::new());
            }
        }
        let in_group = |hop: &Hop, group: Group| {
            let link = self.view.host.links.get(&hop.out);
            link.is_some_and(|link| link.group == group)
        };
        let (suppressed, passed): (Vec<Hop>, Vec<Hop>) = match rule.suppress_group {
            None => (Vec::new(), legs),
            // `fib4_rule_suppress` asks for the first leg, whichever is taken.
            Some(group) if rule.family == Family::V4 => {
                match route.hops.first().is_some_and(|hop| in_group(hop, group)) {
                    true => (legs, Vec::new()),
                    false => (Vec::new(), legs),
                }
            }
            // `fib6_rule_suppress` asks for the leg that was chosen.
            Some(group) => legs.into_iter().partition(|hop| in_group(hop, group)),
        };
        match (suppressed.is_empty(), passed.is_empty()) {
            (true, _) => (
                Outcome::Decides(Box::new(route.clone())),
                vec![leaves(passed)],
            ),
            (false, true) => (Outcome::Suppressed(Box::new(route.clone())), Vec::new()),
            (false, false) => (
                Outcome::MaySuppress(Box::new(route.clone())),
                vec![leaves(passed)],
            ),
        }
    }
}
