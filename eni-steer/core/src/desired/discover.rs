//! Which interfaces are managed ENIs, and what eni-steer knows about each.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    checks,
    context::{Absence, Context},
    elsewhere,
    eni::{Eni, on_link},
    error::PolicyError,
    gateway, primary, selector, tables,
};
use crate::{
    model::{Address, Family, IfIndex, Link, host_prefix},
    policy::{Discover, EniPolicy, Selector},
};

/// The managed ENIs: those that the policy names, and those that eni-steer discovers if the policy
/// names none or asks for discovery. `unserved` gets what is wrong with a single ENI.
pub(super) fn select(
    cx: &Context<'_>,
    unserved: &mut Vec<PolicyError>,
) -> Result<Vec<Eni>, PolicyError> {
    let mut chosen: Vec<(&Link, EniPolicy)> = Vec::new();
    let named = || cx.policy.enis.iter().filter(|wanted| wanted.managed);
    if named().next().is_none() || cx.policy.discover == Discover::Always {
        for link in discover(cx) {
            chosen.push((link, EniPolicy::new(Selector::Name(link.name.clone()))));
        }
        if chosen.is_empty() && named().next().is_none() && cx.absence == Absence::Error {
            return Err(PolicyError::NothingFound);
        }
    }
    for wanted in named() {
        let Some(link) = selector::link(cx, &wanted.select) else {
            let links = cx.host.links.values();
            let unknown = PolicyError::UnknownInterface {
                name: wanted.select.to_string(),
                known: links.map(|link| link.name.clone()).collect(),
            };
            cx.leave_out(unknown, unserved)?;
            continue;
        };
        if chosen.iter().any(|(other, _)| other.index == link.index) {
            return Err(PolicyError::SelectedTwice {
                eni: link.name.clone(),
            });
        }
        if !link.is_ethernet() {
            return Err(PolicyError::NotEthernet {
                eni: link.name.clone(),
            });
        }
        if let Some(master) = link.master {
            let enslaved = PolicyError::Enslaved {
                eni: link.name.clone(),
                master: cx.host.name(master),
            };
            cx.leave_out(enslaved, unserved)?;
            continue;
        }
        chosen.push((link, wanted.clone()));
    }
    chosen.sort_by_key(|(link, _)| link.index);
    let chosen = separate(cx, chosen, unserved)?;
    unserved.extend(chosen.iter().filter_map(|(link, _)| idle(cx, link)));
    let indexes: BTreeSet<IfIndex> = chosen.iter().map(|(link, _)| link.index).collect();
    let primary4 = primary::find(cx, Family::V4, &indexes, None);
    let primary6 = primary::find(cx, Family::V6, &indexes, primary4);
    let tables = tables::eni_tables(cx, &chosen)?;
    let elsewhere = elsewhere::unclaimed(cx, &indexes);
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
        let given = elsewhere.iter().filter(|one| one.eni == Some(link.index));
        owned.extend(given.map(|one| one.net));
        let ipv4 = primary::wanted(cx, Family::V4, link.index, primary4);
        let ipv6 = primary::wanted(cx, Family::V6, link.index, primary6);
        enis.push(Eni {
            index: link.index,
            name: link.name.clone(),
            mac,
            mtu: link.mtu,
            up: link.up,
            primary: ipv4.primary || ipv6.primary,
            ipv4,
            ipv6,
            table,
            mode: wanted.mode.unwrap_or(cx.policy.mode),
            addresses,
            on_link: Family::BOTH
                .into_iter()
                .flat_map(|family| on_link(cx.host, &cx.policy.ownership, link.index, family))
                .collect(),
            owned,
            gateways: Vec::new(),
            default_metric: wanted.default_metric,
        });
    }
    gateway::find_all(cx, &chosen, &mut enis);
    checks::gateways(cx, &mut enis, unserved)?;
    primary::settle(cx, &mut enis);
    Ok(enis)
}

/// The ENIs that eni-steer discovers: interfaces that look like ENIs (see [`candidates`]), that the
/// policy does not name, and for which a gateway is known. It is known in two ways:
///
/// - The interface itself has one, from a default route, a lease or an earlier `apply`.
/// - The interface shares an on-link prefix with another ENI, and that prefix contains the other
///   ENI's gateway.
///
/// For example, eth0 (172.16.20.176/24) has a default route via 172.16.20.253, eth1
/// (172.16.20.177/24) and eth2 (10.9.0.4/24) have none. eni-steer discovers eth0, and eth1 because
/// it shares eth0's subnet. It leaves eth2 out ([`left_out`]), and `status` says so.
fn discover<'a>(cx: &Context<'a>) -> Vec<&'a Link> {
    let named_links: BTreeSet<IfIndex> = cx
        .policy
        .enis
        .iter()
        .filter_map(|wanted| Some(selector::link(cx, &wanted.select)?.index))
        .collect();
    let knows_gateway = |link: &&Link| gateway::is_known_without_policy(cx, link.index);
    let (with_gateway, without): (Vec<_>, Vec<_>) = candidates(cx)
        .filter(|link| !named_links.contains(&link.index))
        .partition(knows_gateway);
    // The prefixes in which a gateway serves an ENI that is named or was just discovered.
    let unnamed = EniPolicy::new(Selector::Name(String::new()));
    let named = cx.policy.enis.iter().filter(|wanted| wanted.managed);
    let served: BTreeSet<IpNet> = named
        .filter_map(|wanted| Some((selector::link(cx, &wanted.select)?.index, wanted)))
        .chain(with_gateway.iter().map(|link| (link.index, &unnamed)))
        .flat_map(|(index, wanted)| gateway::served_prefixes(cx, index, wanted))
        .collect();
    let shares_gateway = |link: &&Link| {
        Family::BOTH
            .into_iter()
            .flat_map(|family| on_link(cx.host, &cx.policy.ownership, link.index, family))
            .any(|net| served.contains(&net))
    };
    let sharing: Vec<_> = without.into_iter().filter(shares_gateway).collect();
    with_gateway.into_iter().chain(sharing).collect()
}

/// Interfaces that look like ENIs, whether or not their gateway is known: physical Ethernet
/// interfaces that are up, belong to no bridge, bond or VRF, and have a usable address.
///
/// A daemon also keeps an ENI that went down, because its programs still count and it may come
/// back. It recognises such an ENI by the programs' maps, so only while the policy keeps the
/// programs.
fn candidates<'a>(cx: &Context<'a>) -> impl Iterator<Item = &'a Link> + use<'a> {
    let cx = *cx;
    let keeps_down = cx.absence == Absence::Wait && cx.policy.programs;
    cx.host.links.values().filter(move |link| {
        (link.up || keeps_down && gateway::is_programmed(&cx, link.index))
            && link.is_ethernet()
            && link.kind.is_none()
            && link.master.is_none()
            && cx.host.usable_addresses(link.index).next().is_some()
    })
}

/// Names of interfaces that look like ENIs but are not managed, because eni-steer knows no gateway
/// for them. Where the policy names the ENIs and asks for no discovery, there are none.
pub(super) fn left_out<'a>(cx: &Context<'a>, enis: &[Eni]) -> Vec<&'a str> {
    if cx.policy.enis.iter().any(|wanted| wanted.managed) && cx.policy.discover != Discover::Always
    {
        return Vec::new();
    }
    let is_named = |link: &Link| {
        let mut named = cx.policy.enis.iter();
        named.any(|wanted| {
            selector::link(cx, &wanted.select).is_some_and(|other| other.index == link.index)
        })
    };
    candidates(cx)
        .filter(|link| !is_named(link) && enis.iter().all(|eni| eni.index != link.index))
        .map(|link| link.name.as_str())
        .collect()
}

/// The chosen interfaces without those that are another chosen one in disguise:
///
/// - a macvlan or ipvlan on a chosen interface. Its packets pass the programs of both, and each
///   would redirect them to the other;
/// - a second interface with the same MAC address, such as a virtual function in Azure before it is
///   enslaved. The one with addresses is the ENI, else the older one.
fn separate<'a>(
    cx: &Context<'_>,
    chosen: Vec<(&'a Link, EniPolicy)>,
    unserved: &mut Vec<PolicyError>,
) -> Result<Vec<(&'a Link, EniPolicy)>, PolicyError> {
    let links: Vec<&Link> = chosen.iter().map(|(link, _)| *link).collect();
    let rank = |link: &Link| {
        let has_address = cx.host.usable_addresses(link.index).next().is_some();
        (!has_address, link.index)
    };
    let mut separate = Vec::with_capacity(chosen.len());
    for (link, wanted) in chosen {
        let parent = elsewhere::child_of(link);
        if let Some(parent) = links.iter().find(|other| parent == Some(other.index)) {
            let stacked = PolicyError::Stacked {
                eni: link.name.clone(),
                parent: parent.name.clone(),
            };
            cx.leave_out(stacked, unserved)?;
            continue;
        }
        let is_twin = |other: &&&Link| {
            let on_nothing = link.parent.is_none() && other.parent.is_none();
            on_nothing && other.mac == link.mac && rank(other) < rank(link)
        };
        if let Some(other) = links.iter().find(is_twin) {
            unserved.push(PolicyError::SameMac {
                eni: link.name.clone(),
                other: other.name.clone(),
            });
            continue;
        }
        separate.push((link, wanted));
    }
    Ok(separate)
}

/// Why an ENI has no traffic now: it is down, or has no address. It stays a known ENI, without
/// routes while it is down.
fn idle(cx: &Context<'_>, link: &Link) -> Option<PolicyError> {
    let eni = link.name.clone();
    if !link.up {
        return Some(PolicyError::Down { eni });
    }
    let is_bare = cx.host.usable_addresses(link.index).next().is_none();
    is_bare.then_some(PolicyError::NoAddress { eni })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Host;
    use crate::policy::Policy;
    use crate::{desired::Desired, fake::fake_host};

    /// Names of the ENIs, and names of the interfaces that are left out.
    fn discovered(host: &Host, policy: &Policy, absence: Absence) -> (Vec<String>, Vec<String>) {
        let desired = Desired::for_host(host, policy, absence, 1).unwrap_or_else(|e| panic!("{e}"));
        let left_out = desired
            .left_out(host, policy, absence)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let names = desired.enis.into_iter().map(|eni| eni.name).collect();
        (names, left_out)
    }

    /// Two ENIs on one subnet, of which only the first has a default route, and an interface on
    /// another network.
    fn cloud_host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .eni(4, "eth2", &["10.9.0.4/24"])
            .route("default via 172.16.20.253 dev eth0")
    }

    #[test]
    fn an_interface_on_the_subnet_of_an_eni_is_discovered_and_one_without_a_gateway_is_reported() {
        let (enis, left_out) = discovered(&cloud_host(), &Policy::default(), Absence::Error);
        assert_eq!(enis, ["eth0", "eth1"]);
        assert_eq!(left_out, ["eth2"]);
    }

    #[test]
    fn an_interface_on_an_eni_and_one_with_its_mac_address_are_no_enis_of_their_own() {
        let mut host = cloud_host()
            .virtual_link(7, "mv0", "macvlan", &["172.16.20.9/24"])
            .virtual_link(8, "eth1.100", "vlan", &["10.8.0.4/24"])
            .eni(9, "vf0", &[]);
        let eth1 = host.link_named("eth1").expect("eth1").clone();
        host.link_mut("mv0").parent = Some(eth1.index);
        host.link_mut("eth1.100").parent = Some(eth1.index);
        for name in ["eth1.100", "vf0"] {
            host.link_mut(name).mac = eth1.mac;
        }
        let managing = |names: &[&str]| Policy {
            enis: names
                .iter()
                .map(|name| EniPolicy::new(Selector::from(*name)))
                .collect(),
            ..Policy::default()
        };
        let policy = managing(&["eth0", "eth1", "mv0", "vf0", "eth1.100"]);
        let desired = Desired::for_host(&host, &policy, Absence::Wait, 1).expect("the rest");
        let names: Vec<_> = desired.enis.iter().map(|eni| eni.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1", "eth1.100"]);
        let why: Vec<String> = desired.unserved.iter().map(ToString::to_string).collect();
        assert_eq!(
            why[..2],
            [
                "mv0 is made on eth1, which eni-steer manages too: each would redirect the other's \
                 packets",
                "vf0 has the MAC address of eth1, so it is the same ENI"
            ]
        );
        // Named in a command, the first is refused; the second never is.
        let typed = Desired::for_host(&host, &policy, Absence::Error, 1).expect_err("stacked");
        assert_eq!(typed.to_string(), why[0]);
        let twins = managing(&["eth1", "vf0"]);
        assert!(Desired::for_host(&host, &twins, Absence::Error, 1).is_ok());
        // Without its parent, a macvlan can be an ENI.
        let alone = managing(&["eth0", "mv0"]);
        let desired = Desired::for_host(&host, &alone, Absence::Error, 1).expect("allowed");
        assert_eq!(desired.enis.len(), 2);
        // Both have the address: the older one is the ENI, and keeps its rule.
        let host = host.address("vf0", "172.16.20.177/24");
        let desired = Desired::for_host(&host, &twins, Absence::Error, 1).expect("allowed");
        let names: Vec<_> = desired.enis.iter().map(|eni| eni.name.as_str()).collect();
        assert_eq!(names, ["eth1"]);
    }

    #[test]
    fn a_daemon_keeps_a_discovered_eni_while_its_link_is_down() {
        let host = cloud_host();
        let policy = Policy::default();
        let desired =
            Desired::for_host(&host, &policy, Absence::Error, 1).unwrap_or_else(|e| panic!("{e}"));
        let mut later = host.down("eth1");
        later.datapath.enis = desired.datapath.expect("programs are wanted").enis;
        assert_eq!(
            discovered(&later, &policy, Absence::Wait).0,
            ["eth0", "eth1"]
        );
    }
}
