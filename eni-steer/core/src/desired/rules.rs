//! The rules: main first for what leaves by no ENI, then one for each owned prefix, and
//! around them what the policy adds.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Context, Eni};
use crate::model::{Family, Owner, Priority, Protocol, Rule, RuleAction, TableId, covers};

/// All rules of ours. None comes twice.
pub(super) fn rules(
    cx: &Context<'_>,
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    added: impl IntoIterator<Item = Rule>,
) -> Vec<Rule> {
    let numbers = &cx.policy.ownership;
    let mut rules: Vec<Rule> = added.into_iter().collect();
    let behind = |rule: &Rule| rule.priority >= numbers.steer_rule_priority(0);
    let something_behind = rules.iter().any(behind);
    let source_rule = |(net, table)| {
        let (family, action) = (Family::of_net(net), RuleAction::Table(table));
        let priority = numbers.source_priority(net);
        let mut rule = Rule::new(family, priority, numbers.protocol, action);
        rule.from = Some(net);
        rule
    };
    let leads = leads(enis, owners, something_behind);
    rules.extend(leads.into_iter().map(source_rule));
    for family in Family::BOTH {
        if rules.iter().any(|rule| rule.family == family) {
            let mut rule = Rule::new(
                family,
                numbers.main_priority(),
                numbers.protocol,
                RuleAction::Table(TableId::MAIN),
            );
            rule.suppress_group = Some(numbers.group);
            rules.push(rule);
        }
    }
    rules
}

/// The kernel's own rules that look main up, where they are gone and the policy wants them
/// back: as the kernel makes them (`fib_default_rules_init`, `fib6_rules_net_init`), so not
/// ours, and nothing that `remove` takes away.
pub(super) fn kernel_default_rules(cx: &Context<'_>) -> Vec<Rule> {
    let gone = |family: &Family| cx.policy.restore_default_rules && !cx.host.has_main_rule(*family);
    let main = RuleAction::Table(TableId::MAIN);
    let rule = |family| Rule::new(family, Priority(32766), Protocol::KERNEL, main);
    Family::BOTH.into_iter().filter(gone).map(rule).collect()
}

/// Which table each source prefix leads to, so that the longest prefix that holds an address
/// leads to its owner's table, as the programs see it. No prefix comes twice.
///
/// `something_behind`: other rules of ours stand behind the source rules. What main serves
/// must not fall through to them.
fn leads(
    enis: &[Eni],
    owners: &BTreeMap<IpNet, Owner>,
    something_behind: bool,
) -> Vec<(IpNet, TableId)> {
    let table = |net: IpNet, owner: Owner| match owner {
        Owner::Eni(index) => enis
            .iter()
            .find(|eni| eni.index == index)
            .filter(|eni| eni.has_source_rules && eni.gateway(Family::of_net(net)).is_some())
            .map(|eni| eni.table),
        Owner::Ambiguous => None,
    };
    let tables: Vec<(IpNet, Option<TableId>)> = owners
        .iter()
        .map(|(net, owner)| (*net, table(*net, *owner)))
        .collect();
    let mut sources: BTreeMap<TableId, Vec<IpNet>> = BTreeMap::new();
    for (net, table) in &tables {
        if let Some(table) = table {
            sources.entry(*table).or_default().push(*net);
        }
    }
    let mut leads = Vec::with_capacity(tables.len());
    for (wanted, sources) in sources {
        let is_whole = |net: &IpNet| {
            let is_others = |(other, table): &(IpNet, Option<TableId>)| {
                *table != Some(wanted) && covers(*net, *other)
            };
            is_host(*net) || !within(&tables, *net).any(is_others)
        };
        let (whole, mixed): (Vec<IpNet>, Vec<IpNet>) = cover(sources.iter().copied())
            .into_iter()
            .partition(is_whole);
        leads.extend(whole.into_iter().map(|net| (net, wanted)));
        // Where somebody else owns a part, nothing is joined: lengths tell who owns what.
        let apart = sources
            .into_iter()
            .filter(|net| mixed.iter().any(|outer| covers(*outer, *net)));
        leads.extend(apart.map(|net| (net, wanted)));
    }
    // What main serves, inside a prefix that leads elsewhere. There are few lengths of prefixes.
    let outer = leads.iter().map(|(net, _)| *net);
    let outer: BTreeSet<IpNet> = outer.filter(|net| !is_host(*net)).collect();
    let lengths: BTreeSet<u8> = outer.iter().map(IpNet::prefix_len).collect();
    let is_inside = |net: IpNet| {
        let shorter = lengths.range(..=net.prefix_len());
        let around = shorter.filter_map(|length| IpNet::new(net.addr(), *length).ok());
        around
            .map(|net| net.trunc())
            .any(|net| outer.contains(&net))
    };
    let of_main = tables.iter().filter(|(_, table)| table.is_none());
    let of_main = of_main.filter(|(net, _)| something_behind || is_inside(*net));
    leads.extend(of_main.map(|(net, _)| (*net, TableId::MAIN)));
    leads
}

/// Whether a prefix is one address, which holds nobody else's.
fn is_host(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// Those that can lie in a prefix: they are ordered by address, then by length.
fn within<T>(nets: &[(IpNet, T)], outer: IpNet) -> impl Iterator<Item = &(IpNet, T)> {
    let last = IpNet::from(outer.broadcast());
    let first = nets.partition_point(|(net, _)| *net < outer.trunc());
    nets[first..]
        .iter()
        .take_while(move |(net, _)| *net <= last)
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
    use crate::desired::Absence;
    use crate::model::Host;
    use crate::policy::Policy;
    use proptest::prelude::*;

    use super::*;
    use crate::{apply::apply, desired::Desired, fake::FakeExecutor, fake::fake_host, plan::Plan};

    #[test]
    fn the_kernels_own_rule_comes_back_where_the_policy_wants_it_and_is_never_taken_away() {
        let mut seen = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .route("default via 172.16.20.253 dev eth0");
        seen.rules.retain(|rule| rule.priority != Priority(32766));
        // One with a condition is not it.
        let seen = seen.rule("pref 100 fwmark 1 lookup 254");
        let lines = |policy: &Policy, seen: &Host| {
            let desired = Desired::for_host(seen, policy, Absence::Error, 1)
                .unwrap_or_else(|e| panic!("{e}"));
            let plan = Plan::between(&desired, seen);
            let lines: Vec<_> = plan.steps.iter().map(|step| step.describe(seen)).collect();
            let own = lines.into_iter().filter(|line| line.contains("32766"));
            (own.collect::<Vec<_>>(), plan)
        };
        let mut policy = Policy::default();
        assert!(lines(&policy, &seen).0.is_empty(), "nobody asked for it");
        policy.restore_default_rules = true;
        let (own, plan) = lines(&policy, &seen);
        assert_eq!(
            own,
            [
                "+ ip -4 rule add pref 32766 from all lookup main protocol 2",
                "+ ip -6 rule add pref 32766 from all lookup main protocol 2"
            ]
        );
        let mut model = FakeExecutor { host: seen };
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
