//! Which interfaces are managed ENIs, and what is known of each.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Absence, Context, PolicyError, balance, checks, gateway, gateway::Gateway, routes};
use crate::{
    model::{Address, Family, IfIndex, Link, Mac, Mode, TableId, covers, host_prefix},
    policy::{Discover, EniPolicy, PrimaryPolicy, Selector},
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
    pub has_source_rules: bool,
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
        on_link(&self.addresses, family)
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

/// The prefixes of a family that addresses put on the link.
pub(super) fn on_link<'a>(
    addresses: impl IntoIterator<Item = &'a Address>,
    family: Family,
) -> BTreeSet<IpNet> {
    let mut nets: Vec<IpNet> = addresses
        .into_iter()
        .filter(|address| {
            let net = address.net;
            address.family() == family
                && !address.no_prefix_route
                && net.prefix_len() < net.max_prefix_len()
        })
        .map(|address| address.net.trunc())
        .collect();
    // Most of an interface's addresses are of one prefix.
    nets.dedup();
    nets.into_iter().collect()
}

/// The ENIs of the policy, and those that are found where the policy wants that: every up,
/// non-virtual, non-loopback Ethernet interface with a global address and a gateway.
pub(super) fn select(cx: &Context<'_>) -> Result<Vec<Eni>, PolicyError> {
    let mut chosen: Vec<(&Link, EniPolicy)> = Vec::new();
    let named = || cx.policy.enis.iter().filter(|wanted| wanted.managed);
    if named().next().is_none() || cx.policy.discover == Discover::Always {
        let named_links: BTreeSet<IfIndex> = cx
            .policy
            .enis
            .iter()
            .filter_map(|wanted| Some(find(cx, &wanted.select)?.index))
            .collect();
        for link in discover(cx, &named_links) {
            chosen.push((link, EniPolicy::new(Selector::Name(link.name.clone()))));
        }
        if chosen.is_empty() && named().next().is_none() && cx.absence == Absence::Error {
            return Err(PolicyError::NothingFound);
        }
    }
    for wanted in named() {
        let Some(link) = find(cx, &wanted.select) else {
            if cx.absence == Absence::Wait {
                continue;
            }
            return Err(PolicyError::UnknownInterface {
                name: wanted.select.to_string(),
                known: cx
                    .host
                    .links
                    .values()
                    .map(|link| link.name.clone())
                    .collect(),
            });
        };
        if chosen.iter().any(|(other, _)| other.index == link.index) {
            return Err(PolicyError::SelectedTwice {
                eni: link.name.clone(),
            });
        }
        if usable(cx, link)? {
            chosen.push((link, wanted.clone()));
        }
    }
    chosen.sort_by_key(|(link, _)| link.index);
    let primary = primary(cx, &chosen);
    let tables = tables(cx, &chosen)?;
    let mut enis = Vec::new();
    for ((link, wanted), table) in chosen.iter().zip(tables) {
        let Some(mac) = link.mac else { continue };
        let addresses: Vec<Address> = cx.host.usable_addresses(link.index).cloned().collect();
        let mut owned: BTreeSet<IpNet> = addresses
            .iter()
            .map(|address| host_prefix(address.ip()))
            .collect();
        owned.extend(wanted.addresses.iter().copied().map(host_prefix));
        owned.extend(wanted.prefixes.iter().map(IpNet::trunc));
        let is_primary = primary == Some(link.index);
        enis.push(Eni {
            index: link.index,
            name: link.name.clone(),
            mac,
            mtu: link.mtu,
            up: link.up,
            primary: is_primary,
            has_source_rules: !is_primary || cx.policy.primary == PrimaryPolicy::Full,
            table,
            mode: wanted.mode.unwrap_or(cx.policy.mode),
            addresses,
            owned,
            gateways: Vec::new(),
            default_metric: wanted.default_metric,
        });
    }
    gateway::find_all(cx, &chosen, &mut enis);
    if cx.absence == Absence::Error {
        if cx.policy.rules {
            checks::check_default(cx, &enis)?;
        }
        checks::check_gateways(cx, &enis)?;
    }
    Ok(enis)
}

/// The interfaces that are ENIs by themselves, with nobody speaking of them: those with a
/// gateway, and those that share an on-link prefix with an ENI whose gateway serves it.
fn discover<'a>(cx: &'a Context<'a>, named_links: &BTreeSet<IfIndex>) -> Vec<&'a Link> {
    let known = |link: &&Link| gateway::known_without_policy(cx, link.index);
    let (with, without): (Vec<_>, Vec<_>) = candidates(cx)
        .filter(|link| !named_links.contains(&link.index))
        .partition(known);
    let nobodys = EniPolicy::new(Selector::Name(String::new()));
    let named = cx.policy.enis.iter().filter(|wanted| wanted.managed);
    let served: BTreeSet<IpNet> = named
        .filter_map(|wanted| Some((find(cx, &wanted.select)?.index, wanted)))
        .chain(with.iter().map(|link| (link.index, &nobodys)))
        .flat_map(|(index, wanted)| gateway::served(cx, index, wanted))
        .collect();
    let beside = without.into_iter().filter(|link| {
        let both = Family::BOTH.into_iter();
        let mut prefixes =
            both.flat_map(|family| on_link(cx.host.usable_addresses(link.index), family));
        prefixes.any(|net| served.contains(&net))
    });
    let beside: Vec<_> = beside.collect();
    with.into_iter().chain(beside).collect()
}

/// Interfaces that look like ENIs, whether or not a gateway is known. A daemon keeps one that
/// went down: its counters go on, and it comes back.
fn candidates<'a>(cx: &Context<'a>) -> impl Iterator<Item = &'a Link> + use<'a> {
    let cx = *cx;
    // Without programs, what they were told is about to go, and says nothing next time.
    let kept = cx.absence == Absence::Wait && cx.policy.programs;
    cx.host.links.values().filter(move |link| {
        (link.up || kept && gateway::is_programmed(&cx, link.index))
            && link.is_ethernet()
            && link.kind.is_none()
            && link.master.is_none()
            && cx.host.usable_addresses(link.index).next().is_some()
    })
}

/// Interfaces that look like ENIs and are none, because no gateway is known, where the policy
/// names none itself.
pub(super) fn left_out<'a>(cx: &Context<'a>, enis: &[Eni]) -> Vec<&'a str> {
    if cx.policy.enis.iter().any(|wanted| wanted.managed) && cx.policy.discover != Discover::Always
    {
        return Vec::new();
    }
    let named_links = |link: &Link| {
        let mut all = cx.policy.enis.iter();
        all.any(|wanted| find(cx, &wanted.select).is_some_and(|named| named.index == link.index))
    };
    candidates(cx)
        .filter(|link| !named_links(link) && enis.iter().all(|eni| eni.index != link.index))
        .map(|link| link.name.as_str())
        .collect()
}

/// The managed ENI a selector of a rule or a weight speaks of.
pub(super) fn by_selector<'a>(
    cx: &Context<'_>,
    enis: &'a [Eni],
    selector: &Selector,
) -> Option<&'a Eni> {
    let index = find(cx, selector)?.index;
    enis.iter().find(|eni| eni.index == index)
}

fn find<'a>(cx: &'a Context<'a>, selector: &Selector) -> Option<&'a Link> {
    match selector {
        Selector::Name(name) => cx.host.link_named(name),
        Selector::Mac(mac) => cx
            .host
            .links
            .values()
            .filter(|link| link.mac == Some(*mac) && link.master.is_none())
            // A VLAN or a bridge has the address of the interface it stands on.
            .min_by_key(|link| link.kind.is_some()),
    }
}

fn usable(cx: &Context<'_>, link: &Link) -> Result<bool, PolicyError> {
    let eni = link.name.clone();
    if !link.is_ethernet() {
        return Err(PolicyError::NotEthernet { eni });
    }
    if let Some(master) = link.master {
        return Err(PolicyError::Enslaved {
            eni,
            master: cx.host.name(master),
        });
    }
    let refusal = if !link.up {
        PolicyError::Down { eni }
    } else if cx.host.usable_addresses(link.index).next().is_none() {
        PolicyError::NoAddress { eni }
    } else {
        return Ok(true);
    };
    match cx.absence {
        Absence::Error => Err(refusal),
        // A daemon keeps what it can: the ENI stays known, without routes while it is down.
        Absence::Wait => Ok(true),
    }
}

/// The ENI that carries main's best default route; IPv4 speaks first.
fn primary(cx: &Context<'_>, chosen: &[(&Link, EniPolicy)]) -> Option<IfIndex> {
    Family::BOTH.into_iter().find_map(|family| {
        routes::defaults_of_main(cx, family)
            .min_by_key(|route| route.metric)
            .and_then(|route| route.hops.first())
            .map(|hop| hop.out)
            .filter(|out| chosen.iter().any(|(link, _)| link.index == *out))
    })
}

/// Table numbers: those of the policy; else base plus the number at the end of the name
/// (eth1: 1, ens6: 6), which does not change when another ENI comes or goes; else, where
/// that is taken, the first free one from base plus 500 plus interface index.
fn tables(cx: &Context<'_>, chosen: &[(&Link, EniPolicy)]) -> Result<Vec<TableId>, PolicyError> {
    let base = cx.policy.table_base.0;
    let balance = cx.policy.balance.as_ref();
    let mut taken: BTreeSet<TableId> = balance
        .map(|balance| balance::table(cx, balance))
        .into_iter()
        .collect();
    for (link, wanted) in chosen {
        if let Some(table) = wanted.table
            && !taken.insert(table)
        {
            return Err(PolicyError::TableTwice {
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
                    .unwrap_or(cx.policy.table_base);
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
    let nets: Vec<BTreeSet<IpNet>> = enis.iter().map(|eni| eni.on_link(Family::V4)).collect();
    nets.iter().enumerate().any(|(i, one)| {
        let mut others = nets[i + 1..].iter().flatten();
        others.any(|b| one.iter().any(|a| covers(*a, *b) || covers(*b, *a)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Host;
    use crate::policy::Policy;
    use crate::{desired::Desired, fake::fake_host};

    fn found(seen: &Host, policy: &Policy, absence: Absence) -> (Vec<String>, Vec<String>) {
        let desired = Desired::for_host(seen, policy, absence, 1).unwrap_or_else(|e| panic!("{e}"));
        let left_out = desired.left_out(seen, policy, absence);
        let left_out = left_out.into_iter().map(str::to_owned).collect();
        let names = desired.enis.into_iter().map(|eni| eni.name).collect();
        (names, left_out)
    }

    /// Two ENIs on one subnet, of which only the first has a default route; a third network.
    fn cloud_host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .eni(4, "eth2", &["10.9.0.4/24"])
            .route("default via 172.16.20.253 dev eth0")
    }

    #[test]
    fn an_interface_on_the_subnet_of_an_eni_is_found_and_one_without_a_gateway_is_reported() {
        let (enis, left_out) = found(&cloud_host(), &Policy::default(), Absence::Error);
        assert_eq!(enis, ["eth0", "eth1"]);
        assert_eq!(left_out, ["eth2"]);
    }

    #[test]
    fn an_eni_that_was_found_stays_one_for_a_daemon_while_its_link_is_down() {
        let seen = cloud_host();
        let policy = Policy::default();
        let desired =
            Desired::for_host(&seen, &policy, Absence::Error, 1).unwrap_or_else(|e| panic!("{e}"));
        let mut later = seen.down("eth1");
        later.datapath.enis = desired.datapath.expect("programs are wanted").enis;
        assert_eq!(found(&later, &policy, Absence::Wait).0, ["eth0", "eth1"]);
    }

    #[test]
    fn a_mac_address_names_the_interface_and_not_the_vlan_above_it() {
        let mut seen = fake_host()
            .virtual_link(2, "eth1.100", "vlan", &["10.8.0.4/24"])
            .eni(3, "eth1", &["172.16.20.177/24"]);
        let mac = seen.link_named("eth1").and_then(|link| link.mac);
        let mac = mac.expect("eth1 has one");
        seen.link_mut("eth1.100").mac = Some(mac);
        let cx = Context {
            host: &seen,
            policy: &Policy::default(),
            absence: Absence::Error,
        };
        let link = find(&cx, &Selector::Mac(mac)).expect("it is there");
        assert_eq!(link.name, "eth1");
    }
}
