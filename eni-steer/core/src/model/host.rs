//! The host as eni-steer read it: the input of every decision.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Address, Datapath, Family, ForeignProgram, Hook, IfIndex, Lease, Link, RejectedLease, Route,
    Rule, RuleAction, SavedValue, TableId, Tunable, TunableKind,
};

/// Everything eni-steer read from the host at one moment. `eni-steer-linux` fills it; nothing in
/// this crate reads the host itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Interfaces, by interface index.
    pub links: BTreeMap<IfIndex, Link>,
    /// Addresses, in the kernel's order.
    pub addresses: Vec<Address>,
    /// Routes of all tables, without the local ones that deliver packets to this host.
    pub routes: Vec<Route>,
    /// Routes of other programs that deliver a prefix to this host (`local`), without those that
    /// the kernel keeps for each address. Agents of clouds add them for load balancers.
    #[serde(default)]
    pub local_routes: Vec<Route>,
    /// Rules, in the kernel's order within a family.
    pub rules: Vec<Rule>,
    /// Current values of the tunables of Ethernet interfaces.
    #[serde(with = "super::pairs")]
    pub tunables: BTreeMap<Tunable, u32>,
    /// Values of `net.ipv4.conf.all.*`: the kernel uses the larger of this value and the
    /// interface's own.
    pub all: BTreeMap<TunableKind, u32>,
    /// Values that tunables had before eni-steer changed them, from the state file.
    #[serde(with = "super::pairs")]
    pub saved: BTreeMap<Tunable, SavedValue>,
    /// eni-steer's programs and the contents of their maps.
    pub datapath: Datapath,
    /// Map layouts of other eni-steer versions that have pins, and perhaps programs, on this host.
    #[serde(default)]
    pub other_layouts: BTreeSet<u32>,
    /// Other tools' programs on the hooks of Ethernet interfaces, in the order in which they run.
    #[serde(with = "super::pairs")]
    pub foreign_programs: BTreeMap<Hook, Vec<ForeignProgram>>,
    /// Gateways from the lease files of DHCP clients.
    pub leases: Vec<Lease>,
    /// Leases that do not count.
    #[serde(default)]
    pub rejected_leases: Vec<RejectedLease>,
    /// Sources that eni-steer could not read, each with the reason. A gateway that such a source
    /// may have named keeps the value of the last apply.
    #[serde(default)]
    pub unavailable: Vec<String>,
    /// The error of the state file, if it is damaged: `saved` is empty then.
    #[serde(default)]
    pub damaged_state: Option<String>,
}

impl Host {
    /// The interface with this name or alternative name.
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

    /// The addresses of an interface that can be used to talk to other hosts: global and not
    /// tentative.
    pub(crate) fn usable_addresses(&self, index: IfIndex) -> impl Iterator<Item = &Address> {
        self.addresses
            .iter()
            .filter(move |address| address.index == index && address.global && !address.tentative)
    }

    /// The rules of a family, in the order in which the kernel evaluates them.
    pub(crate) fn rules_of(&self, family: Family) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.family == family)
    }

    /// Whether a rule without conditions looks up the main table. Without it, a packet that no
    /// other rule serves has no route.
    pub(crate) fn has_main_rule(&self, family: Family) -> bool {
        let main = RuleAction::Table(TableId::MAIN);
        self.rules_of(family)
            .any(|rule| *rule == Rule::new(family, rule.priority, rule.protocol, main))
    }

    /// The value that a tunable had before eni-steer changed it: the saved value, or the current
    /// one if another program has changed the tunable since. `None`: the interface has no such
    /// tunable.
    pub(crate) fn baseline(&self, tunable: Tunable) -> Option<u32> {
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
