//! Which interfaces are managed ENIs, and what is known of each.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Refusal, balance, gateway, gateway::Gateway};
use crate::{
    model::{Address, Family, IfIndex, Link, Mac, Mode, TableId, covers, host},
    observe::Observed,
    policy::{Discover, EniPolicy, Missing, Policy, PrimaryPolicy, Selector},
};

/// An interface under management.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// Interface index.
    pub index: IfIndex,
    /// Name.
    pub name: String,
    /// MAC address.
    pub mac: Mac,
    /// MTU.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The primary: main's best default route leaves by it.
    pub primary: bool,
    /// Whether its sources get rules of their own.
    pub ruled: bool,
    /// Its table.
    pub table: TableId,
    /// Its mode.
    pub mode: Mode,
    /// Addresses configured on it, with their on-link prefixes.
    pub addresses: Vec<Address>,
    /// Addresses and prefixes it owns: the configured ones and those the policy adds.
    pub owned: BTreeSet<IpNet>,
    /// Its gateways, at most one of each family.
    pub gateways: Vec<Gateway>,
    /// Metric of a default route through it in main, if it is to have one of ours.
    pub default_metric: Option<u32>,
}

impl Eni {
    /// On-link prefixes of a family.
    pub fn on_link(&self, family: Family) -> BTreeSet<IpNet> {
        self.addresses
            .iter()
            .filter(|address| {
                let net = address.net;
                address.family() == family
                    && !address.no_prefix_route
                    && net.prefix_len() < net.max_prefix_len()
            })
            .map(|address| address.net.trunc())
            .collect()
    }

    /// Its gateway of a family.
    pub fn gateway(&self, family: Family) -> Option<&Gateway> {
        self.gateways
            .iter()
            .find(|gateway| Family::of(gateway.address) == family)
    }

    /// Whether it owns anything of a family.
    pub fn has(&self, family: Family) -> bool {
        self.owned.iter().any(|net| Family::of_net(*net) == family)
    }
}

/// The ENIs of the policy, and those that are found where the policy wants that: every up,
/// non-virtual, non-loopback Ethernet interface with a global address and a gateway.
pub(super) fn select(seen: &Observed, policy: &Policy) -> Result<Vec<Eni>, Refusal> {
    let mut chosen: Vec<(&Link, EniPolicy)> = Vec::new();
    let named = || policy.enis.iter().filter(|wanted| wanted.managed);
    if named().next().is_none() || policy.discover == Discover::Always {
        let spoken_of: BTreeSet<IfIndex> = policy
            .enis
            .iter()
            .filter_map(|wanted| Some(find(seen, &wanted.select)?.index))
            .collect();
        for link in seen
            .links
            .values()
            .filter(|link| !spoken_of.contains(&link.index) && found(seen, policy, link))
        {
            chosen.push((link, EniPolicy::new(Selector::Name(link.name.clone()))));
        }
        if chosen.is_empty() && named().next().is_none() && policy.missing == Missing::Refuse {
            return Err(Refusal::NothingFound);
        }
    }
    for wanted in named() {
        let Some(link) = find(seen, &wanted.select) else {
            if policy.missing == Missing::Skip {
                continue;
            }
            return Err(Refusal::UnknownInterface {
                name: wanted.select.to_string(),
                known: seen.links.values().map(|link| link.name.clone()).collect(),
            });
        };
        if chosen.iter().any(|(other, _)| other.index == link.index) {
            return Err(Refusal::SelectedTwice {
                eni: link.name.clone(),
            });
        }
        if usable(seen, policy, link)? {
            chosen.push((link, wanted.clone()));
        }
    }
    chosen.sort_by_key(|(link, _)| link.index);
    let primary = primary(seen, policy, &chosen);
    let tables = tables(policy, &chosen)?;
    let mut enis = Vec::new();
    for ((link, wanted), table) in chosen.iter().zip(tables) {
        let Some(mac) = link.mac else { continue };
        let addresses: Vec<Address> = seen.usable_addresses(link.index).cloned().collect();
        let mut owned: BTreeSet<IpNet> =
            addresses.iter().map(|address| host(address.ip())).collect();
        owned.extend(wanted.addresses.iter().copied().map(host));
        owned.extend(wanted.prefixes.iter().map(IpNet::trunc));
        let is_primary = primary == Some(link.index);
        enis.push(Eni {
            index: link.index,
            name: link.name.clone(),
            mac,
            mtu: link.mtu,
            up: link.up,
            primary: is_primary,
            ruled: !is_primary || policy.primary == PrimaryPolicy::Full,
            table,
            mode: wanted.mode.unwrap_or(policy.mode),
            addresses,
            owned,
            gateways: Vec::new(),
            default_metric: wanted.default_metric,
        });
    }
    gateway::find_all(seen, policy, &chosen, &mut enis);
    for eni in &enis {
        for family in Family::BOTH {
            if eni.has(family) && eni.gateway(family).is_none() && policy.missing == Missing::Refuse
            {
                return Err(Refusal::NoGateway {
                    eni: eni.name.clone(),
                    family,
                });
            }
        }
    }
    Ok(enis)
}

/// Whether an interface is an ENI by itself, with nobody naming it.
fn found(seen: &Observed, policy: &Policy, link: &Link) -> bool {
    link.up
        && !link.loopback
        && link.mac.is_some()
        && link.kind.is_none()
        && link.master.is_none()
        && seen.usable_addresses(link.index).next().is_some()
        && (gateway::known_without_policy(seen, policy, link.index)
            || policy.missing == Missing::Skip)
}

/// The managed ENI a selector of a rule or a weight speaks of.
pub(super) fn by_selector<'a>(
    seen: &Observed,
    enis: &'a [Eni],
    selector: &Selector,
) -> Option<&'a Eni> {
    let index = find(seen, selector)?.index;
    enis.iter().find(|eni| eni.index == index)
}

fn find<'a>(seen: &'a Observed, selector: &Selector) -> Option<&'a Link> {
    match selector {
        Selector::Name(name) => seen.link_named(name),
        Selector::Mac(mac) => seen
            .links
            .values()
            .find(|l| l.mac == Some(*mac) && l.master.is_none()),
    }
}

fn usable(seen: &Observed, policy: &Policy, link: &Link) -> Result<bool, Refusal> {
    let eni = link.name.clone();
    if link.mac.is_none() || link.loopback {
        return Err(Refusal::NotEthernet { eni });
    }
    let refusal = if !link.up {
        Refusal::Down { eni }
    } else if seen.usable_addresses(link.index).next().is_none() {
        Refusal::NoAddress { eni }
    } else {
        return Ok(true);
    };
    match policy.missing {
        Missing::Refuse => Err(refusal),
        // A daemon keeps what it can: the ENI stays known, without routes while it is down.
        Missing::Skip => Ok(true),
    }
}

/// The ENI that carries main's best default route; IPv4 speaks first.
fn primary(seen: &Observed, policy: &Policy, chosen: &[(&Link, EniPolicy)]) -> Option<IfIndex> {
    Family::BOTH.into_iter().find_map(|family| {
        seen.routes
            .iter()
            .filter(|route| {
                route.table == TableId::MAIN
                    && route.is_default()
                    && route.family() == family
                    && !policy.ownership.route(route)
            })
            .min_by_key(|route| route.metric)
            .and_then(|route| route.hops.first())
            .map(|hop| hop.out)
            .filter(|out| chosen.iter().any(|(link, _)| link.index == *out))
    })
}

/// Table numbers: those of the policy; else base plus the number at the end of the name
/// (eth1: 1, ens6: 6), which does not change when another ENI comes or goes; else, where
/// that is taken, the first free one from base plus 500 plus interface index.
fn tables(policy: &Policy, chosen: &[(&Link, EniPolicy)]) -> Result<Vec<TableId>, Refusal> {
    let base = policy.table_base.0;
    let balance = policy.balance.as_ref();
    let mut taken: BTreeSet<TableId> = balance
        .map(|balance| balance::table(policy, balance))
        .into_iter()
        .collect();
    for (link, wanted) in chosen {
        if let Some(table) = wanted.table
            && !taken.insert(table)
        {
            return Err(Refusal::TableTwice {
                eni: link.name.clone(),
                table,
            });
        }
    }
    Ok(chosen
        .iter()
        .map(|(link, wanted)| {
            wanted.table.unwrap_or_else(|| {
                let by_name = trailing_number(&link.name)
                    .filter(|number| *number < 500)
                    .map(|number| TableId(base.wrapping_add(number)));
                let others = (500 + link.index.get()..).map(|n| TableId(base.wrapping_add(n)));
                let table = by_name
                    .into_iter()
                    .chain(others)
                    .find(|table| !taken.contains(table))
                    .unwrap_or(policy.table_base);
                taken.insert(table);
                table
            })
        })
        .collect())
}

fn trailing_number(name: &str) -> Option<u32> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().ok()
}

/// Whether two ENIs share an on-link prefix.
pub(super) fn share_subnet(enis: &[Eni]) -> bool {
    enis.iter().enumerate().any(|(i, one)| {
        enis[i + 1..].iter().any(|other| {
            one.on_link(Family::V4).iter().any(|a| {
                other
                    .on_link(Family::V4)
                    .iter()
                    .any(|b| covers(*a, *b) || covers(*b, *a))
            })
        })
    })
}
