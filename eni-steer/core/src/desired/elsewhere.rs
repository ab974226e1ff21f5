//! Addresses that this host answers for and that are not on an ENI itself: on the loopback, on a
//! macvlan of an ENI, or only in a route that delivers a prefix to this host.
//!
//! Load balancers and failover tools work with such addresses. Their replies must leave by the ENI
//! at which the requests arrive, and the neighbours of that ENI must still get ARP answers.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{context::Context, eni::on_link};
use crate::{
    model::{
        Address, Family, Host, IfIndex, Link, RouteKind, TableId, covers, host_prefix, link_local,
    },
    ownership::Ownership,
};

/// An address or prefix that this host answers for, although it is not on an ENI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Elsewhere {
    /// The address (as /32 or /128) or the prefix.
    pub(crate) net: IpNet,
    /// The interface that has it; for a route, the one that the route names.
    pub(crate) place: Option<IfIndex>,
    /// The ENI that it belongs to, as the host's own configuration says; `None`: nothing says so.
    pub(crate) eni: Option<IfIndex>,
    /// The ENIs that answer ARP requests for it as long as `arp_ignore` lets them: all ENIs whose
    /// subnet it is in. If no subnet contains it, all ENIs: a router can have a route for it that
    /// names no gateway. None for an IPv6 address, and for one on a macvlan, which answers itself.
    pub(crate) answering: BTreeSet<IfIndex>,
}

/// All such addresses, given the indexes of the ENIs. Each has one of these reasons:
///
/// - An address on a macvlan or ipvlan of an ENI belongs to that ENI, if it is in the ENI's subnet
///   or a single address, and if no default route leaves by the macvlan.
/// - A prefix in a `local` route of another program belongs to the ENI that the route names.
/// - An address on the loopback or on a dummy interface belongs to the ENI in whose subnet it is,
///   if exactly one ENI has that subnet.
/// - An address on a bridge or a tunnel, inside an ENI's subnet, belongs to nobody, but the
///   neighbours may ask for it. A network interface answers for its addresses itself.
pub(crate) fn elsewhere(host: &Host, ours: &Ownership, enis: &BTreeSet<IfIndex>) -> Vec<Elsewhere> {
    let subnets: Vec<(IfIndex, IpNet)> = enis
        .iter()
        .flat_map(|eni| {
            Family::BOTH
                .into_iter()
                .flat_map(|family| on_link(host, ours, *eni, family))
                .map(move |net| (*eni, net))
        })
        .collect();
    let with_subnet = |net: IpNet| -> BTreeSet<IfIndex> {
        let around = subnets.iter().filter(|(_, subnet)| covers(*subnet, net));
        around.map(|(eni, _)| *eni).collect()
    };
    let answering = |net: IpNet| match net {
        IpNet::V6(_) => BTreeSet::new(),
        IpNet::V4(_) => Some(with_subnet(net))
            .filter(|with| !with.is_empty())
            .unwrap_or_else(|| enis.clone()),
    };
    let only_one = |net: IpNet| {
        let mut with = with_subnet(net).into_iter();
        with.next().filter(|_| with.next().is_none())
    };
    let of_address = |link: &Link, address: &Address| {
        let net = host_prefix(address.ip());
        let found = |eni, answering| {
            Some(Elsewhere {
                net,
                place: Some(link.index),
                eni,
                answering,
            })
        };
        let parent = child_of(link).filter(|parent| enis.contains(parent));
        if let Some(parent) = parent {
            let is_single = address.net.prefix_len() == address.net.max_prefix_len();
            let is_inside = subnets
                .iter()
                .any(|(eni, subnet)| *eni == parent && covers(*subnet, net));
            return if (is_inside || is_single) && !has_default(host, link.index) {
                found(Some(parent), BTreeSet::new())
            } else {
                None
            };
        }
        if link.loopback || link.kind.as_deref() == Some("dummy") {
            return found(only_one(net), answering(net));
        }
        if link.leads_out() || with_subnet(net).is_empty() {
            None
        } else {
            found(None, answering(net))
        }
    };
    let mut all = BTreeSet::new();
    for link in host.links.values() {
        if enis.contains(&link.index) {
            continue;
        }
        let addresses = host.usable_addresses(link.index);
        let addresses = addresses.filter(|address| !address.ip().is_loopback());
        all.extend(addresses.filter_map(|address| of_address(link, address)));
    }
    for route in &host.local_routes {
        let net = route.destination;
        let is_used = route.kind == RouteKind::Local
            && [TableId::LOCAL, TableId::MAIN].contains(&route.table)
            && !route.is_default()
            && !net.addr().is_loopback()
            && !link_local(net.addr());
        if !is_used {
            continue;
        }
        let out = route.hops.first().map(|hop| hop.out);
        all.insert(Elsewhere {
            net,
            place: out,
            eni: out
                .filter(|out| enis.contains(out))
                .or_else(|| only_one(net)),
            answering: answering(net),
        });
    }
    all.into_iter().collect()
}

/// Those of [`elsewhere`] about which the policy says nothing, and which no ENI has itself.
pub(super) fn unclaimed(cx: &Context<'_>, enis: &BTreeSet<IfIndex>) -> Vec<Elsewhere> {
    let wanted = cx.policy.enis.iter().filter(|eni| eni.managed);
    let claimed: Vec<IpNet> = wanted
        .flat_map(|eni| {
            let addresses = eni.addresses.iter().copied().map(host_prefix);
            addresses.chain(eni.prefixes.iter().map(IpNet::trunc))
        })
        .collect();
    let own: BTreeSet<IpNet> = cx
        .host
        .addresses
        .iter()
        .filter(|address| enis.contains(&address.index))
        .map(|address| host_prefix(address.ip()))
        .collect();
    let is_claimed = |net: IpNet| claimed.iter().any(|claim| covers(*claim, net));
    elsewhere(cx.host, &cx.policy.ownership, enis)
        .into_iter()
        .filter(|one| !own.contains(&one.net) && !is_claimed(one.net))
        .collect()
}

/// The interface that a macvlan or an ipvlan shares the network of. A VLAN is another network.
pub(super) fn child_of(link: &Link) -> Option<IfIndex> {
    let shares = matches!(link.kind.as_deref(), Some("macvlan" | "ipvlan"));
    link.parent.filter(|_| shares)
}

/// Whether a default route of any table leaves by an interface.
fn has_default(host: &Host, index: IfIndex) -> bool {
    host.routes
        .iter()
        .any(|route| route.is_default() && route.hop_by(index).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Absence, Desired, Eni},
        fake::{fake_host, index},
        model::{Tunable, TunableKind},
        policy::Policy,
    };

    /// eth0 and eth1 on one subnet, eth2 on another.
    fn host() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .eni(4, "eth2", &["10.9.0.4/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default via 10.9.0.1 dev eth2 metric 200")
    }

    fn local(mut host: Host, words: &str) -> Host {
        host = host.route(&format!("local {words} proto 66"));
        host.local_routes.extend(host.routes.pop());
        host
    }

    fn desired(host: &Host, policy: &Policy) -> Desired {
        Desired::for_host(host, policy, Absence::Error, 1).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The ENIs that own a prefix, and whether it is among the addresses that nobody owns.
    fn owners(host: &Host, net: &str) -> (Vec<String>, bool) {
        let policy = Policy::default();
        let desired = desired(host, &policy);
        let net: IpNet = net.parse().expect("a prefix");
        let unowned = desired.addresses_of_no_eni(host, &policy, Absence::Error);
        let owns = |eni: &&Eni| eni.owned.contains(&net);
        let enis = desired.enis.iter().filter(owns);
        let names = enis.map(|eni| eni.name.clone()).collect();
        (names, unowned.iter().any(|(_, other)| *other == net))
    }

    fn owned_by(host: &Host, net: &str, eni: &str) {
        assert_eq!(owners(host, net), (vec![eni.to_owned()], false), "{net}");
    }

    fn owned_by_nobody(host: &Host, net: &str) {
        assert_eq!(owners(host, net), (vec![], true), "{net}");
    }

    fn with_macvlan(kind: &str, address: &str) -> Host {
        let mut host = host().virtual_link(9, "vip", kind, &[address]);
        host.link_mut("vip").parent = Some(index(3));
        host
    }

    #[test]
    fn a_local_route_gives_its_prefix_to_the_eni_that_it_names() {
        for net in ["198.51.100.7/32", "198.51.100.64/28", "2001:db8:7::/64"] {
            owned_by(
                &local(host(), &format!("{net} dev eth1 table 255")),
                net,
                "eth1",
            );
        }
        // By the subnet, where the route names no ENI.
        let lo = local(host(), "10.9.0.77 dev lo table 255");
        owned_by(&lo, "10.9.0.77/32", "eth2");
        let shared = local(host(), "172.16.20.77 dev lo table 255");
        owned_by_nobody(&shared, "172.16.20.77/32");
    }

    #[test]
    fn local_routes_that_are_for_something_else_give_nothing_to_an_eni() {
        // Transparent proxies use such a table; loopback and link-local prefixes are nobody's.
        for words in [
            "198.51.100.7 dev eth1 table 100",
            "default via 10.9.0.1 dev eth1 table 255",
            "127.5.0.0/16 dev eth1 table 255",
            "169.254.9.9 dev eth1 table 255",
        ] {
            let host = local(host(), words);
            let policy = Policy::default();
            let desired = desired(&host, &policy);
            let eth1 = &desired.enis[1];
            assert_eq!(eth1.owned.len(), 1, "{words}");
            let unowned = desired.addresses_of_no_eni(&host, &policy, Absence::Error);
            assert_eq!(unowned, [], "{words}");
        }
        let mut throw = local(host(), "198.51.100.7 dev eth1 table 255");
        throw.local_routes[0].kind = RouteKind::Throw;
        assert_eq!(owners(&throw, "198.51.100.7/32"), (vec![], false));
    }

    #[test]
    fn an_address_on_a_macvlan_of_an_eni_belongs_to_that_eni() {
        for kind in ["macvlan", "ipvlan"] {
            owned_by(
                &with_macvlan(kind, "172.16.20.200/32"),
                "172.16.20.200/32",
                "eth1",
            );
            owned_by(
                &with_macvlan(kind, "172.16.20.200/24"),
                "172.16.20.200/32",
                "eth1",
            );
            owned_by(
                &with_macvlan(kind, "198.51.100.7/32"),
                "198.51.100.7/32",
                "eth1",
            );
        }
    }

    #[test]
    fn a_macvlan_with_a_network_of_its_own_is_not_part_of_the_eni() {
        let nobody = (vec![], false);
        let other_net = with_macvlan("macvlan", "10.44.0.7/24");
        assert_eq!(owners(&other_net, "10.44.0.7/32"), nobody);
        let own_default =
            with_macvlan("macvlan", "172.16.20.200/24").route("default via 172.16.20.9 dev vip");
        assert_eq!(owners(&own_default, "172.16.20.200/32"), nobody);
        let vlan = with_macvlan("vlan", "10.44.0.7/32");
        assert_eq!(owners(&vlan, "10.44.0.7/32"), nobody);
    }

    #[test]
    fn an_address_on_the_loopback_belongs_to_the_only_eni_in_its_subnet() {
        let at = |address: &str| host().address("lo", address);
        owned_by(&at("10.9.0.77/32"), "10.9.0.77/32", "eth2");
        owned_by_nobody(&at("172.16.20.202/32"), "172.16.20.202/32");
        owned_by_nobody(&at("198.51.100.7/32"), "198.51.100.7/32");
        let dummy = host().virtual_link(9, "ipvs0", "dummy", &["10.9.0.77/32"]);
        owned_by(&dummy, "10.9.0.77/32", "eth2");
        let bridge = host().virtual_link(9, "br0", "bridge", &["10.9.0.77/32"]);
        owned_by_nobody(&bridge, "10.9.0.77/32");
        let container = host().virtual_link(9, "docker0", "bridge", &["172.17.0.1/16"]);
        assert_eq!(owners(&container, "172.17.0.1/32"), (vec![], false));
    }

    #[test]
    fn the_policy_and_an_eni_itself_come_first() {
        let mut policy = Policy::default();
        policy.enis.push(crate::policy::EniPolicy {
            prefixes: vec!["198.51.100.0/24".parse().expect("a prefix")],
            ..crate::policy::EniPolicy::new("eth0".into())
        });
        policy.discover = crate::policy::Discover::Always;
        let given = local(host(), "198.51.100.7 dev eth1 table 255");
        let names: Vec<usize> = desired(&given, &policy)
            .enis
            .iter()
            .map(|eni| eni.owned.len())
            .collect();
        assert_eq!(
            names,
            [2, 1, 1],
            "the prefix is eth0's, and nothing is added"
        );
        let twice = host()
            .address("eth0", "10.9.0.77/32")
            .address("lo", "10.9.0.77/32");
        owned_by(&twice, "10.9.0.77/32", "eth0");
    }

    /// The ENIs that get `arp_ignore = 1`.
    fn silenced(host: &Host) -> Vec<u32> {
        let tunables = desired(host, &Policy::default()).tunables;
        [2, 3, 4]
            .into_iter()
            .filter(|n| {
                let tunable = Tunable {
                    index: index(*n),
                    kind: TunableKind::ArpIgnore,
                };
                tunables.contains_key(&tunable)
            })
            .collect()
    }

    #[test]
    fn an_address_that_answered_arp_requests_before_answers_them_after() {
        assert_eq!(silenced(&host()), [2, 3, 4]);
        let at = |address: &str| host().address("lo", address);
        assert_eq!(silenced(&at("172.16.20.202/32")), [4], "in their subnet");
        assert_eq!(silenced(&at("10.9.0.77/32")), [2, 3]);
        let anywhere = silenced(&at("198.51.100.7/32"));
        assert!(anywhere.is_empty(), "a route to it need not name a gateway");
        assert_eq!(silenced(&at("2001:db8::7/128")), [2, 3, 4], "no ARP");
        assert_eq!(silenced(&at("127.0.0.9/8")), [2, 3, 4]);
        let itself = with_macvlan("macvlan", "172.16.20.200/32");
        assert_eq!(silenced(&itself), [2, 3, 4], "a macvlan answers itself");
        let routed = local(host(), "172.16.20.77 dev eth1 table 255");
        assert_eq!(silenced(&routed), [4]);
        let container = host().virtual_link(9, "docker0", "bridge", &["172.17.0.1/16"]);
        assert_eq!(silenced(&container), [2, 3, 4]);
    }
}
