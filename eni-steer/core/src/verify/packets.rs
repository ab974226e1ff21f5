//! What the questions about sources and the trials of rules share: destinations to ask about, and
//! the rule behind an answer of the kernel.

use std::net::IpAddr;

use ipnet::IpNet;

use super::verdict::Winner;
pub(super) use crate::explain::far;
use crate::{
    desired::Desired,
    explain::{Outcome, Visit, best, decision, trace_rules},
    known_tools::probable_owner,
    model::{Flow, Host, Route, RouteKind, RouteLookup, Rule, RuleAction, TableId},
};

/// The rule that decides about a packet, and its route; `None` for the route: the rule itself
/// refuses the packet.
pub(super) struct Decision {
    pub(super) winner: Winner,
    pub(super) route: Option<Route>,
}

/// Finds the rule that decides about a packet. If eni-steer's own evaluation finds none, the rule
/// that it could not evaluate is the most likely one.
pub(super) fn decide(host: &Host, desired: &Desired, flow: &Flow) -> Decision {
    let visits = trace_rules(host, flow);
    let (rule, route) = match decision(&visits) {
        Some((rule, route)) => (Some(rule.clone()), route.cloned()),
        None => {
            let is_unknown = |visit: &&Visit| matches!(visit.outcome, Outcome::CannotTell { .. });
            let unknown = visits.iter().find(is_unknown);
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

/// Whether a rule itself refuses the packets that it matches.
pub(super) fn refuses(rule: &Rule) -> bool {
    matches!(
        rule.action,
        RuleAction::Prohibit | RuleAction::Unreachable | RuleAction::Blackhole
    )
}

/// An address in a prefix that another host can have: not one of this host's, not the network
/// address, and not `except`. It looks at the first 64 addresses only.
pub(super) fn other_host(host: &Host, net: IpNet, except: Option<IpAddr>) -> Option<IpAddr> {
    let is_own = |candidate: &IpAddr| {
        let mut own = host.addresses.iter();
        own.any(|address| address.ip() == *candidate)
    };
    let is_network =
        |candidate: &IpAddr| net.prefix_len() < net.max_prefix_len() && *candidate == net.network();
    net.hosts().take(64).find(|candidate| {
        !is_own(candidate) && !is_network(candidate) && Some(*candidate) != except
    })
}

/// Whether the kernel delivers the packet to this host (table `local`), so that it leaves by no
/// interface.
pub(super) fn stays_here(host: &Host, to: IpAddr, answer: &RouteLookup) -> bool {
    let is_local = matches!(
        answer,
        RouteLookup::Leaves {
            kind: RouteKind::Local,
            ..
        }
    );
    is_local && best(host, TableId::LOCAL, to).is_some()
}
