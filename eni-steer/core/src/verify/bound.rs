//! Questions about sockets that are bound to an ENI: they must reach the ENI's gateway.

use std::net::IpAddr;

use super::{
    packets::{decide, far, refuses},
    verdict::{PolicyVerdict, Unbound},
};
use crate::{
    desired::Desired,
    model::{Family, Flow, Host, IfIndex, RouteLookup},
};

/// One question, and the right answer to it.
pub(super) struct Question {
    pub(super) flow: Flow,
    eni: IfIndex,
    gateway: IpAddr,
}

/// One question for each ENI and family that has a rule for such sockets.
pub(super) fn questions(desired: &Desired) -> Vec<Question> {
    let mut questions = Vec::new();
    for eni in &desired.enis {
        for family in Family::BOTH {
            let mut rules = desired.rules.iter();
            let has_rule =
                rules.any(|rule| rule.family == family && rule.oif.as_deref() == Some(&eni.name));
            if let Some(gateway) = eni.gateway(family)
                && has_rule
                && eni.up
            {
                questions.push(Question {
                    flow: Flow {
                        oif: Some(eni.index),
                        ..Flow::to(far(family))
                    },
                    eni: eni.index,
                    gateway: gateway.address,
                });
            }
        }
    }
    questions
}

impl Question {
    /// Compares the kernel's answer with the right one, and adds a difference to the verdict.
    pub(super) fn judge(
        &self,
        host: &Host,
        desired: &Desired,
        answer: &RouteLookup,
        verdict: &mut PolicyVerdict,
    ) {
        let (by, gateway) = match answer {
            RouteLookup::Leaves { by, gateway, .. } => (Some(*by), *gateway),
            RouteLookup::Refused { .. } => (None, None),
        };
        if by == Some(self.eni) && gateway == Some(self.gateway) {
            return;
        }
        let winner = decide(host, desired, &self.flow).winner;
        let as_configured = winner.rule.as_ref().is_some_and(refuses) && winner.rule_is_ours;
        if as_configured {
            verdict.refused += 1;
            return;
        }
        verdict.unbound.push(Unbound {
            eni: host.name(self.eni),
            to: self.flow.to,
            wanted: self.gateway,
            by: by.map(|index| host.name(index)),
            gateway,
        });
    }
}
