//! Questions from the addresses of ENIs: a packet leaves by the ENI that owns its source,
//! except where main sends its destination by no ENI.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Misrouted, PolicyVerdict, decided, far, refuses, stays, stranger};
use crate::{
    desired::{Desired, Eni},
    explain::best,
    model::{Family, Flow, Host, IfIndex, RouteKind, RouteLookup, TableId, link_local},
};

/// How many destinations of main's beyond the ENIs are asked for in each family.
const ELSEWHERE: usize = 8;

/// What one probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The gateway.
    Gateway,
    /// A neighbour on the ENI's subnet.
    OnLink,
    /// A destination behind the default route.
    Far,
    /// A destination that main sends by no ENI: a container, a VPN.
    Elsewhere,
}

/// One question, and the right answer to it.
pub(super) struct Question {
    pub flow: Flow,
    source: IpAddr,
    owner: String,
    probe: Probe,
    wanted: IfIndex,
    served_by_main: bool,
}

/// All questions. What main sends elsewhere is asked for the first address of each ENI only:
/// rules that would take it go by prefixes.
pub(super) fn questions(host: &Host, desired: &Desired) -> Vec<Question> {
    let mut questions = Vec::new();
    for eni in &desired.enis {
        let ask = |source, (probe, to, wanted)| Question {
            flow: Flow::to(to).from(source),
            source,
            owner: eni.name.clone(),
            probe,
            wanted,
            served_by_main: !eni.has_source_rules && !desired.rules.is_empty(),
        };
        for family in Family::BOTH {
            let elsewhere = elsewhere(host, desired, family);
            let sources = sources(eni, desired);
            let of_family = sources.into_iter().filter(|ip| Family::of(*ip) == family);
            for (n, source) in of_family.enumerate() {
                let near = destinations(host, eni, family);
                let near = near.into_iter().map(|(probe, to)| (probe, to, eni.index));
                let beyond = elsewhere.iter().filter(|_| n == 0);
                let beyond = beyond.map(|(to, by)| (Probe::Elsewhere, *to, *by));
                questions.extend(near.chain(beyond).map(|what| ask(source, what)));
            }
        }
    }
    questions
}

impl Question {
    /// Puts what is wrong with an answer into the verdict.
    pub(super) fn judge(
        &self,
        host: &Host,
        desired: &Desired,
        answer: &RouteLookup,
        verdict: &mut PolicyVerdict,
    ) {
        if answer.leaves_by() == Some(self.wanted) || stays(host, self.flow.to, answer) {
            return;
        }
        let by = answer.leaves_by();
        let decision = decided(host, desired, &self.flow);
        if let Some(rule) = &decision.winner.rule
            && decision.winner.rule_is_ours
        {
            match &decision.route {
                // What the configuration refuses is as it should be.
                None if by.is_none() && refuses(rule) => {
                    verdict.refused += 1;
                    return;
                }
                // So is what main says of destinations by no ENI, a refusal included.
                Some(route) if rule.suppress_group.is_some() => {
                    let out = route.hops.iter().any(|hop| Some(hop.out) == by);
                    if out || (route.kind.refuses() && by.is_none()) {
                        return;
                    }
                }
                _ => {}
            }
        }
        verdict.misrouted.push(Misrouted {
            source: self.source,
            owner: self.owner.clone(),
            probe: self.probe,
            to: self.flow.to,
            wanted: host.name(self.wanted),
            by: by.map(|index| host.name(index)),
            served_by_main: self.served_by_main,
            winner: decision.winner,
        });
    }
}

/// Addresses to ask for: those configured on the ENI. A delegated address need not be
/// configured anywhere, and the kernel refuses to look up such a source. An address that
/// another ENI has too belongs to nobody.
fn sources(eni: &Eni, desired: &Desired) -> Vec<IpAddr> {
    eni.addresses
        .iter()
        .map(|address| address.ip())
        .filter(|ip| {
            let shared =
                |other: &Eni| other.index != eni.index && other.owned.contains(&IpNet::from(*ip));
            !link_local(*ip) && !desired.enis.iter().any(shared)
        })
        .collect()
}

fn destinations(host: &Host, eni: &Eni, family: Family) -> Vec<(Probe, IpAddr)> {
    let mut destinations = Vec::new();
    if let Some(gateway) = eni.gateway(family) {
        // A link-local gateway needs its interface named: nothing to decide for rules.
        if !link_local(gateway.address) {
            destinations.push((Probe::Gateway, gateway.address));
        }
        destinations.push((Probe::Far, far(family)));
    }
    for net in eni.on_link(family) {
        let gateway = eni.gateway(family).map(|gateway| gateway.address);
        let neighbour = stranger(host, net, gateway);
        destinations.extend(neighbour.map(|neighbour| (Probe::OnLink, neighbour)));
    }
    destinations
}

/// Destinations that main sends by no ENI, and the interface it sends them by.
fn elsewhere(host: &Host, desired: &Desired, family: Family) -> Vec<(IpAddr, IfIndex)> {
    let eni = |index: IfIndex| desired.enis.iter().any(|eni| eni.index == index);
    // Without a carrier (a bridge with no container) the kernel may pass its routes over.
    let works = |index: IfIndex| host.links.get(&index).is_some_and(|link| link.carrier);
    let mut found = Vec::new();
    for route in host.routes.iter().filter(|route| {
        route.table == TableId::MAIN
            && route.family() == family
            && route.kind == RouteKind::Unicast
            && !route.is_default()
            && !link_local(route.destination.addr())
    }) {
        let [hop] = route.hops.as_slice() else {
            continue;
        };
        let to = stranger(host, route.destination, None);
        // Not where a longer prefix of main decides.
        let to = to.filter(|to| best(host, TableId::MAIN, *to) == Some(route));
        if let Some(to) = to
            && !eni(hop.out)
            && works(hop.out)
        {
            found.push((to, hop.out));
        }
    }
    found.truncate(ELSEWHERE);
    found
}
