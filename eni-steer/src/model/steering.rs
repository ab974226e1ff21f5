//! What the TC programs are told and where they are attached: one set of types for what
//! is wanted and for what is read back from the kernel.
//!
//! ENIs are named by interface index here; the slots of the maps are an affair of
//! [`crate::bpf`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Direction, IfIndex, Mac, Mode};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachKind {
    /// A TCX link (kernel 6.6 and later), pinned in bpffs.
    Tcx,
    /// A direct-action filter of cls_bpf on the clsact qdisc, at our priority and handle.
    Clsact,
}

impl fmt::Display for AttachKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// One of our programs on one hook, as read from the kernel, or as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// How.
    pub kind: AttachKind,
    /// Which object the program came from: hash of the object file, as the ENI's row
    /// remembers it. A difference means an upgrade.
    pub build: u64,
    /// aya-log level it was loaded with (0: off).
    pub log_level: u32,
}

/// Somebody else's program on the same hook, and whether it runs before ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Kernel id of the program.
    pub id: u32,
    /// Its name (empty if it has none or may not be read).
    pub name: String,
    /// How it is attached.
    pub kind: AttachKind,
    /// It sees packets before ours does, and can keep them from ours.
    pub before_ours: bool,
}

/// Who owns an address or a delegated prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// This ENI.
    Eni(IfIndex),
    /// Two ENIs have it, so nobody does: counted, never steered.
    Ambiguous,
}

/// How an ENI's table reaches a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHop {
    /// The destination is a neighbour on the ENI.
    OnLink {
        /// MTU of the route, if it has one of its own.
        mtu: Option<u32>,
    },
    /// Through a gateway, of either family.
    Via {
        /// The gateway.
        gateway: IpAddr,
        /// MTU of the route, if it has one of its own.
        mtu: Option<u32>,
    },
    /// Blackhole, unreachable or prohibit.
    Refuse,
}

/// An ENI as the programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniRow {
    /// Its MAC address: counters belong to it.
    pub mac: Mac,
    /// MTU in bytes.
    pub mtu: u32,
    /// What its egress program does with a mismatch.
    pub mode: Mode,
    /// Whether it is up, so that packets can be steered to it.
    pub up: bool,
}

/// Settings that hold for all ENIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `(mark, mask)` of packets that are never steered.
    pub exempt_mark: Option<(u32, u32)>,
    /// Prefix length to which remote IPv4 sources are folded (32: each on its own).
    pub source_length4: u8,
    /// The same for IPv6 (128: each on its own).
    pub source_length6: u8,
    /// Mismatch events a CPU may send each second.
    pub events_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exempt_mark: None,
            source_length4: 32,
            source_length6: 128,
            events_per_second: 100,
        }
    }
}

/// Everything the datapath is told, wanted or seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datapath {
    /// Settings; `None`: the maps do not exist.
    pub settings: Option<Settings>,
    /// ENIs under management.
    pub enis: BTreeMap<IfIndex, EniRow>,
    /// Our programs. One ENI has both directions or the plan is not empty.
    #[serde(with = "pairs")]
    pub attachments: BTreeMap<(IfIndex, Direction), Attachment>,
    /// Owned addresses (host prefixes) and delegated prefixes.
    pub owners: BTreeMap<IpNet, Owner>,
    /// Each ENI's table.
    #[serde(with = "pairs")]
    pub next_hops: BTreeMap<(IfIndex, IpNet), NextHop>,
    /// Destinations that are never steered.
    pub exempt: BTreeSet<IpNet>,
}

/// Maps with composite keys as lists of pairs: JSON keys can only be strings.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K, V, S>(map: &BTreeMap<K, V>, s: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        s.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(d: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(d)?.into_iter().collect())
    }
}
