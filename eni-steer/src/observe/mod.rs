//! Reads the host: links, addresses, routes, rules, sysctls, programs, and what was
//! written down about earlier changes. Whole, or an error; nothing is changed.

mod answer;
mod configuration;
mod leases;
mod state;
mod sysctl;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    bpf,
    model::{
        Address, Datapath, Direction, Family, IfIndex, Knob, KnobKind, Link, Memory, Position,
        Route, Rule, RuleAction, TableId,
    },
    netlink::{Netlink, NetlinkError},
};

pub use answer::Answer;
pub use configuration::{CONFIG_PATH, UnreadableConfig, read_configuration};
pub use leases::Lease;
pub(crate) use leases::read_text as read_lease;
pub use state::{State, StateError};
pub(crate) use state::{directory as state_directory, replace as replace_file};
pub(crate) use sysctl::write as write_sysctl;

/// Where things are read from and written to: everything but the network namespace, which
/// is that of the calling thread.
#[derive(Clone, Debug)]
pub struct Places {
    /// Mount point of bpffs.
    pub bpffs: PathBuf,
    /// Directory of the files that remember previous values (gone at reboot, like them).
    pub run: PathBuf,
    /// Where DHCP clients keep their leases below (`/`, or a test's directory).
    pub root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            bpffs: "/sys/fs/bpf".into(),
            run: "/run/eni-steer".into(),
            root: "/".into(),
        }
    }
}

/// The host as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Interfaces.
    pub links: BTreeMap<IfIndex, Link>,
    /// Addresses, in the kernel's order.
    pub addresses: Vec<Address>,
    /// Routes of all tables.
    pub routes: Vec<Route>,
    /// Rules, in the kernel's order within a family.
    pub rules: Vec<Rule>,
    /// Knobs of Ethernet interfaces as they are set now.
    #[serde(with = "crate::model::pairs")]
    pub knobs: BTreeMap<Knob, u32>,
    /// `net.ipv4.conf.all.*`: the kernel takes the larger of this and the interface's.
    pub all: BTreeMap<KnobKind, u32>,
    /// Previous values of knobs turned by us.
    #[serde(with = "crate::model::pairs")]
    pub memory: BTreeMap<Knob, Memory>,
    /// Our programs and their tables.
    pub datapath: Datapath,
    /// Layouts of other versions that have pins, and maybe programs, here.
    #[serde(default)]
    pub other_layouts: BTreeSet<u32>,
    /// Programs of others on the ENIs' hooks.
    #[serde(with = "crate::model::pairs")]
    pub others: BTreeMap<(IfIndex, Direction), Vec<Position>>,
    /// Gateways that DHCP clients have written down.
    pub leases: Vec<Lease>,
    /// Sources that could not be asked, and why. A gateway they may have named stays as an
    /// earlier apply has written it down.
    #[serde(default)]
    pub unasked: Vec<String>,
}

/// Why the host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Routing.
    #[error("cannot read the host's routing")]
    Netlink(#[from] NetlinkError),
    /// Programs and maps.
    #[error("cannot read eni-steer's programs and maps")]
    Bpf(#[from] bpf::BpfError),
    /// The file of previous values.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sysctl.
    #[error("cannot read {path}")]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Reads the host.
pub async fn observe(netlink: &Netlink, places: &Places) -> Result<Observed, ObserveError> {
    let links: BTreeMap<IfIndex, Link> = netlink
        .links()
        .await?
        .into_iter()
        .map(|link| (link.index, link))
        .collect();
    let addresses = netlink.addresses().await?;
    let routes = netlink.routes().await?;
    let rules = netlink.rules().await?;
    let mut knobs = BTreeMap::new();
    for link in links.values().filter(|link| link.mac.is_some()) {
        knobs.insert(
            Knob {
                index: link.index,
                kind: KnobKind::Group,
            },
            link.group.0,
        );
        for kind in KnobKind::SYSCTLS {
            // An interface that went away between the dump and here has no files.
            if let Some(value) = sysctl::read(&link.name, kind)? {
                knobs.insert(
                    Knob {
                        index: link.index,
                        kind,
                    },
                    value,
                );
            }
        }
    }
    let mut all = BTreeMap::new();
    for kind in KnobKind::SYSCTLS {
        all.extend(sysctl::read("all", kind)?.map(|value| (kind, value)));
    }
    let state = State::read(places)?;
    let pins = bpf::PinRoot::here(&places.bpffs)?;
    let datapath = bpf::observe(&pins, netlink).await?.unwrap_or_default();
    let ethernet = links
        .values()
        .filter(|link| link.mac.is_some() && !link.loopback);
    let ethernet = ethernet.map(|link| link.index).collect();
    let others = bpf::others(&pins, netlink, &ethernet).await?;
    let (leases, unasked) = leases::read(&places.root, &links, &addresses);
    Ok(Observed {
        leases,
        unasked,
        links,
        addresses,
        routes,
        rules,
        knobs,
        all,
        memory: state.memory,
        datapath,
        other_layouts: pins.other_layouts()?,
        others,
    })
}

impl Observed {
    /// The interface of this name or alternative name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links
            .values()
            .find(|link| link.name == name)
            .or_else(|| {
                self.links
                    .values()
                    .find(|l| l.altnames.iter().any(|alt| alt == name))
            })
    }

    /// Name of an interface, or its number if it is gone.
    pub fn name(&self, index: IfIndex) -> String {
        self.links
            .get(&index)
            .map_or_else(|| format!("#{index}"), |link| link.name.clone())
    }

    /// Usable addresses of an interface: no loopback, link-local or tentative ones.
    pub fn usable_addresses(&self, index: IfIndex) -> impl Iterator<Item = &Address> {
        self.addresses
            .iter()
            .filter(move |address| address.index == index && address.global && !address.tentative)
    }

    /// Rules of a family in the order in which the kernel asks them.
    pub fn rules_of(&self, family: Family) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.family == family)
    }

    /// Whether a rule without conditions leads to main: without it nothing of the host's
    /// default routing works.
    pub fn has_main_rule(&self, family: Family) -> bool {
        let main = RuleAction::Table(TableId::MAIN);
        self.rules_of(family)
            .any(|rule| *rule == Rule::new(family, rule.priority, rule.protocol, main))
    }

    /// The value a knob had before us: what was written down, unless somebody else has
    /// turned it since.
    pub fn baseline(&self, knob: Knob) -> Option<u32> {
        let now = *self.knobs.get(&knob)?;
        match self.memory.get(&knob) {
            Some(memory) if memory.ours == now => Some(memory.previous),
            _ => Some(now),
        }
    }
}
