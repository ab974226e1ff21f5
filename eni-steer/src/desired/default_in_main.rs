//! A default route in main, behind the primary's, for an ENI that nobody gave one: old
//! systems configure none, and without it a socket bound to the ENI (`SO_BINDTODEVICE`)
//! reaches its subnet only.

use super::{Eni, Refusal, routes};
use crate::{
    model::{Family, Hop, Route, TableId},
    observe::Observed,
    policy::Policy,
};

/// The routes. An ENI that has a default of somebody else in main needs none of ours.
pub(super) fn routes(
    seen: &Observed,
    policy: &Policy,
    enis: &[Eni],
) -> Result<Vec<Route>, Refusal> {
    let mut ours: Vec<Route> = Vec::new();
    for eni in enis.iter().filter(|eni| eni.up) {
        let Some(metric) = eni.default_metric else {
            continue;
        };
        for family in Family::BOTH.into_iter().filter(|family| eni.has(*family)) {
            let Some(gateway) = eni.gateway(family) else {
                continue;
            };
            let blank = routes::blank(policy, TableId::MAIN, family);
            let route = Route {
                // IPv6 has no metric 0.
                metric: if metric == 0 { blank.metric } else { metric },
                hops: vec![Hop {
                    onlink: !eni.is_neighbour(gateway.address),
                    ..Hop::new(eni.index, Some(gateway.address))
                }],
                ..blank
            };
            let defaults = || {
                seen.routes.iter().filter(|other| {
                    let place = other.table == TableId::MAIN && other.is_default();
                    place && other.family() == family && !policy.ownership.route(other)
                })
            };
            if defaults().any(|other| other.hop_by(eni.index).is_some()) {
                continue;
            }
            let there = defaults().chain(&ours).find(|other| {
                other.destination == route.destination && other.metric == route.metric
            });
            if let Some(other) = there {
                return Err(Refusal::MetricTaken {
                    eni: eni.name.clone(),
                    metric: route.metric,
                    route: crate::plan::route_text(other, |index| seen.name(index)),
                });
            }
            ours.push(route);
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        apply::{ModelKernel, apply},
        desired::{Desired, GatewaySource},
        plan::{Plan, route_text},
        policy::{EniPolicy, GatewayChoice, Selector},
        testing::host,
    };

    fn two_enis() -> Observed {
        host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.30.177/24"])
            .route("default via 172.16.20.253 dev eth0 metric 1024")
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

    fn applied(seen: Observed, desired: &Desired) -> Observed {
        let plan = Plan::between(desired, &seen);
        let mut kernel = ModelKernel { seen };
        let report = apply(&plan, &mut kernel).now_or_never();
        assert!(report.expect("the model never waits").failed.is_none());
        kernel.seen
    }

    fn of_main(seen: &Observed) -> Vec<String> {
        let defaults = seen.routes.iter();
        defaults
            .filter(|route| route.table == TableId::MAIN && route.is_default())
            .map(|route| route_text(route, |index| seen.name(index)))
            .collect()
    }

    #[test]
    fn a_default_in_main_is_added_with_its_metric_and_exactly_it_is_removed() {
        let policy = policy();
        let before = two_enis();
        let desired = Desired::for_host(&before, &policy, 1).expect("it is served");
        let seen = applied(before.clone(), &desired);
        let ours = "default via 172.16.30.253 dev eth1 table main metric 200 proto 229";
        assert!(
            of_main(&seen).contains(&ours.to_owned()),
            "{:?}",
            of_main(&seen)
        );
        let again = Desired::for_host(&seen, &policy, 1).expect("it is served");
        assert!(Plan::between(&again, &seen).is_empty());
        let nothing = Desired::nothing(policy.ownership.clone());
        assert_eq!(of_main(&applied(seen, &nothing)), of_main(&before));
    }

    #[test]
    fn our_default_in_main_makes_no_eni_the_primary_and_is_nobodys_gateway() {
        let mut policy = policy();
        let desired = Desired::for_host(&two_enis(), &policy, 1).expect("it is served");
        let seen = applied(two_enis(), &desired);
        // Ours has the better metric, and still eth0 is the primary.
        let again = Desired::for_host(&seen, &policy, 1).expect("it is served");
        let primary: Vec<bool> = again.enis.iter().map(|eni| eni.primary).collect();
        assert_eq!(primary, [true, false]);
        policy.enis[1].gateways = vec![GatewayChoice::First];
        let changed = Desired::for_host(&seen, &policy, 1).expect("it is served");
        let gateway = changed.enis[1]
            .gateway(Family::V4)
            .expect("the policy says it");
        assert_eq!(gateway.address.to_string(), "172.16.30.1");
        assert_eq!(gateway.source, GatewaySource::Policy);
    }

    #[test]
    fn an_eni_with_a_default_of_somebody_else_in_main_gets_none_of_ours() {
        let seen = two_enis().route("default via 172.16.30.253 dev eth1 metric 2048");
        let desired = Desired::for_host(&seen, &policy(), 1).expect("it is served");
        assert!(
            desired
                .routes
                .iter()
                .all(|route| route.table != TableId::MAIN)
        );
    }

    #[test]
    fn a_metric_that_somebody_elses_default_has_is_refused() {
        let mut policy = policy();
        policy.enis[1].default_metric = Some(1024);
        let refusal = Desired::for_host(&two_enis(), &policy, 1).expect_err("it is taken");
        assert!(refusal.to_string().contains("metric 1024"), "{refusal}");
    }
}
