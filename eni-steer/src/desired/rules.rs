//! The rules: main first for what leaves by no ENI, then one for each owned prefix, and
//! around them what the policy adds.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Eni;
use crate::{
    model::{Family, Owner, Rule, RuleAction, TableId, covers},
    policy::Policy,
};

/// All rules of ours.
pub(super) fn rules(
    policy: &Policy,
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    added: impl IntoIterator<Item = Rule>,
) -> BTreeSet<Rule> {
    let numbers = &policy.ownership;
    let mut rules: BTreeSet<Rule> = added.into_iter().collect();
    let behind = |rule: &Rule| rule.priority >= numbers.pin_priority(0);
    let something_behind = rules.iter().any(behind);
    for (net, table) in leads(enis, owners, something_behind) {
        let mut rule = Rule::new(
            Family::of_net(net),
            numbers.source_priority(net),
            numbers.protocol,
            RuleAction::Table(table),
        );
        rule.from = Some(net);
        rules.insert(rule);
    }
    for family in Family::BOTH {
        if rules.iter().any(|rule| rule.family == family) {
            let mut rule = Rule::new(
                family,
                numbers.main_priority(),
                numbers.protocol,
                RuleAction::Table(TableId::MAIN),
            );
            rule.suppress_group = Some(numbers.group);
            rules.insert(rule);
        }
    }
    rules
}

/// Which table each source prefix leads to, so that the longest prefix that holds an address
/// leads to its owner's table, as the programs see it.
///
/// `something_behind`: other rules of ours stand behind the source rules. What main serves
/// must not fall through to them.
fn leads(
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    something_behind: bool,
) -> BTreeMap<IpNet, TableId> {
    let table = |net: IpNet, owner: Owner| match owner {
        Owner::Eni(index) => enis
            .iter()
            .find(|eni| eni.index == index)
            .filter(|eni| eni.ruled && eni.gateway(Family::of_net(net)).is_some())
            .map(|eni| eni.table),
        Owner::Ambiguous => None,
    };
    let tables: BTreeMap<IpNet, Option<TableId>> = owners
        .iter()
        .map(|(net, owner)| (*net, table(*net, *owner)))
        .collect();
    let mut leads = BTreeMap::new();
    for wanted in tables.values().flatten().collect::<BTreeSet<_>>() {
        let sources = || {
            let lead = tables
                .iter()
                .filter(|(_, table)| table.as_ref() == Some(wanted));
            lead.map(|(net, _)| *net)
        };
        let (whole, mixed): (Vec<IpNet>, Vec<IpNet>) =
            cover(sources()).into_iter().partition(|net| {
                !tables
                    .iter()
                    .any(|(o, table)| table.as_ref() != Some(wanted) && covers(*net, *o))
            });
        leads.extend(whole.into_iter().map(|net| (net, *wanted)));
        // Where somebody else owns a part, nothing is joined: lengths tell who owns what.
        let apart = sources().filter(|net| mixed.iter().any(|outer| covers(*outer, *net)));
        leads.extend(apart.map(|net| (net, *wanted)));
    }
    // What main serves, inside a prefix that leads elsewhere.
    for net in tables
        .iter()
        .filter(|(_, table)| table.is_none())
        .map(|(net, _)| *net)
    {
        if something_behind || leads.keys().any(|outer| covers(*outer, net)) {
            leads.insert(net, TableId::MAIN);
        }
    }
    leads
}

/// The fewest prefixes that hold exactly these addresses: never one more.
pub(crate) fn cover(nets: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let (mut v4, mut v6) = (Vec::<Ipv4Net>::new(), Vec::<Ipv6Net>::new());
    for net in nets {
        match net {
            IpNet::V4(net) => v4.push(net),
            IpNet::V6(net) => v6.push(net),
        }
    }
    let v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4);
    v4.chain(Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against brute force in a space of 256 addresses.
        #[test]
        fn the_cover_holds_exactly_the_sources_and_no_prefix_could_be_spared(
            hosts in proptest::collection::btree_set(any::<u8>(), 0..256),
        ) {
            let at = |n: u8| std::net::Ipv4Addr::new(10, 0, 0, n);
            let nets = cover(hosts.iter().map(|n| IpNet::from(std::net::IpAddr::V4(at(*n)))));
            for n in 0..=255u8 {
                let address = std::net::IpAddr::V4(at(n));
                let holding = nets.iter().filter(|net| net.contains(&address)).count();
                prop_assert_eq!(holding, usize::from(hosts.contains(&n)));
            }
            // Fewest: the number of maximal aligned blocks that are full.
            let full = |base: usize, size: usize| (base..base + size).all(|n| hosts.contains(&(n as u8)));
            fn count(base: usize, size: usize, full: &dyn Fn(usize, usize) -> bool) -> usize {
                if full(base, size) { 1 }
                else if size == 1 { 0 }
                else { count(base, size / 2, full) + count(base + size / 2, size / 2, full) }
            }
            prop_assert_eq!(nets.len(), count(0, 256, &full));
        }
    }
}
