//! Which ENI is the primary, and whether the main table alone decides for it.
//!
//! The primary of a family is the ENI by which the main table's best default route of this family
//! leaves. The main table can serve it, so eni-steer gives it as little as possible
//! ([`PrimaryPolicy::Auto`]):
//!
//! - nothing, where the main table can lead its packets only by itself;
//! - a table with its on-link prefixes, where another ENI is in one of its subnets: main has two
//!   routes for that prefix, and which of them wins depends on which interface came up first. This
//!   table has no default route, so the kernel goes on to main's, which is never stale;
//! - a table with a default route, where main's own does not decide: another default route is as
//!   good, router advertisements come by several interfaces, or a VPN takes what has a source of
//!   the primary too.

use std::collections::BTreeSet;

use super::{
    context::Context,
    eni::{Eni, RoutedBy, Routing, overlap},
    routes,
};
use crate::{
    explain::{decision, far, trace_rules},
    model::{
        Family, Flow, Hop, Host, IfIndex, Protocol, Route, RouteKind, Rule, RuleAction, TableId,
        covers, host_prefix, link_local, longest_default,
    },
    policy::PrimaryPolicy,
};

/// The kernel's protocol number for routes from router advertisements (`RTPROT_RA`).
const RA: Protocol = Protocol(9);
/// Priority of the kernel's rule for the main table.
const MAIN_RULE: u32 = 32766;

/// The primary of a family: of the ENIs by which a default route of main leaves, the one whose route
/// the kernel prefers. If two are equal, `like` comes first, the primary of the other family.
pub(super) fn find(
    cx: &Context<'_>,
    family: Family,
    enis: &BTreeSet<IfIndex>,
    like: Option<IfIndex>,
) -> Option<IfIndex> {
    let defaults = routes::defaults_of_main(cx, family);
    let ways = defaults.flat_map(|route| {
        let place = routes::precedence(route);
        let hops = route.hops.iter().filter(|hop| enis.contains(&hop.out));
        hops.map(move |hop| (place, hop.out))
    });
    ways.min_by_key(|(place, out)| (*place, Some(*out) != like, *out))
        .map(|(_, out)| out)
}

/// How an ENI's packets of a family should find their way, if its gateway is known.
pub(super) fn wanted(
    cx: &Context<'_>,
    family: Family,
    eni: IfIndex,
    primary: Option<IfIndex>,
) -> Routing {
    let is_primary = primary == Some(eni);
    let (by, why) = match (is_primary, cx.policy.primary) {
        (false, _) => (RoutedBy::Table, None),
        (true, PrimaryPolicy::Full) => (
            RoutedBy::Table,
            Some("the policy has primary = \"full\"".to_owned()),
        ),
        (true, PrimaryPolicy::Observe) => (
            RoutedBy::Main,
            Some("the policy has primary = \"observe\"".to_owned()),
        ),
        (true, PrimaryPolicy::Auto) => match other_way(cx, family, eni) {
            Some(why) => (RoutedBy::Table, Some(why)),
            None => (RoutedBy::Main, None),
        },
    };
    Routing {
        primary: is_primary,
        by,
        why,
    }
}

/// Takes back what an ENI cannot have without a gateway, and gives those that share a subnet with
/// another ENI a table of their on-link prefixes.
pub(super) fn settle(cx: &Context<'_>, enis: &mut [Eni]) {
    for family in Family::BOTH {
        let shared: Vec<Option<String>> = (0..enis.len())
            .map(|at| neighbour(enis, at, family))
            .collect();
        for (eni, shared) in enis.iter_mut().zip(shared) {
            let has_gateway = eni.gateway(family).is_some();
            let routing = eni.routing_mut(family);
            let is_left_to_main = routing.primary && cx.policy.primary == PrimaryPolicy::Observe;
            if (routing.by == RoutedBy::Table && has_gateway) || is_left_to_main {
                continue;
            }
            match shared {
                Some(other) => {
                    routing.by = RoutedBy::OnLink;
                    routing.why = Some(format!("{other} is on the same subnet"));
                }
                None => routing.by = RoutedBy::Main,
            }
        }
    }
}

/// Another ENI that has an on-link prefix in common with this one.
fn neighbour(enis: &[Eni], at: usize, family: Family) -> Option<String> {
    let own = enis[at].on_link(family);
    let overlaps = |other: &&Eni| {
        let nets = other.on_link(family);
        overlap(&own, nets.iter().filter(|net| !link_local(net.addr())))
    };
    let mut others = enis[..at].iter().chain(&enis[at + 1..]);
    others.find(overlaps).map(|other| other.name.clone())
}

/// Why main does not lead the primary's packets by the primary only: where else they could go.
fn other_way(cx: &Context<'_>, family: Family, primary: IfIndex) -> Option<String> {
    let name = |out: IfIndex| cx.host.name(out);
    let elsewhere = |route: &Route| {
        let other = |hop: &&Hop| hop.out != primary;
        route.hops.iter().find(other).map(|hop| hop.out)
    };
    let defaults = || {
        let all = routes::defaults_of_main(cx, family);
        all.filter(|route| route.kind == RouteKind::Unicast)
    };
    let best = defaults()
        .filter(|route| route.hop_by(primary).is_some())
        .map(|route| route.metric)
        .min()?;
    let as_good = defaults()
        .filter(|route| route.metric <= best)
        .find_map(elsewhere);
    if let Some(out) = as_good {
        return Some(format!("main has a default route by {} too", name(out)));
    }
    let by_advertisement = |route: &&Route| route.protocol == RA;
    if defaults().any(|route| by_advertisement(&route) && route.hop_by(primary).is_some())
        && let Some(out) = defaults().filter(by_advertisement).find_map(elsewhere)
    {
        return Some(format!("router advertisements come by {} too", name(out)));
    }
    let parts = cx.host.routes.iter().filter(|route| {
        route.table == TableId::MAIN
            && route.family() == family
            && route.kind == RouteKind::Unicast
            && !route.is_default()
            && route.destination.prefix_len() <= longest_default(family)
            && !cx.policy.ownership.route(route)
    });
    let mut parts = parts.filter_map(|route| Some((route, elsewhere(route)?)));
    if let Some((route, out)) = parts.next() {
        return Some(format!("main sends {} by {}", route.destination, name(out)));
    }
    by_a_rule(cx, family, primary)
}

/// A rule of another program, after eni-steer's and before the main table's, that takes packets of
/// the primary's addresses: for example the one of a full-tunnel VPN.
fn by_a_rule(cx: &Context<'_>, family: Family, primary: IfIndex) -> Option<String> {
    let ours = &cx.policy.ownership;
    let follows = |rule: &&Rule| {
        // Whether a rule with `suppress_ifgroup` decides depends on the groups, which eni-steer sets.
        rule.priority > ours.last && !ours.rule(rule) && rule.suppress_group.is_none()
    };
    let rules: Vec<_> = cx.host.rules_of(family).filter(follows).collect();
    let leads_elsewhere = rules.iter().any(|rule| {
        let leads = matches!(rule.action, RuleAction::Table(table) if table != TableId::MAIN);
        leads && rule.priority.0 < MAIN_RULE
    });
    if !leads_elsewhere {
        return None;
    }
    let mut addresses = cx.host.usable_addresses(primary);
    let source = addresses.find(|address| address.family() == family)?.ip();
    let to = far(family);
    // Only what can decide: a host may have many routes. A leftover of eni-steer's does not.
    let decides = |route: &&Route| covers(route.destination, host_prefix(to)) && !ours.route(route);
    let host = Host {
        links: cx.host.links.clone(),
        addresses: cx.host.addresses.clone(),
        routes: cx.host.routes.iter().filter(decides).cloned().collect(),
        rules: rules.into_iter().cloned().collect(),
        ..Host::default()
    };
    let visits = trace_rules(&host, &Flow::to(to).from(source));
    let (rule, route) = decision(&visits)?;
    let out = route?.hops.iter().find(|hop| hop.out != primary)?.out;
    Some(format!(
        "the rule '{rule}' sends its packets by {}",
        cx.host.name(out)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Absence, Desired},
        fake::fake_host,
        policy::Policy,
    };

    /// ENIs on two subnets, of which eth0 carries the default route.
    fn apart() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24", "2001:db8:20::176/64"])
            .eni(3, "eth1", &["172.16.21.177/24", "2001:db8:21::177/64"])
            .route("default via 172.16.20.253 dev eth0 metric 100")
            .route("default via 172.16.21.253 dev eth1 metric 200")
    }

    fn shared() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
    }

    /// How each family of eth0 is routed, and why.
    fn eth0(host: &Host, primary: PrimaryPolicy) -> [(bool, RoutedBy, String); 2] {
        eni(host, primary, 0)
    }

    fn eni(host: &Host, primary: PrimaryPolicy, at: usize) -> [(bool, RoutedBy, String); 2] {
        let policy = Policy {
            primary,
            ..Policy::default()
        };
        let desired = Desired::for_host(host, &policy, Absence::Wait, 1);
        let desired = desired.unwrap_or_else(|error| panic!("{error}"));
        Family::BOTH.map(|family| {
            let Routing { primary, by, why } = desired.enis[at].routing(family);
            (*primary, *by, why.clone().unwrap_or_default())
        })
    }

    fn auto(host: &Host) -> (RoutedBy, String) {
        let [(primary, by, why), _] = eth0(host, PrimaryPolicy::Auto);
        assert!(primary);
        (by, why)
    }

    #[test]
    fn the_primary_keeps_to_main_where_main_alone_decides() {
        assert_eq!(auto(&apart()), (RoutedBy::Main, String::new()));
        let vpn = apart()
            .virtual_link(9, "wg0", "wireguard", &["10.8.0.6/24"])
            .route("10.0.0.0/8 via 10.8.0.1 dev wg0")
            .route("default dev wg0 table 51820")
            .rule("pref 100 fwmark 7 lookup 51820 protocol 0")
            .rule("pref 32000 from 10.9.0.0/16 lookup 51820 protocol 0");
        assert_eq!(auto(&vpn), (RoutedBy::Main, String::new()));
    }

    #[test]
    fn on_a_shared_subnet_the_on_link_prefix_alone_is_ruled() {
        let host = shared();
        let why = "eth1 is on the same subnet".to_owned();
        assert_eq!(auto(&host), (RoutedBy::OnLink, why));
        let desired = Desired::for_host(&host, &Policy::default(), Absence::Error, 1);
        let desired = desired.unwrap_or_else(|error| panic!("{error}"));
        let table = desired
            .routes
            .iter()
            .filter(|route| route.table == TableId(21000));
        let table: Vec<String> = table.map(|route| route.describe(&host)).collect();
        assert_eq!(
            table,
            ["172.16.20.0/24 dev eth0 table 21000 scope link proto 229"]
        );
        let rules = desired.rules.iter().map(ToString::to_string);
        let eth0: Vec<String> = rules.filter(|rule| rule.contains("21000")).collect();
        assert_eq!(
            eth0,
            ["pref 20299 from 172.16.20.176 lookup 21000 protocol 229"]
        );
        let [(_, by, why), _] = eth0_observed(&host);
        assert_eq!(
            (by, why.as_str()),
            (RoutedBy::Main, "the policy has primary = \"observe\"")
        );
    }

    fn eth0_observed(host: &Host) -> [(bool, RoutedBy, String); 2] {
        eth0(host, PrimaryPolicy::Observe)
    }

    #[test]
    fn where_mains_default_does_not_decide_the_primary_gets_a_table() {
        let table = |host: &Host| {
            let (by, why) = auto(host);
            assert_eq!(by, RoutedBy::Table, "{why}");
            why
        };
        let equal = apart().route("default via 172.16.21.253 dev eth1 metric 100");
        assert_eq!(table(&equal), "main has a default route by eth1 too");
        let tunnel = || apart().virtual_link(9, "wg0", "wireguard", &["10.8.0.6/24"]);
        let better = tunnel().route("default dev wg0");
        assert_eq!(table(&better), "main has a default route by wg0 too");
        let halves = tunnel().route("128.0.0.0/1 via 10.8.0.1 dev wg0");
        assert_eq!(table(&halves), "main sends 128.0.0.0/1 by wg0");
        let rule = tunnel()
            .route("default dev wg0 table 51820")
            .rule("pref 32765 lookup 51820 protocol 0");
        assert_eq!(
            table(&rule),
            "the rule 'pref 32765 from all lookup 51820 protocol 0' sends its packets by wg0"
        );
        // A rule before eni-steer's takes the packets in any case.
        let before = tunnel()
            .route("default dev wg0 table 52")
            .rule("pref 5270 lookup 52 protocol 0");
        assert_eq!(auto(&before).0, RoutedBy::Main);
    }

    #[test]
    fn the_primary_is_found_for_each_family() {
        let host = apart().route("default6 via fe80::1 dev eth1 metric 100 proto 9");
        let [v4, v6] = eni(&host, PrimaryPolicy::Auto, 0);
        assert_eq!((v4.0, v4.1), (true, RoutedBy::Main));
        assert_eq!((v6.0, v6.1), (false, RoutedBy::Main), "no IPv6 gateway");
        let [v4, v6] = eni(&host, PrimaryPolicy::Auto, 1);
        assert_eq!((v4.0, v4.1), (false, RoutedBy::Table));
        assert_eq!((v6.0, v6.1), (true, RoutedBy::Main));
        // A second advertisement, whatever its metric.
        let host = host.route("default6 via fe80::2 dev eth0 metric 1024 proto 9");
        let [_, v6] = eni(&host, PrimaryPolicy::Auto, 1);
        assert_eq!(
            v6,
            (
                true,
                RoutedBy::Table,
                "router advertisements come by eth0 too".to_owned()
            )
        );
        let [_, v6] = eni(&host, PrimaryPolicy::Auto, 0);
        assert_eq!((v6.0, v6.1), (false, RoutedBy::Table));
    }

    #[test]
    fn an_eni_without_a_gateway_is_right_on_a_subnet_that_it_shares() {
        let host = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24", "2001:db8:20::176/64"])
            .eni(3, "eth1", &["172.16.21.177/24", "2001:db8:20::177/64"])
            .route("default via 172.16.20.253 dev eth0");
        let enis = ["eth0", "eth1"].map(|name| crate::policy::EniPolicy::new(name.into()));
        let policy = Policy {
            enis: enis.to_vec(),
            ..Policy::default()
        };
        let desired = Desired::for_host(&host, &policy, Absence::Error, 1);
        let desired = desired.unwrap_or_else(|error| panic!("{error}"));
        let by = |at: usize| Family::BOTH.map(|family| desired.enis[at].routing(family).by);
        assert_eq!(by(0), [RoutedBy::Main, RoutedBy::OnLink]);
        assert_eq!(by(1), [RoutedBy::Main, RoutedBy::OnLink]);
        let defaults = desired.routes.iter().filter(|route| route.is_default());
        assert_eq!(defaults.count(), 0);
    }
}
