//! What the TC programs read from their maps: the same types for what the host should have and
//! for what was read back from the kernel.
//!
//! ENIs are named by interface index here. The maps name them by slot; only
//! `eni-steer-linux` knows the slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Attachment, Hook, IfIndex, Mac, Mode};

/// Who owns an address or a delegated prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    pub attachments: BTreeMap<Hook, Attachment>,
    /// Owned addresses (host prefixes) and delegated prefixes.
    pub owners: BTreeMap<IpNet, Owner>,
    /// Each ENI's table.
    #[serde(with = "pairs")]
    pub next_hops: BTreeMap<(IfIndex, IpNet), NextHop>,
    /// Destinations that are never steered.
    pub exempt: BTreeSet<IpNet>,
}

/// Maps with composite keys as lists of pairs: JSON keys can only be strings.
pub mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a map as a list of pairs.
    pub fn serialize<K, V, S>(map: &BTreeMap<K, V>, s: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        s.collect_seq(map)
    }

    /// Reads a map from a list of pairs.
    pub fn deserialize<'de, K, V, D>(d: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(d)?.into_iter().collect())
    }
}
