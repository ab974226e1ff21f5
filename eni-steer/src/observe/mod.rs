//! Reads the host: links, addresses, routes, rules, sysctls, programs, and what was
//! written down about earlier changes. Whole, or an error; nothing is changed.

mod answer;
mod configuration;
mod leases;
mod run_files;
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
        Protocol, Route, Rule, RuleAction, TableId,
    },
    netlink::{Netlink, NetlinkError, Routes},
};

pub use answer::Answer;
pub use configuration::{CONFIG_PATH, UnreadableConfig, read_configuration};
pub use leases::Lease;
pub(crate) use leases::read_text as read_lease;
pub(crate) use run_files::{directory as state_directory, remove_file, replace as replace_file};
pub use state::{State, StateError};
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
    /// Routes of all tables, without those by which packets come to this host.
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
    let mut seen = changeable(netlink, places, Routes::Forwarding).await?;
    seen.addresses = netlink.addresses().await?;
    for kind in KnobKind::SYSCTLS {
        let value = sysctl::read("all", kind)?;
        seen.all.extend(value.map(|value| (kind, value)));
    }
    let ethernet = seen.links.values();
    let ethernet = ethernet.filter(|link| link.mac.is_some() && !link.loopback);
    let ethernet = ethernet.map(|link| link.index).collect();
    let pins = bpf::PinRoot::here(&places.bpffs)?;
    seen.others = bpf::others(&pins, netlink, &ethernet).await?;
    (seen.leases, seen.unasked) = leases::read(&places.root, &seen.links, &seen.addresses);
    Ok(seen)
}

/// Reads again what a step can change, and of the routes those that carry this protocol number:
/// what is left of a plan shows in it. Addresses and leases, which say what a host should have,
/// are not in it.
pub async fn observe_changes(
    netlink: &Netlink,
    places: &Places,
    ours: Protocol,
) -> Result<Observed, ObserveError> {
    changeable(netlink, places, Routes::Of(ours)).await
}

async fn changeable(
    netlink: &Netlink,
    places: &Places,
    routes: Routes,
) -> Result<Observed, ObserveError> {
    let mut seen = Observed::default();
    for (link, sysctls) in netlink.interfaces().await? {
        if link.mac.is_some() {
            let index = link.index;
            let group = (KnobKind::Group, link.group.0);
            let knobs = sysctls.into_iter().chain([group]);
            let knobs = knobs.map(|(kind, value)| (Knob { index, kind }, value));
            seen.knobs.extend(knobs);
        }
        seen.links.insert(link.index, link);
    }
    seen.routes = netlink.routes(routes).await?;
    seen.rules = netlink.rules().await?;
    seen.memory = State::read(places)?.memory;
    let pins = bpf::PinRoot::here(&places.bpffs)?;
    seen.datapath = bpf::observe(&pins, netlink).await?.unwrap_or_default();
    seen.other_layouts = pins.other_layouts()?;
    Ok(seen)
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
