//! Uses the library on the lab's host, for what the command can not do.

use std::path::PathBuf;

use eni_steer::{
    bpf,
    desired::Desired,
    netlink::Netlink,
    observe::{Observed, Places, observe},
    policy::{EniPolicy, Policy, Selector},
};
use eni_steer_tests::{Lab, Steer};

/// Returns a policy for these ENIs with defaults for everything else.
pub fn policy(enis: &[&str]) -> Policy {
    let eni = |name: &&str| EniPolicy::new(Selector::from(*name));
    Policy {
        enis: enis.iter().map(eni).collect(),
        ..Policy::default()
    }
}

/// The host as the library sees it, from a thread inside the namespace.
pub struct Inside {
    pub netlink: Netlink,
    pub places: Places,
    pub seen: Observed,
}

impl Inside {
    /// Reads the host.
    pub async fn look(steer: &Steer) -> Self {
        let places = Places {
            bpffs: steer.bpffs().path().to_owned(),
            run: steer.run_dir().to_owned(),
            // An empty place, where no DHCP client has written leases.
            root: PathBuf::from("/nonexistent"),
        };
        let netlink = Netlink::open().expect("a netlink socket");
        let seen = observe(&netlink, &places)
            .await
            .expect("the host can be read");
        Self {
            netlink,
            places,
            seen,
        }
    }

    /// Returns what the host should have.
    pub fn desired(&self, policy: &Policy) -> Desired {
        Desired::for_host(&self.seen, policy, bpf::BUILD).expect("the policy fits the lab")
    }
}

/// Runs a future on a thread inside the host's namespace.
pub fn inside<T: Send, F: Future<Output = T>>(lab: &Lab, work: impl FnOnce() -> F + Send) -> T {
    lab.host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(work())
    })
}
