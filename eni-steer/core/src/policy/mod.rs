//! What the administrator wants: the validated policy, from flags or configuration.

mod access;
pub mod config;
mod origin;
pub mod written;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    model::{AttachKind, Family, Mac, Mode, Settings, TableId},
    ownership::{Ownership, TABLE_BASE},
};

pub use access::{AccessAction, AccessRule, Balance};
pub use origin::{Entry, Origin, Origins, Section, entries};

/// How an ENI is named in flags and configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    /// By MAC address: survives renames.
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

/// Where the gateway of an ENI comes from, when the policy says it.
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
    /// The family it speaks of.
    pub fn family(self) -> Family {
        match self {
            Self::Address(address) => Family::of(address),
            Self::First | Self::Last => Family::V4,
        }
    }
}

/// What the policy says of one ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniPolicy {
    /// Which one.
    pub select: Selector,
    /// Whether it is managed; one that is not is left alone even where ENIs are found.
    #[serde(default = "yes")]
    pub managed: bool,
    /// Its table; `None`: the table base plus its number.
    #[serde(default)]
    pub table: Option<TableId>,
    /// Its gateways, at most one of each family; a family without one is found out.
    #[serde(default)]
    pub gateways: Vec<GatewayChoice>,
    /// Its mode; `None`: that of the policy.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Addresses it owns beyond those configured on it.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Prefixes delegated to it.
    #[serde(default)]
    pub prefixes: Vec<IpNet>,
    /// Metric of a default route through it in main; `None`: main gets none of ours.
    #[serde(default)]
    pub default_metric: Option<u32>,
}

fn yes() -> bool {
    true
}

impl EniPolicy {
    /// An ENI of which nothing is said but that it is managed.
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

/// Whether ENIs that nobody names are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discover {
    /// Only where no managed ENI is named.
    #[default]
    IfNoneNamed,
    /// Beside those that are named.
    Always,
}

/// What is done for the primary ENI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrimaryPolicy {
    /// Counted and watched, no source rules: main serves it.
    #[default]
    Observe,
    /// Source rules and a table like any other ENI.
    Full,
}

/// Sizes of the programs' tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// Addresses and delegated prefixes that can be owned.
    pub addresses: u32,
    /// Memory for the per-source table, in bytes, for all CPUs together.
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

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The ENIs by name.
    pub enis: Vec<EniPolicy>,
    /// Whether others are found.
    pub discover: Discover,
    /// Base of the table numbers.
    pub table_base: TableId,
    /// Protocol number, priority band, group.
    pub ownership: Ownership,
    /// What is done for the primary.
    pub primary: PrimaryPolicy,
    /// Install tables and rules.
    pub rules: bool,
    /// Attach programs.
    pub programs: bool,
    /// Adjust rp_filter, arp_ignore and arp_announce where needed.
    pub sysctls: bool,
    /// How programs are attached; `None`: TCX where the kernel has it, else clsact.
    pub attach: Option<AttachKind>,
    /// Mode of ENIs that do not say their own.
    pub mode: Mode,
    /// Destinations that are never steered, beyond the metadata services'.
    pub exempt: Vec<IpNet>,
    /// Access rules, in their order.
    pub access: Vec<AccessRule>,
    /// How new connections are spread.
    pub balance: Option<Balance>,
    /// Put back the kernel's own rule that looks main up, should it be gone.
    pub restore_default_rules: bool,
    /// Settings of the programs.
    pub settings: Settings,
    /// Sizes of the programs' tables.
    pub sizes: Sizes,
    /// aya-log level of the programs (0: off).
    pub log_level: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enis: Vec::new(),
            discover: Discover::default(),
            table_base: TABLE_BASE,
            ownership: Ownership::default(),
            primary: PrimaryPolicy::default(),
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
            log_level: 0,
        }
    }
}
