//! Whether the gateways of ENIs answer. A gateway that is dead or mistyped loses every packet
//! behind it, although every rule and route is in place.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    desired::Desired,
    model::{Family, IfIndex, Reachability},
};

/// Whether the gateway of an ENI answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayCheck {
    /// Name of the ENI.
    pub eni: String,
    /// Its gateway.
    pub gateway: IpAddr,
    /// How many addresses of the gateway's family the ENI owns: those that need it.
    pub addresses: usize,
    /// Whether the gateway answers.
    pub state: Reachability,
}

/// The gateways to ask: those of ENIs that are up.
pub fn gateways_to_ask(desired: &Desired) -> Vec<(IfIndex, IpAddr)> {
    let up = desired.enis.iter().filter(|eni| eni.up);
    up.flat_map(|eni| {
        let gateways = eni.gateways.iter();
        gateways.map(|gateway| (eni.index, gateway.address))
    })
    .collect()
}

/// The answers to [`gateways_to_ask`], in the same order, as checks.
pub fn gateway_checks(desired: &Desired, states: &[Reachability]) -> Vec<GatewayCheck> {
    let asked = gateways_to_ask(desired).into_iter().zip(states);
    asked
        .filter_map(|((index, gateway), state)| {
            let eni = desired.enis.iter().find(|eni| eni.index == index)?;
            let family = Family::of(gateway);
            let of_family = |net: &&IpNet| Family::of_net(**net) == family;
            Some(GatewayCheck {
                eni: eni.name.clone(),
                gateway,
                addresses: eni.owned.iter().filter(of_family).count(),
                state: *state,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Absence, fake::fake_host, policy::Policy};

    #[test]
    fn each_gateway_of_an_eni_that_is_up_is_asked_and_gets_its_answer() {
        let host = fake_host()
            .eni(
                2,
                "eth0",
                &["172.16.20.176/24", "fd00:20::176/64", "fd00:20::7/64"],
            )
            .eni(3, "eth1", &["172.16.30.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("default6 via fd00:20::253 dev eth0")
            .route("default via 172.16.30.253 dev eth1 metric 200");
        let policy = Policy::default();
        let mut desired =
            Desired::for_host(&host, &policy, Absence::Error, 1).unwrap_or_else(|e| panic!("{e}"));
        let asked = gateways_to_ask(&desired);
        assert_eq!(asked.len(), 3);
        let states = [
            Reachability::Reachable,
            Reachability::Failed,
            Reachability::Unknown,
        ];
        let checks: Vec<_> = gateway_checks(&desired, &states)
            .into_iter()
            .map(|check| {
                (
                    check.eni,
                    check.gateway.to_string(),
                    check.addresses,
                    check.state,
                )
            })
            .collect();
        let check = |eni: &str, gateway: &str, addresses, state| {
            (eni.to_owned(), gateway.to_owned(), addresses, state)
        };
        assert_eq!(
            checks,
            [
                check("eth0", "172.16.20.253", 1, Reachability::Reachable),
                check("eth0", "fd00:20::253", 2, Reachability::Failed),
                check("eth1", "172.16.30.253", 1, Reachability::Unknown),
            ]
        );
        for eni in &mut desired.enis {
            eni.up = eni.name == "eth1";
        }
        assert_eq!(gateways_to_ask(&desired), [asked[2]]);
    }
}
