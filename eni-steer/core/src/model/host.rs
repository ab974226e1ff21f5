//! The host as eni-steer observed it: the input of every decision.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Address, Datapath, Family, ForeignProgram, Hook, IfIndex, Lease, Link, Route, Rule, RuleAction,
    SavedValue, TableId, Tunable, TunableKind,
};

/// Everything eni-steer read from the host at one moment. `eni-steer-linux` fills it; nothing in
/// this crate reads the host itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Interfaces, by index.
    pub links: BTreeMap<IfIndex, Link>,
    /// Addresses, in the kernel's order.
    pub addresses: Vec<Address>,
    /// Routes of all tables, without those by which packets come to this host.
    pub routes: Vec<Route>,
    /// Rules, in the kernel's order within a family.
    pub rules: Vec<Rule>,
    /// Knobs of Ethernet interfaces as they are set now.
    #[serde(with = "super::pairs")]
    pub tunables: BTreeMap<Tunable, u32>,
    /// `net.ipv4.conf.all.*`: the kernel takes the larger of this and the interface's.
    pub all: BTreeMap<TunableKind, u32>,
    /// Values that tunables had before eni-steer changed them, from the state file.
    #[serde(with = "super::pairs")]
    pub saved: BTreeMap<Tunable, SavedValue>,
    /// Our programs and their tables.
    pub datapath: Datapath,
    /// Layouts of other versions that have pins, and maybe programs, here.
    #[serde(default)]
    pub other_layouts: BTreeSet<u32>,
    /// Programs of others on the hooks of Ethernet interfaces, in the order in which they run.
    #[serde(with = "super::pairs")]
    pub foreign_programs: BTreeMap<Hook, Vec<ForeignProgram>>,
    /// Gateways from the lease files of DHCP clients.
    pub leases: Vec<Lease>,
    /// Sources that could not be read, each with the reason. A gateway that such a source may
    /// have named keeps the value of the last apply.
    #[serde(default)]
    pub unavailable: Vec<String>,
}

impl Host {
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

    /// Name of an interface; `#` and its index if it is gone.
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

    /// The value a tunable had before us: what was written down, unless somebody else has
    /// turned it since.
    pub fn baseline(&self, tunable: Tunable) -> Option<u32> {
        let now = *self.tunables.get(&tunable)?;
        match self.saved.get(&tunable) {
            Some(saved) if saved.ours == now => Some(saved.previous),
            _ => Some(now),
        }
    }
}

impl super::Names for Host {
    fn name(&self, index: IfIndex) -> String {
        Self::name(self, index)
    }
}
