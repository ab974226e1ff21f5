//! Whether the policy is in place and the kernel routes by it.
//!
//! First, a new plan must be empty. Then eni-steer asks the kernel where packets would go: from
//! each owned address to several destinations, from sockets that are bound to an ENI, and for each
//! access and balance rule a packet that the rule matches. If the kernel's answer is not the expected one, the verdict names the rule
//! that decided.
//!
//! For example, eth1 owns 172.16.20.177. eni-steer asks for the route from 172.16.20.177 to
//! 203.0.113.113; the answer must be eth1. If another program's rule with priority 100 looks up the
//! main table first, the answer is eth0, and the verdict names that rule.

mod bound;
mod causes;
mod gateways;
mod packets;
mod sources;
mod trials;
mod verdict;

use crate::{
    desired::Desired,
    model::{Flow, Host, RouteLookup, Rule},
    plan::Plan,
};

pub use causes::{Cause, CauseKind, causes};
pub use gateways::{GatewayCheck, gateway_checks, gateways_to_ask};
pub use verdict::{Misrouted, Overruled, PolicyVerdict, Probe, Unbound, Winner};

/// One check of routing: the questions for the kernel, and the verdict on its answers.
///
/// The caller asks the kernel ([`Inspection::flows`], one `RTM_GETROUTE` each) and passes the
/// answers in the same order to [`Inspection::judge`].
pub struct Inspection<'a> {
    host: &'a Host,
    desired: &'a Desired,
    questions: Vec<sources::Question>,
    bound: Vec<bound::Question>,
    trials: Vec<(&'a Rule, Flow)>,
    notes: Vec<String>,
}

impl<'a> Inspection<'a> {
    /// Prepares the questions. Unlike other hosts, `host` must also hold the routes of table
    /// `local`, because one of them may decide about a packet.
    pub fn new(desired: &'a Desired, host: &'a Host) -> Self {
        let (mut trials, mut notes) = (Vec::new(), Vec::new());
        for rule in trials::rules(desired, host) {
            match trials::packet(host, desired, rule) {
                Ok(flow) => trials.push((rule, flow)),
                Err(why) => notes.push(format!(
                    "not tested, because {why}: ip {} rule {rule}",
                    rule.family
                )),
            }
        }
        Self {
            host,
            desired,
            questions: sources::questions(host, desired),
            bound: bound::questions(desired),
            trials,
            notes,
        }
    }

    /// The packets to ask the kernel about, in the order in which [`Self::judge`] expects the
    /// answers.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        let sources = self.questions.iter().map(|question| &question.flow);
        let bound = self.bound.iter().map(|question| &question.flow);
        let trials = self.trials.iter().map(|(_, flow)| flow);
        sources.chain(bound).chain(trials)
    }

    /// The verdict. If there are fewer answers than questions, the verdict does not count the
    /// questions without one.
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
        for (question, answer) in self.bound.iter().zip(answers.by_ref()) {
            question.judge(host, desired, answer, &mut verdict);
        }
        for ((rule, flow), answer) in self.trials.iter().zip(answers) {
            trials::judge(host, desired, rule, flow, answer, &mut verdict);
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
