//! A default route in main, behind the primary's, for an ENI that nobody gave one: old
//! systems configure none, and without it a socket bound to the ENI (`SO_BINDTODEVICE`)
//! reaches its subnet only.

use std::net::IpAddr;

use super::{Absence, Context, Eni, PolicyError, routes};
use crate::model::{Family, Hop, Route, TableId, covers, host_prefix, link_local};

/// The routes. An ENI that has a default of somebody else in main needs none of ours.
pub(super) fn routes(cx: &Context<'_>, enis: &[Eni]) -> Result<Vec<Route>, PolicyError> {
    let mut ours: Vec<Route> = Vec::new();
    for eni in enis.iter().filter(|eni| eni.up) {
        let Some(metric) = eni.default_metric else {
            continue;
        };
        for family in Family::BOTH.into_iter().filter(|family| eni.has(*family)) {
            let Some(gateway) = eni.gateway(family) else {
                continue;
            };
            let blank = routes::default_route_to(cx, TableId::MAIN, family);
            let route = Route {
                // IPv6 has no metric 0.
                metric: if metric == 0 { blank.metric } else { metric },
                hops: vec![Hop {
                    onlink: !neighbour(cx, eni, gateway.address),
                    ..Hop::new(eni.index, Some(gateway.address))
                }],
                ..blank
            };
            let defaults = || routes::defaults_of_main(cx, family);
            if defaults().any(|other| other.hop_by(eni.index).is_some()) {
                continue;
            }
            let same_place = |other: &&Route| {
                other.destination == route.destination && other.metric == route.metric
            };
            // One that came first would make main serve the primary's sources by this ENI.
            let best = defaults().min_by_key(|other| other.metric);
            let ahead = best.filter(|best| best.metric >= route.metric);
            if let Some(other) = ahead.or_else(|| defaults().chain(&ours).find(same_place)) {
                if cx.absence == Absence::Wait {
                    continue;
                }
                return Err(PolicyError::MetricNotBehind {
                    eni: eni.name.clone(),
                    metric: route.metric,
                    route: other.describe(cx.host),
                });
            }
            ours.push(route);
        }
    }
    Ok(ours)
}

/// Whether main itself says that an address is a neighbour on the ENI. Its connected route
/// can be gone while the address stays.
fn neighbour(cx: &Context<'_>, eni: &Eni, gateway: IpAddr) -> bool {
    (gateway.is_ipv6() && link_local(gateway))
        || cx.host.routes.iter().any(|route| {
            let hop = route.hop_by(eni.index);
            route.table == TableId::MAIN
                && !cx.policy.ownership.route(route)
                && hop.is_some_and(|hop| hop.gateway.is_none())
                && covers(route.destination, host_prefix(gateway))
        })
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::model::Host;
    use crate::policy::Policy;
    use crate::{
        apply::apply,
        desired::{Desired, GatewaySource},
        fake::FakeExecutor,
        fake::fake_host,
        plan::Plan,
        policy::{EniPolicy, GatewayChoice, Selector},
    };

    fn two_enis() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.30.177/24"])
            .route("default via 172.16.20.253 dev eth0 metric 100")
    }

    fn policy() -> Policy {
        let mut eth1 = EniPolicy::new(Selector::from("eth1"));
        eth1.gateways = vec![GatewayChoice::Last];
        eth1.default_metric = Some(200);
        Policy {
            enis: vec![EniPolicy::new(Selector::from("eth0")), eth1],
            ..Policy::default()
        }
    }

    fn applied(seen: Host, desired: &Desired) -> Host {
        let plan = Plan::between(desired, &seen);
        let mut kernel = FakeExecutor { host: seen };
        let report = apply(&plan, &mut kernel);
        assert!(report.failed.is_none());
        kernel.host
    }

    fn of_main(seen: &Host) -> Vec<String> {
        let defaults = seen.routes.iter();
        defaults
            .filter(|route| route.table == TableId::MAIN && route.is_default())
            .map(|route| route.describe(seen))
            .collect()
    }

    #[test]
    fn a_default_in_main_is_added_with_its_metric_and_exactly_it_is_removed() {
        let policy = policy();
        let before = two_enis();
        let desired = Desired::for_host(&before, &policy, Absence::Error, 1).expect("it is served");
        let seen = applied(before.clone(), &desired);
        let ours = "default via 172.16.30.253 dev eth1 table main metric 200 proto 229";
        assert!(
            of_main(&seen).contains(&ours.to_owned()),
            "{:?}",
            of_main(&seen)
        );
        let again = Desired::for_host(&seen, &policy, Absence::Error, 1).expect("it is served");
        assert!(Plan::between(&again, &seen).is_empty());
        let nothing = Desired::empty(policy.ownership.clone());
        assert_eq!(of_main(&applied(seen, &nothing)), of_main(&before));
    }

    #[test]
    fn our_default_in_main_makes_no_eni_the_primary_and_is_nobodys_gateway() {
        let mut policy = policy();
        policy.enis[0].gateways = vec![GatewayChoice::Last];
        let desired =
            Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect("it is served");
        let seen = applied(two_enis(), &desired);
        let seen = seen.without_route("default via 172.16.20.253 dev eth0 metric 100");
        // Ours is the only one left, and still eth1 is not the primary.
        let again = Desired::for_host(&seen, &policy, Absence::Error, 1).expect("it is served");
        assert!(again.enis.iter().all(|eni| !eni.primary));
        policy.enis[1].gateways = vec![GatewayChoice::First];
        let changed = Desired::for_host(&seen, &policy, Absence::Error, 1).expect("it is served");
        let gateway = changed.enis[1]
            .gateway(Family::V4)
            .expect("the policy says it");
        assert_eq!(gateway.address.to_string(), "172.16.30.1");
        assert_eq!(gateway.source, GatewaySource::Policy);
    }

    #[test]
    fn an_eni_with_a_default_of_somebody_else_in_main_gets_none_of_ours() {
        let seen = two_enis().route("default via 172.16.30.253 dev eth1 metric 2048");
        let desired = Desired::for_host(&seen, &policy(), Absence::Error, 1).expect("it is served");
        assert!(
            desired
                .routes
                .iter()
                .all(|route| route.table != TableId::MAIN)
        );
    }

    #[test]
    fn a_metric_that_does_not_come_behind_mains_own_is_refused_and_a_daemon_leaves_it_out() {
        let mut policy = policy();
        for metric in [0, 99, 100] {
            policy.enis[1].default_metric = Some(metric);
            let refusal =
                Desired::for_host(&two_enis(), &policy, Absence::Error, 1).expect_err("not behind");
            assert!(
                refusal
                    .to_string()
                    .contains("dev eth0 table main metric 100"),
                "{refusal}"
            );
            let desired =
                Desired::for_host(&two_enis(), &policy, Absence::Wait, 1).expect("it is left out");
            assert!(desired.routes.iter().all(|r| r.table != TableId::MAIN));
        }
    }
}
