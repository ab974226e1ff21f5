//! Is the policy there? Observe again, plan again: nothing may be left. Then the kernel is
//! asked where a packet from each owned address would go, and where it answers otherwise,
//! the rule that won is named.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    desired::{Desired, Eni},
    explain::{Flow, Outcome, decision, walk},
    model::{Family, IfIndex, RouteKind, Rule, link_local},
    neighbours::probable_owner,
    netlink::{Answer, Netlink, NetlinkError, Question},
    observe::Observed,
    plan::{Plan, line},
};

/// Far destinations for probes: addresses for documentation (RFC 5737, RFC 9637) that no
/// host's table names on purpose, so that they follow the default route.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 113)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x3fff, 0xfff, 0, 0, 0, 0, 0, 113)),
];

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
}

/// A source whose packets would leave by another way than its owner.
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
    /// Where the packet would leave; `None`: refused.
    pub by: Option<String>,
    /// The rule that decides.
    pub rule: Option<Rule>,
    /// Whether that rule is ours.
    pub rule_is_ours: bool,
    /// The tool it most likely belongs to.
    pub rule_owner: Option<&'static str>,
}

/// The answer to "is the policy there?".
#[derive(Clone, Debug, Default, Serialize)]
pub struct PolicyVerdict {
    /// What is missing or too much, as plan lines.
    pub drift: Vec<String>,
    /// Sources that would go astray.
    pub misrouted: Vec<Misrouted>,
    /// How many questions the kernel was asked.
    pub probes: usize,
}

impl PolicyVerdict {
    /// Everything is in place and every probe left by its owner.
    pub fn holds(&self) -> bool {
        self.drift.is_empty() && self.misrouted.is_empty()
    }
}

/// Judges the host as it was observed.
pub async fn policy(
    netlink: &Netlink,
    desired: &Desired,
    seen: &Observed,
) -> Result<PolicyVerdict, NetlinkError> {
    let plan = Plan::between(desired, seen);
    let mut verdict = PolicyVerdict {
        drift: plan.steps.iter().map(|step| line(step, seen)).collect(),
        ..PolicyVerdict::default()
    };
    for eni in &desired.enis {
        for source in sources(eni, desired) {
            for (probe, to) in destinations(seen, eni, source) {
                verdict.probes += 1;
                let question = Question {
                    to,
                    from: Some(source),
                    mark: 0,
                    iif: None,
                };
                let answer = netlink.lookup(&question).await?;
                if let Some(by) = wrong_way(&answer, eni.index) {
                    verdict
                        .misrouted
                        .push(misrouted(desired, seen, eni, (source, probe, to), by));
                }
            }
        }
    }
    Ok(verdict)
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

fn destinations(seen: &Observed, eni: &Eni, source: IpAddr) -> Vec<(Probe, IpAddr)> {
    let family = Family::of(source);
    let mut destinations = Vec::new();
    if let Some(gateway) = eni.gateway(family) {
        // A link-local gateway needs its interface named: nothing to decide for rules.
        if !link_local(gateway.address) {
            destinations.push((Probe::Gateway, gateway.address));
        }
        destinations.extend(
            FAR.into_iter()
                .filter(|far| Family::of(*far) == family)
                .map(|far| (Probe::Far, far)),
        );
    }
    for net in eni.on_link(family) {
        let neighbour = net.hosts().take(64).find(|candidate| {
            let ours = seen
                .addresses
                .iter()
                .any(|address| address.ip() == *candidate);
            let gateway = eni.gateway(family).is_some_and(|g| g.address == *candidate);
            !ours && !gateway && *candidate != net.network()
        });
        destinations.extend(neighbour.map(|neighbour| (Probe::OnLink, neighbour)));
    }
    destinations
}

/// `None`: the way is right. `Some(None)`: refused.
fn wrong_way(answer: &Answer, owner: IfIndex) -> Option<Option<IfIndex>> {
    match answer {
        Answer::Leaves { by, .. } if *by == owner => None,
        // The destination is an address of this host: nothing leaves at all.
        Answer::Leaves {
            kind: RouteKind::Local,
            ..
        } => None,
        Answer::Leaves { by, .. } => Some(Some(*by)),
        Answer::Refused { .. } => Some(None),
    }
}

fn misrouted(
    desired: &Desired,
    seen: &Observed,
    eni: &Eni,
    (source, probe, to): (IpAddr, Probe, IpAddr),
    by: Option<IfIndex>,
) -> Misrouted {
    let visits = walk(
        seen,
        &Flow {
            from: source,
            to,
            mark: 0,
        },
    );
    let rule = decision(&visits).map(|(rule, _)| rule.clone()).or_else(|| {
        visits
            .iter()
            .find(|visit| matches!(visit.outcome, Outcome::Unknown))
            .map(|visit| visit.rule.clone())
    });
    let ours = rule
        .as_ref()
        .is_some_and(|rule| desired.ownership.rule(rule));
    Misrouted {
        source,
        owner: eni.name.clone(),
        probe,
        to,
        by: by.map(|index| seen.name(index)),
        rule_owner: rule.as_ref().filter(|_| !ours).and_then(probable_owner),
        rule,
        rule_is_ours: ours,
    }
}
