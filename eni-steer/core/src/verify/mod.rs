//! Is the policy there? Observe again, plan again: nothing may be left. Then the kernel is
//! asked where packets would go: from each owned address, and what each rule beyond the
//! source rules is there for. Where it answers otherwise, the rule that won is named.

mod sources;
mod trials;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    desired::Desired,
    explain::{Outcome, Visit, best, decision, trace_rules},
    known_tools::probable_owner,
    model::{Family, Flow, Host, Route, RouteKind, RouteLookup, Rule, RuleAction, TableId},
    plan::Plan,
};

pub use sources::Probe;

/// Far destinations for probes: addresses for documentation (RFC 5737, RFC 9637) that no
/// host's table names on purpose, so that they follow the default route.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 113)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x3fff, 0xfff, 0, 0, 0, 0, 0, 113)),
];

/// The rule that decides instead.
#[derive(Clone, Debug, Serialize)]
pub struct Winner {
    /// The rule that decides; `None`: no rule leads anywhere.
    pub rule: Option<Rule>,
    /// Whether that rule is ours.
    pub rule_is_ours: bool,
    /// The tool it most likely belongs to.
    pub rule_owner: Option<&'static str>,
}

/// A source whose packets would leave by another way than they should.
#[derive(Clone, Debug, Serialize)]
pub struct Misrouted {
    /// The source.
    pub source: IpAddr,
    /// The ENI that owns it.
    pub owner: String,
    /// What was asked.
    pub probe: Probe,
    /// The destination.
    pub to: IpAddr,
    /// The interface it should leave by: the owner, or where main sends the destination.
    pub wanted: String,
    /// Where the packet would leave; `None`: refused.
    pub by: Option<String>,
    /// Main alone serves the owner, a primary that is only observed: it has no rules of ours.
    pub served_by_main: bool,
    /// Why.
    #[serde(flatten)]
    pub winner: Winner,
}

/// A rule for access or balance that does not get what it is there for.
#[derive(Clone, Debug, Serialize)]
pub struct Overruled {
    /// The rule, one of ours.
    pub overruled: Rule,
    /// A packet it is there for, in the words of `ip route get`.
    pub packet: String,
    /// Where the packet would leave; `None`: refused.
    pub by: Option<String>,
    /// Why.
    #[serde(flatten)]
    pub winner: Winner,
}

/// The answer to "is the policy there?".
#[derive(Clone, Debug, Default, Serialize)]
pub struct PolicyVerdict {
    /// Every difference from the policy, as plan lines.
    pub drift: Vec<String>,
    /// The same for people, folded ([`Plan::lines`]).
    #[serde(skip)]
    pub drift_folded: Vec<String>,
    /// Sources that would go astray.
    pub misrouted: Vec<Misrouted>,
    /// Rules for access and balance that others overrule.
    pub overruled: Vec<Overruled>,
    /// How many questions the kernel was asked.
    pub probes: usize,
    /// How many of them a rule of ours refuses, as the configuration wants it.
    pub refused: usize,
    /// Rules for access that another rule of ours decides before, and those that the kernel
    /// can not be asked for.
    pub notes: Vec<String>,
}

impl PolicyVerdict {
    /// Everything is in place and every probe went the way it should.
    pub fn holds(&self) -> bool {
        self.drift.is_empty() && self.misrouted.is_empty() && self.overruled.is_empty()
    }
}

/// One judgement of routing: the questions for the kernel, and the verdict on its answers.
///
/// The caller asks the kernel ([`Inspection::flows`], one `RTM_GETROUTE` each) and hands the
/// answers back in the same order ([`Inspection::judge`]).
pub struct Inspection<'a> {
    host: &'a Host,
    desired: &'a Desired,
    questions: Vec<sources::Question>,
    trials: Vec<(&'a Rule, Flow)>,
    notes: Vec<String>,
}

impl<'a> Inspection<'a> {
    /// Prepares the questions. `host` must hold the routes by which packets come to this host as
    /// well (table `local`): one of them may decide about a packet.
    pub fn new(desired: &'a Desired, host: &'a Host) -> Self {
        let (mut trials, mut notes) = (Vec::new(), Vec::new());
        for rule in trials::rules(desired, host) {
            match trials::packet(host, desired, rule) {
                Ok(flow) => trials.push((rule, flow)),
                Err(why) => notes.push(format!(
                    "not tried, because {why}: ip {} rule {rule}",
                    rule.family
                )),
            }
        }
        Self {
            host,
            desired,
            questions: sources::questions(host, desired),
            trials,
            notes,
        }
    }

    /// The packets to ask the kernel for, in the order in which [`Self::judge`] wants the answers.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        let sources = self.questions.iter().map(|question| &question.flow);
        sources.chain(self.trials.iter().map(|(_, flow)| flow))
    }

    /// The verdict. Without an answer to each question, those without one count as not asked.
    pub fn judge(self, answers: &[RouteLookup]) -> PolicyVerdict {
        let (host, desired) = (self.host, self.desired);
        let plan = Plan::between(desired, host);
        let mut verdict = PolicyVerdict {
            drift: plan.steps.iter().map(|step| step.describe(host)).collect(),
            drift_folded: plan.lines(host),
            probes: answers.len(),
            notes: self.notes,
            ..PolicyVerdict::default()
        };
        let mut answers = answers.iter();
        for (question, answer) in self.questions.iter().zip(answers.by_ref()) {
            question.judge(host, desired, answer, &mut verdict);
        }
        for ((rule, flow), answer) in self.trials.iter().zip(answers) {
            trials::judge(host, desired, rule, flow, answer, &mut verdict);
        }
        verdict
    }
}

/// The rule that decides about a packet, and its route unless the rule itself refuses.
struct Decision {
    winner: Winner,
    route: Option<Route>,
}

fn decided(host: &Host, desired: &Desired, flow: &Flow) -> Decision {
    let visits = trace_rules(host, flow);
    let (rule, route) = match decision(&visits) {
        Some((rule, route)) => (Some(rule.clone()), route.cloned()),
        // One that can not be judged is the most likely to have decided.
        None => {
            let unknown = |visit: &&Visit| matches!(visit.outcome, Outcome::CannotTell { .. });
            let unknown = visits.iter().find(unknown);
            (unknown.map(|visit| visit.rule.clone()), None)
        }
    };
    let rule_is_ours = rule
        .as_ref()
        .is_some_and(|rule| desired.ownership.rule(rule));
    let winner = Winner {
        rule_owner: rule
            .as_ref()
            .filter(|_| !rule_is_ours)
            .and_then(probable_owner),
        rule,
        rule_is_ours,
    };
    Decision { winner, route }
}

/// Whether a rule itself refuses what it matches.
fn refuses(rule: &Rule) -> bool {
    matches!(
        rule.action,
        RuleAction::Prohibit | RuleAction::Unreachable | RuleAction::Blackhole
    )
}

/// An address of a prefix that is none of this host's, and not this one.
fn stranger(host: &Host, net: IpNet, but: Option<IpAddr>) -> Option<IpAddr> {
    let ours = |candidate: &IpAddr| {
        let mut all = host.addresses.iter();
        all.any(|address| address.ip() == *candidate)
    };
    let network =
        |candidate: &IpAddr| net.prefix_len() < net.max_prefix_len() && *candidate == net.network();
    let mut hosts = net.hosts().take(64);
    hosts.find(|candidate| !ours(candidate) && !network(candidate) && Some(*candidate) != but)
}

fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => FAR[0],
        Family::V6 => FAR[1],
    }
}

/// Whether the packet is for this host, as table local has it: nothing leaves at all.
fn stays(host: &Host, to: IpAddr, answer: &RouteLookup) -> bool {
    let here = matches!(
        answer,
        RouteLookup::Leaves {
            kind: RouteKind::Local,
            ..
        }
    );
    here && best(host, TableId::LOCAL, to).is_some()
}
