//! Questions about packets from the ENIs' addresses. Such a packet must leave by the ENI that owns
//! its source, unless the main table sends its destination through an interface that is not an ENI.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    packets::{decide, far, other_host, refuses, stays_here},
    verdict::{Misrouted, PolicyVerdict, Probe},
};
use crate::{
    desired::{Desired, Eni, PolicyError},
    explain::best,
    model::{Family, Flow, Host, IfIndex, RouteKind, RouteLookup, TableId, link_local},
};

/// How many destinations beyond the ENIs (containers, VPNs) eni-steer asks about in each family.
const MAX_ELSEWHERE: usize = 8;

/// One question, and the right answer to it.
pub(super) struct Question {
    pub(super) flow: Flow,
    source: IpAddr,
    owner: String,
    probe: Probe,
    wanted: IfIndex,
    served_by_main: bool,
    /// Why eni-steer cannot lead the packet by its owner: it knows no gateway.
    unserved: Option<String>,
}

/// All questions. Destinations beyond the ENIs are asked about from the first address of each ENI
/// only, because a rule that takes such packets usually takes them from every address.
pub(super) fn questions(host: &Host, desired: &Desired) -> Vec<Question> {
    let mut questions = Vec::new();
    for eni in &desired.enis {
        let unserved = |family| {
            let is_about = |error: &&PolicyError| {
                matches!(error, PolicyError::NoGateway { eni: name, family: of }
                    if *name == eni.name && *of == family)
            };
            desired.unserved.iter().find(is_about)
        };
        let ask = |source, (probe, to, wanted)| Question {
            flow: Flow::to(to).from(source),
            source,
            owner: eni.name.clone(),
            probe,
            wanted,
            served_by_main: !eni.has_table(Family::of(to)) && !desired.rules.is_empty(),
            unserved: unserved(Family::of(to)).map(PolicyError::hint),
        };
        for family in Family::BOTH {
            let elsewhere = elsewhere(host, desired, family);
            let sources = sources(eni, desired)
                .into_iter()
                .filter(|ip| Family::of(*ip) == family);
            for (n, source) in sources.enumerate() {
                let lacks_gateway = unserved(family).map(|_| (Probe::Far, far(family)));
                let by_eni = destinations(host, eni, family)
                    .into_iter()
                    .chain(lacks_gateway)
                    .map(|(probe, to)| (probe, to, eni.index));
                let beyond = elsewhere
                    .iter()
                    .filter(|_| n == 0)
                    .map(|(to, by)| (Probe::Elsewhere, *to, *by));
                questions.extend(by_eni.chain(beyond).map(|what| ask(source, what)));
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
        if answer.leaves_by() == Some(self.wanted) || stays_here(host, self.flow.to, answer) {
            return;
        }
        let by = answer.leaves_by();
        let decision = decide(host, desired, &self.flow);
        if let Some(rule) = &decision.winner.rule
            && decision.winner.rule_is_ours
        {
            match &decision.route {
                // An access rule refuses the packet, as the configuration wants it.
                None if by.is_none() && refuses(rule) => {
                    verdict.refused += 1;
                    return;
                }
                // The first rule leaves a specific destination to the main table, which sends it
                // through another interface; and whatever main refuses.
                Some(route) if rule.suppress_group.is_some() => {
                    let as_main_says = route.hops.iter().any(|hop| Some(hop.out) == by);
                    let is_specific = !route.counts_as_default();
                    if (as_main_says && is_specific) || (route.kind.refuses() && by.is_none()) {
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
            unserved: self.unserved.clone(),
            winner: decision.winner,
        });
    }
}

/// The sources to ask about: the addresses configured on the ENI. An address of a delegated prefix
/// may not be configured on this host, and the kernel refuses to look up such a source. An address
/// that another ENI has too has no owner, so there is no right answer.
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

/// Destinations that packets of the ENI's addresses must reach through the ENI.
fn destinations(host: &Host, eni: &Eni, family: Family) -> Vec<(Probe, IpAddr)> {
    let mut destinations = Vec::new();
    if let Some(gateway) = eni.gateway(family) {
        // A packet to a link-local gateway names its interface, so no rule decides about it.
        if !link_local(gateway.address) {
            destinations.push((Probe::Gateway, gateway.address));
        }
        destinations.push((Probe::Far, far(family)));
    }
    for net in eni.on_link(family) {
        let gateway = eni.gateway(family).map(|gateway| gateway.address);
        let neighbour = other_host(host, net, gateway);
        destinations.extend(neighbour.map(|neighbour| (Probe::OnLink, neighbour)));
    }
    destinations
}

/// Destinations that the main table sends through an interface that is not an ENI, and that
/// interface.
fn elsewhere(host: &Host, desired: &Desired, family: Family) -> Vec<(IpAddr, IfIndex)> {
    let is_eni = |index: IfIndex| desired.enis.iter().any(|eni| eni.index == index);
    // The kernel may pass over the routes of an interface without a carrier, such as a bridge
    // without containers.
    let has_carrier = |index: IfIndex| host.links.get(&index).is_some_and(|link| link.carrier);
    let mut destinations = Vec::new();
    for route in host.routes.iter().filter(|route| {
        route.table == TableId::MAIN
            && route.family() == family
            && route.kind == RouteKind::Unicast
            && !route.counts_as_default()
            && !link_local(route.destination.addr())
    }) {
        let [hop] = route.hops.as_slice() else {
            continue;
        };
        // The search below looks through all routes, so it is only for the few that can count.
        if is_eni(hop.out) || !has_carrier(hop.out) {
            continue;
        }
        // Only if no longer prefix of the main table decides about the address.
        let to = other_host(host, route.destination, None)
            .filter(|to| best(host, TableId::MAIN, *to) == Some(route));
        destinations.extend(to.map(|to| (to, hop.out)));
        if destinations.len() == MAX_ELSEWHERE {
            break;
        }
    }
    destinations
}
