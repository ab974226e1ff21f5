//! Default routes in the main table for secondary ENIs, with a metric greater than the primary's
//! (`default-metric`).
//!
//! Old systems configure no default route for a secondary ENI. Without one, a socket that is bound
//! to the ENI (`SO_BINDTODEVICE`) reaches only the ENI's own subnet.

use std::net::IpAddr;

use super::{context::Context, eni::Eni, error::PolicyError, routes};
use crate::model::{Family, Hop, Route, TableId, covers, host_prefix, link_local};

/// The default routes to add to the main table. An ENI for which another program has added one
/// needs none.
pub(super) fn routes(
    cx: &Context<'_>,
    enis: &[Eni],
    unserved: &mut Vec<PolicyError>,
) -> Result<Vec<Route>, PolicyError> {
    let mut ours: Vec<Route> = Vec::new();
    for eni in enis.iter().filter(|eni| eni.up) {
        let Some(metric) = eni.default_metric else {
            continue;
        };
        for family in Family::BOTH.into_iter().filter(|family| eni.has(*family)) {
            let Some(gateway) = eni.gateway(family) else {
                continue;
            };
            let template = routes::default_route_to(cx, TableId::MAIN, family);
            let route = Route {
                // IPv6 has no metric 0.
                metric: if metric == 0 { template.metric } else { metric },
                hops: vec![Hop {
                    onlink: !is_neighbour_in_main(cx, eni, gateway.address),
                    ..Hop::new(eni.index, Some(gateway.address))
                }],
                ..template
            };
            let defaults = || routes::defaults_of_main(cx, family);
            if defaults().any(|other| other.hop_by(eni.index).is_some()) {
                continue;
            }
            let same_place = |other: &&Route| {
                other.destination == route.destination && other.metric == route.metric
            };
            // With a lower metric than the best one, the primary's packets would leave by this ENI.
            let overtaken = defaults()
                .min_by_key(|other| other.metric)
                .filter(|best| best.metric >= route.metric);
            if let Some(other) = overtaken.or_else(|| defaults().chain(&ours).find(same_place)) {
                let not_behind = PolicyError::MetricNotBehind {
                    eni: eni.name.clone(),
                    metric: route.metric,
                    route: other.describe(cx.host),
                };
                cx.leave_out(not_behind, unserved)?;
                continue;
            }
            ours.push(route);
        }
    }
    Ok(ours)
}

/// Whether the main table has an on-link route for an address through the ENI. The ENI's addresses
/// do not tell: its connected route can be gone while the address is still there.
fn is_neighbour_in_main(cx: &Context<'_>, eni: &Eni, gateway: IpAddr) -> bool {
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
        desired::{Absence, Desired, GatewaySource},
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

    fn applied(host: Host, desired: &Desired) -> Host {
        let plan = Plan::between(desired, &host);
        let mut kernel = FakeExecutor { host };
        let report = apply(&plan, &mut kernel);
        assert!(report.failed.is_none());
        kernel.host
    }

    fn defaults_in_main(host: &Host) -> Vec<String> {
        let defaults = host.routes.iter();
        defaults
            .filter(|route| route.table == TableId::MAIN && route.is_default())
            .map(|route| route.describe(host))
            .collect()
    }

    #[test]
    fn a_default_in_main_is_added_with_its_metric_and_exactly_it_is_removed() {
        let policy = policy();
        let before = two_enis();
        let desired = Desired::for_host(&before, &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        let host = applied(before.clone(), &desired);
        let ours = "default via 172.16.30.253 dev eth1 table main metric 200 proto 229";
        assert!(
            defaults_in_main(&host).contains(&ours.to_owned()),
            "{:?}",
            defaults_in_main(&host)
        );
        let again = Desired::for_host(&host, &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        assert!(Plan::between(&again, &host).is_empty());
        let nothing = Desired::empty(policy.ownership.clone());
        assert_eq!(
            defaults_in_main(&applied(host, &nothing)),
            defaults_in_main(&before)
        );
    }

    #[test]
    fn our_default_in_main_makes_no_eni_the_primary_and_is_no_source_of_a_gateway() {
        let mut policy = policy();
        policy.enis[0].gateways = vec![GatewayChoice::Last];
        let desired = Desired::for_host(&two_enis(), &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        let host = applied(two_enis(), &desired);
        let host = host.without_route("default via 172.16.20.253 dev eth0 metric 100");
        // Only eni-steer's own default route is left, and it does not make eth1 the primary.
        let again = Desired::for_host(&host, &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        assert!(again.enis.iter().all(|eni| !eni.primary));
        policy.enis[1].gateways = vec![GatewayChoice::First];
        let changed = Desired::for_host(&host, &policy, Absence::Error, 1)
            .expect("the host allows the policy");
        let gateway = changed.enis[1]
            .gateway(Family::V4)
            .expect("the policy names one");
        assert_eq!(gateway.address.to_string(), "172.16.30.1");
        assert_eq!(gateway.source, GatewaySource::Policy);
    }

    #[test]
    fn an_eni_with_another_programs_default_in_main_gets_none_of_ours() {
        let host = two_enis().route("default via 172.16.30.253 dev eth1 metric 2048");
        let desired = Desired::for_host(&host, &policy(), Absence::Error, 1)
            .expect("the host allows the policy");
        assert!(
            desired
                .routes
                .iter()
                .all(|route| route.table != TableId::MAIN)
        );
    }

    #[test]
    fn a_metric_not_greater_than_mains_own_is_refused_and_a_daemon_leaves_the_route_out() {
        let mut policy = policy();
        for metric in [0, 99, 100] {
            policy.enis[1].default_metric = Some(metric);
            let error = Desired::for_host(&two_enis(), &policy, Absence::Error, 1)
                .expect_err("the metric is not greater");
            assert!(
                error.to_string().contains("dev eth0 table main metric 100"),
                "{error}"
            );
            let desired = Desired::for_host(&two_enis(), &policy, Absence::Wait, 1)
                .expect("the route is left out");
            assert!(desired.routes.iter().all(|r| r.table != TableId::MAIN));
        }
    }
}
