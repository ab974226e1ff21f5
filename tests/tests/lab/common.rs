//! What several modules of tests share, and the library on the lab's host, for what the command can
//! not do.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use eni_steer_core::{
    desired::{Absence, Desired},
    model::Host,
    policy::{EniPolicy, Policy, Selector},
};
use eni_steer_linux::{
    bpf, namespace::Namespace, netlink::Netlink, observe::observe, paths::Paths,
};
use eni_steer_tests::{Lab, Steer};

/// Between two questions of a test that counts answers.
pub const BRIEFLY: Duration = Duration::from_millis(5);

/// With rules alone, then with the programs alone: each must know all sources.
pub const WAYS: [&[&str]; 2] = [
    &["--programs", "off"],
    &["--rules", "off", "--programs", "on", "--mode", "steer"],
];

/// Reads an address.
pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

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
    pub paths: Paths,
    pub host: Host,
}

impl Inside {
    /// Reads the host.
    pub fn look(steer: &Steer) -> Self {
        let paths = Paths {
            bpffs: steer.bpffs().path().to_owned(),
            run: steer.run_dir().to_owned(),
            // An empty place, where no DHCP client has written leases.
            root: PathBuf::from("/nonexistent"),
        };
        let netlink = Netlink::open().expect("a netlink socket");
        let host = observe(&netlink, &paths).expect("the host can be read");
        Self {
            netlink,
            paths,
            host,
        }
    }

    /// Returns what the host should have.
    pub fn desired(&self, policy: &Policy) -> Desired {
        Desired::for_host(&self.host, policy, Absence::Error, bpf::BUILD)
            .expect("the policy fits the lab")
    }
}

/// Runs something on a thread inside the host's namespace.
pub fn inside<T: Send>(lab: &Lab, work: impl FnOnce() -> T + Send) -> T {
    lab.host.run(work)
}

/// The name of the directories of the lab's host in the bpffs and in the run directory.
pub fn namespace_of(lab: &Lab) -> String {
    inside(lab, || {
        Namespace::here().expect("a namespace has a number").name()
    })
}
