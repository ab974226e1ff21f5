//! What the administrator wants: the policy, from the files of the configuration and from flags.
//!
//! `keys` is the registry: it has one entry for each key of the configuration. The reader of
//! the files ([`config`]), the flags ([`flags`]), `config show` ([`entries()`]) and the documents
//! all follow it.

mod access;
pub mod config;
mod entries;
pub mod flags;
mod input;
mod keys;
mod literal;
mod origin;
#[cfg(test)]
mod reference;
mod registry;
mod value;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    model::{AttachKind, Family, Mac, Mode, Settings, TableId},
    ownership::{Ownership, TABLE_BASE},
};

pub use access::{AccessAction, AccessRule, Balance};
pub use entries::{Entry, entries};
pub use literal::Value;
pub use origin::{Origin, Origins, Section};

/// How flags and files name an ENI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    /// By MAC address, which stays the same when the interface is renamed.
    Mac(Mac),
    /// By name or alternative name.
    Name(String),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Selector {
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_not_a_mac: String| Self::Name(text.to_owned()), Self::Mac)
    }
}

/// The gateway of an ENI, if the policy sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayChoice {
    /// This address.
    Address(IpAddr),
    /// The first address of the ENI's IPv4 subnet.
    First,
    /// The last address but two of the ENI's IPv4 subnet (.253 of a /24, Alibaba Cloud).
    Last,
}

impl GatewayChoice {
    /// The IP version that it is the gateway for.
    pub fn family(self) -> Family {
        match self {
            Self::Address(address) => Family::of(address),
            Self::First | Self::Last => Family::V4,
        }
    }
}

/// The policy of one ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniPolicy {
    /// Which interface it is.
    pub select: Selector,
    /// Whether eni-steer manages it. If not, eni-steer leaves it alone even where it looks for
    /// ENIs itself.
    #[serde(default = "yes")]
    pub managed: bool,
    /// Its table; `None`: the table base plus the number in its name.
    #[serde(default)]
    pub table: Option<TableId>,
    /// Its gateways, at most one for each family. eni-steer looks for a gateway of the other
    /// family itself.
    #[serde(default)]
    pub gateways: Vec<GatewayChoice>,
    /// Its mode; `None`: the mode of the policy.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Addresses that it owns in addition to those configured on it.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Prefixes that the cloud delegates to it.
    #[serde(default)]
    pub prefixes: Vec<IpNet>,
    /// Metric of the default route through it that eni-steer adds to the main table; `None`:
    /// eni-steer adds none.
    #[serde(default)]
    pub default_metric: Option<u32>,
}

fn yes() -> bool {
    true
}

impl EniPolicy {
    /// A managed ENI with nothing else set.
    pub fn new(select: Selector) -> Self {
        Self {
            select,
            managed: true,
            table: None,
            gateways: Vec::new(),
            mode: None,
            addresses: Vec::new(),
            prefixes: Vec::new(),
            default_metric: None,
        }
    }
}

/// Whether eni-steer looks for ENIs itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discover {
    /// Only if the policy names no managed ENI.
    #[default]
    IfNoneNamed,
    /// In addition to the ENIs that the policy names.
    Always,
}

/// What eni-steer does for the primary ENI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrimaryPolicy {
    /// The main table keeps routing the packets of the primary where it alone decides about them;
    /// elsewhere the primary gets a table and source rules.
    #[default]
    Auto,
    /// It counts the packets of the primary, and the main table keeps routing them.
    Observe,
    /// It gives the primary source rules and a table, like any other ENI.
    Full,
}

/// Which of the main table's routes through an ENI its table gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mirror {
    /// Those that change where a packet goes.
    #[default]
    Needed,
    /// All of them.
    Exact,
}

/// Sizes of the programs' maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// How many addresses and delegated prefixes the ENIs can own together.
    pub addresses: u32,
    /// Memory for the counters of single sources, in bytes, for all CPUs together.
    pub sources_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            addresses: 4096,
            sources_bytes: 32 << 20,
        }
    }
}

/// What eni-steer should do on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The ENIs that it names.
    pub enis: Vec<EniPolicy>,
    /// Whether eni-steer looks for others.
    pub discover: Discover,
    /// First of the table numbers that eni-steer uses.
    pub table_base: TableId,
    /// The protocol number, the priorities and the group that mark what is eni-steer's.
    pub ownership: Ownership,
    /// What eni-steer does for the primary ENI.
    pub primary: PrimaryPolicy,
    /// Which of the main table's routes the ENIs' tables get.
    pub mirror: Mirror,
    /// Whether eni-steer installs tables and rules.
    pub rules: bool,
    /// Whether eni-steer attaches its programs.
    pub programs: bool,
    /// Whether eni-steer changes rp_filter, arp_ignore and arp_announce where needed.
    pub sysctls: bool,
    /// How eni-steer attaches its programs; `None`: TCX if the kernel has it, else clsact.
    pub attach: Option<AttachKind>,
    /// Mode of the ENIs that have none of their own.
    pub mode: Mode,
    /// Destinations that eni-steer never steers or drops packets to. Link-local addresses and
    /// the metadata services are always exempt.
    pub exempt: Vec<IpNet>,
    /// The administrator's own rules, in their order.
    pub access: Vec<AccessRule>,
    /// How eni-steer spreads new connections over ENIs; `None`: it does not.
    pub balance: Option<Balance>,
    /// Whether eni-steer restores the kernel's own rule `from all lookup main` if another
    /// program deletes it.
    pub restore_default_rules: bool,
    /// Settings of the programs.
    pub settings: Settings,
    /// Sizes of the programs' maps.
    pub sizes: Sizes,
    /// Log level for developers that the programs are loaded with (aya-log: 0 off, 1 error to 5
    /// trace). `None`: programs that are attached keep theirs, new ones get 0.
    pub log_level: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enis: Vec::new(),
            discover: Discover::default(),
            table_base: TABLE_BASE,
            ownership: Ownership::default(),
            primary: PrimaryPolicy::default(),
            mirror: Mirror::default(),
            rules: true,
            programs: true,
            sysctls: true,
            attach: None,
            mode: Mode::Count,
            exempt: Vec::new(),
            access: Vec::new(),
            balance: None,
            restore_default_rules: false,
            settings: Settings::default(),
            sizes: Sizes::default(),
            log_level: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state file of an older version can lack fields that this version has.
    #[test]
    fn a_recorded_policy_without_a_field_has_its_default() {
        let policy: Policy = serde_json::from_str("{}").expect("a policy");
        assert_eq!(policy, Policy::default());
        let eni: EniPolicy = serde_json::from_str(r#"{ "select": { "name": "eth1" } }"#)
            .expect("the policy of an ENI");
        assert_eq!(eni, EniPolicy::new(Selector::from("eth1")));
        assert!(eni.managed);
    }

    #[test]
    fn a_selector_is_written_as_it_is_read() {
        for text in ["eth1", "02:00:5e:00:53:01", "02:00:5e:00:53"] {
            assert_eq!(Selector::from(text).to_string(), text);
        }
        let mac = Mac([2, 0, 0x5e, 0, 0x53, 1]);
        assert_eq!(Selector::from("02:00:5E:00:53:01"), Selector::Mac(mac));
        let name = "02:00:5e:00:53";
        assert_eq!(Selector::from(name), Selector::Name(name.to_owned()));
    }
}
