//! The emergency brake: what eni-steer has on a host whose traffic it leaves alone.

use super::Desired;
use crate::{
    model::{Host, Mode},
    ownership::Ownership,
};

impl Desired {
    /// What is installed now without everything that decides about packets: no rules, no routes,
    /// tunables as they were before, and every program counts only. Maps, programs and counters
    /// stay. It depends on nothing but the host, so it works whatever the configuration says.
    pub fn hands_off(host: &Host, ownership: &Ownership) -> Self {
        let mut desired = Self::from_host(host, ownership);
        desired.rules.clear();
        desired.routes.clear();
        desired.tunables.clear();
        let enis = desired.datapath.iter_mut();
        for eni in enis.flat_map(|datapath| datapath.enis.values_mut()) {
            eni.mode = Mode::Count;
        }
        desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apply::apply,
        desired::Absence,
        fake::{FakeExecutor, fake_host},
        plan::Plan,
        policy::Policy,
    };

    #[test]
    fn nothing_decides_about_packets_any_more_and_everything_comes_back() {
        let host = fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0");
        let policy = Policy {
            mode: Mode::Steer,
            ..Policy::default()
        };
        let wanted = |host: &Host| {
            Desired::for_host(host, &policy, Absence::Error, 1).expect("it is allowed")
        };
        let mut kernel = FakeExecutor { host: host.clone() };
        let mut carry_out = |wanted: &Desired| {
            let plan = Plan::between(wanted, &kernel.host);
            assert!(apply(&plan, &mut kernel).failed.is_none());
            kernel.host.clone()
        };
        let on = carry_out(&wanted(&host));
        let off = Desired::hands_off(&on, &policy.ownership);
        let now = carry_out(&off);
        assert_eq!(now.rules, host.rules);
        assert_eq!(now.routes, host.routes);
        assert_eq!(now.tunables, host.tunables);
        assert_eq!(now.datapath.attachments, on.datapath.attachments);
        assert!(
            now.datapath
                .enis
                .values()
                .all(|eni| eni.mode == Mode::Count)
        );
        assert_eq!(now.datapath.enis.len(), 2);
        // Off once more changes nothing.
        let again = Desired::hands_off(&now, &policy.ownership);
        assert!(Plan::between(&again, &now).is_empty());
        assert_eq!(carry_out(&wanted(&now)), on);
    }
}
