//! The rules: the first rule, one source rule for each owned prefix, one rule for sockets that are
//! bound to an ENI, and the rules that the policy adds around them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    context::Context,
    eni::{Eni, RoutedBy},
};
use crate::model::{
    Family, Owner, Priority, Protocol, Rule, RuleAction, TableId, covers, longest_default,
};

/// All of eni-steer's rules, each once. `added` are the access and balance rules.
pub(super) fn rules(
    cx: &Context<'_>,
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    added: impl IntoIterator<Item = Rule>,
) -> Vec<Rule> {
    let numbers = &cx.policy.ownership;
    let mut rules: Vec<Rule> = added.into_iter().collect();
    let follows_sources = |rule: &Rule| rule.priority >= numbers.steer_rule_priority(0);
    let rules_follow = rules.iter().any(follows_sources);
    let source_rule = |(net, table)| {
        let (family, action) = (Family::of_net(net), RuleAction::Table(table));
        let priority = numbers.source_priority(net);
        let mut rule = Rule::new(family, priority, numbers.protocol, action);
        rule.from = Some(net);
        rule
    };
    let source_tables = source_tables(enis, owners, rules_follow);
    rules.extend(source_tables.into_iter().map(source_rule));
    let on_link = on_link_tables(enis, owners).into_iter();
    rules.extend(on_link.map(|(net, table)| Rule {
        priority: numbers.on_link_priority(),
        ..source_rule((net, table))
    }));
    rules.extend(bound_rules(cx, enis));
    for family in Family::BOTH {
        if rules.iter().any(|rule| rule.family == family) {
            // The kernel ignores the route that main has if one of the two conditions applies
            // (`fib4_rule_suppress`, `fib6_rule_suppress`): main decides for specific destinations
            // behind other interfaces only, never by a default route.
            let mut rule = Rule::new(
                family,
                numbers.main_priority(),
                numbers.protocol,
                RuleAction::Table(TableId::MAIN),
            );
            rule.suppress_group = Some(numbers.group);
            rule.suppress_prefix_length = Some(u32::from(longest_default(family)));
            rules.push(rule);
        }
    }
    rules
}

/// For each ENI with a default route in its own table, the rule for sockets that are bound to it (`SO_BINDTODEVICE`,
/// `ping -I eth1`): they have no source when the kernel looks for a route, so no source rule
/// matches. Without this rule the kernel finds no route by the ENI and, for IPv4, takes every
/// destination for a neighbour (`ip_route_output_key_hash_rcu` in net/ipv4/route.c).
fn bound_rules(cx: &Context<'_>, enis: &[Eni]) -> Vec<Rule> {
    let numbers = &cx.policy.ownership;
    let mut rules = Vec::new();
    for eni in enis {
        for family in Family::BOTH {
            if !eni.has_table(family) {
                continue;
            }
            let action = RuleAction::Table(eni.table);
            let mut rule = Rule::new(family, numbers.bound_priority(), numbers.protocol, action);
            rule.oif = Some(eni.name.clone());
            rules.push(rule);
        }
    }
    rules
}

/// The kernel's own rules for the main table that are missing and that the policy wants back. They
/// are as the kernel makes them (`fib_default_rules_init`, `fib6_rules_net_init`), with the
/// kernel's protocol number, so `remove` does not delete them.
pub(super) fn kernel_default_rules(cx: &Context<'_>) -> Vec<Rule> {
    let is_wanted =
        |family: &Family| cx.policy.restore_default_rules && !cx.host.has_main_rule(*family);
    let main = RuleAction::Table(TableId::MAIN);
    let rule = |family| Rule::new(family, Priority(32766), Protocol::KERNEL, main);
    Family::BOTH
        .into_iter()
        .filter(is_wanted)
        .map(rule)
        .collect()
}

/// Which table each source prefix looks up: the source rules, each prefix once.
///
/// The kernel evaluates the rule of the longest prefix first (`Ownership::source_priority`), so
/// every address must reach the table of its owner by the longest prefix that contains it. The
/// programs find the owner in the same way.
///
/// - Addresses of one ENI that together fill a prefix share one rule: if eth1 (table 21001) owns
///   10.0.0.4 and 10.0.0.5, the result is `10.0.0.4/31 -> 21001`. The prefix never contains an
///   address that the ENI does not own.
/// - If another owner has a part of such a prefix, its addresses keep their own rules. Joined, they
///   could give the same prefix to two tables: eth1 owns 10.0.0.0/29 and 10.0.0.8/29, eth2 owns the
///   10.0.0.0/28 around them. eth1 keeps its two longer prefixes, which come before eth2's.
/// - An address uses the main table if its owner has no default route in a table of its own (a
///   primary that main serves, an ENI without a gateway), or if two ENIs have it. It needs its own rule only if another rule could take
///   it: if it is inside a prefix of another ENI, or if rules follow the source rules
///   (`rules_follow`: access rules that lead to an ENI, and balance). Such a result is
///   `10.0.0.9 -> main`.
fn source_tables(
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    rules_follow: bool,
) -> Vec<(IpNet, TableId)> {
    let tables = owner_tables(enis, owners, RoutedBy::Table);
    let mut by_table: BTreeMap<TableId, Vec<IpNet>> = BTreeMap::new();
    for (net, table) in &tables {
        if let Some(table) = table {
            by_table.entry(*table).or_default().push(*net);
        }
    }
    let mut source_tables = Vec::with_capacity(tables.len());
    for (table, sources) in by_table {
        let prefixes = joined(&tables, table, &sources);
        source_tables.extend(prefixes.into_iter().map(|net| (net, table)));
    }
    let wide: BTreeSet<IpNet> = source_tables
        .iter()
        .map(|(net, _)| *net)
        .filter(|net| !is_host(*net))
        .collect();
    let uses_main = tables
        .iter()
        .filter(|(_, table)| table.is_none())
        .map(|(net, _)| *net);
    let lengths: BTreeSet<u8> = wide.iter().map(IpNet::prefix_len).collect();
    let needs_rule = |net: &IpNet| rules_follow || is_inside(*net, &wide, &lengths);
    let main_rules = uses_main.filter(needs_rule);
    source_tables.extend(main_rules.map(|net| (net, TableId::MAIN)));
    source_tables
}

/// The table of each owned prefix whose owner is routed in this way, in the order of the prefixes;
/// `None`: another way.
fn owner_tables(
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    by: RoutedBy,
) -> Vec<(IpNet, Option<TableId>)> {
    let table = |net: IpNet, owner: Owner| match owner {
        Owner::Eni(index) => enis
            .iter()
            .find(|eni| eni.index == index)
            .filter(|eni| eni.routing(Family::of_net(net)).by == by)
            .map(|eni| eni.table),
        Owner::Ambiguous => None,
    };
    owners
        .iter()
        .map(|(net, owner)| (*net, table(*net, *owner)))
        .collect()
}

/// Which table the sources of ENIs that use main look up for their subnets. Such a table has
/// on-link prefixes only, so the kernel goes on to the next rule for every other destination. A
/// prefix in which another owner has a part gets no rule: all these rules have one priority.
fn on_link_tables(enis: &[Eni], owners: &BTreeMap<IpNet, Owner>) -> Vec<(IpNet, TableId)> {
    let tables = owner_tables(enis, owners, RoutedBy::OnLink);
    let mut by_table: BTreeMap<TableId, Vec<IpNet>> = BTreeMap::new();
    for (net, table) in &tables {
        if let Some(table) = table {
            by_table.entry(*table).or_default().push(*net);
        }
    }
    let mut found = Vec::new();
    for (table, sources) in by_table {
        let is_foreign = |(_, owner): &(IpNet, Option<TableId>)| *owner != Some(table);
        let is_whole = |net: &IpNet| is_host(*net) || !within(&tables, *net).any(is_foreign);
        let prefixes = joined(&tables, table, &sources).into_iter();
        found.extend(prefixes.filter(is_whole).map(|net| (net, table)));
    }
    found
}

/// The prefixes of one table, joined where nobody else owns a part of the joined prefix.
fn joined(tables: &[(IpNet, Option<TableId>)], table: TableId, sources: &[IpNet]) -> Vec<IpNet> {
    let is_whole = |net: &IpNet| {
        let is_foreign = |(inner, owner): &(IpNet, Option<TableId>)| {
            *owner != Some(table) && covers(*net, *inner)
        };
        is_host(*net) || !within(tables, *net).any(is_foreign)
    };
    let (whole, mixed): (Vec<IpNet>, Vec<IpNet>) = cover(sources.iter().copied())
        .into_iter()
        .partition(is_whole);
    let is_apart = |net: &&IpNet| mixed.iter().any(|outer| covers(*outer, **net));
    whole
        .into_iter()
        .chain(sources.iter().filter(is_apart).copied())
        .collect()
}

/// Whether a prefix is inside one of the wide ones. `lengths` are all their lengths: they are few,
/// so this looks up one prefix of each length instead of comparing with all of them.
fn is_inside(net: IpNet, wide: &BTreeSet<IpNet>, lengths: &BTreeSet<u8>) -> bool {
    lengths
        .range(..=net.prefix_len())
        .filter_map(|length| IpNet::new(net.addr(), *length).ok())
        .any(|around| wide.contains(&around.trunc()))
}

/// Whether a prefix is a single address.
fn is_host(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// The entries that can be inside a prefix, from a list that is sorted by address, then by length.
fn within<T>(nets: &[(IpNet, T)], outer: IpNet) -> impl Iterator<Item = &(IpNet, T)> {
    let last = IpNet::from(outer.broadcast());
    let first = nets.partition_point(|(net, _)| *net < outer.trunc());
    nets[first..]
        .iter()
        .take_while(move |(net, _)| *net <= last)
}

/// The fewest prefixes that contain exactly these addresses and no other.
fn cover(nets: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
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
    use crate::desired::Absence;
    use crate::model::Host;
    use crate::policy::Policy;
    use proptest::prelude::*;

    use super::*;
    use crate::{apply::apply, desired::Desired, fake::FakeExecutor, fake::fake_host, plan::Plan};

    #[test]
    fn the_kernels_own_rule_is_restored_if_the_policy_says_so_and_never_removed() {
        let mut host = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .route("default via 172.16.20.253 dev eth0");
        host.rules.retain(|rule| rule.priority != Priority(32766));
        // A rule with a condition does not replace it.
        let host = host.rule("pref 100 fwmark 1 lookup 254");
        let lines = |policy: &Policy, host: &Host| {
            let desired = Desired::for_host(host, policy, Absence::Error, 1)
                .unwrap_or_else(|e| panic!("{e}"));
            let plan = Plan::between(&desired, host);
            let lines: Vec<_> = plan.steps.iter().map(|step| step.describe(host)).collect();
            let own = lines.into_iter().filter(|line| line.contains("32766"));
            (own.collect::<Vec<_>>(), plan)
        };
        let mut policy = Policy::default();
        assert!(lines(&policy, &host).0.is_empty(), "nobody asked for it");
        policy.restore_default_rules = true;
        let (own, plan) = lines(&policy, &host);
        assert_eq!(
            own,
            [
                "+ ip -4 rule add pref 32766 from all lookup main protocol 2",
                "+ ip -6 rule add pref 32766 from all lookup main protocol 2"
            ]
        );
        let mut model = FakeExecutor { host };
        let report = apply(&plan, &mut model);
        assert!(report.is_complete());
        assert!(lines(&policy, &model.host).1.is_empty(), "once is enough");
        let nothing = Plan::between(&Desired::empty(policy.ownership), &model.host);
        let touched = nothing.steps.iter().map(|step| step.describe(&model.host));
        assert!(touched.into_iter().all(|line| !line.contains("32766")));
    }

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
