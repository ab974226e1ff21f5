//! What the TC programs read from their maps. The desired state and the state that
//! `eni-steer-linux` read back from the kernel have the same types, so the plan can compare them.
//!
//! An ENI is identified by its interface index here. The maps identify it by a slot, which only
//! `eni-steer-linux` knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Attachment, Hook, IfIndex, Mac, Mode};

/// The owner of an address or a delegated prefix: the ENI that its packets should leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The ENI with this interface index.
    Eni(IfIndex),
    /// Two ENIs have the address, so it has no owner: the programs count its packets and never
    /// steer them.
    Ambiguous,
}

/// How an ENI's routing table reaches a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHop {
    /// Directly: the destination is a neighbour on the ENI.
    OnLink {
        /// MTU of the route; `None`: the MTU of the ENI counts.
        mtu: Option<u32>,
    },
    /// Through a gateway. An IPv4 destination can have an IPv6 gateway.
    Via {
        /// Address of the gateway.
        gateway: IpAddr,
        /// MTU of the route; `None`: the MTU of the ENI counts.
        mtu: Option<u32>,
    },
    /// Not at all: the route is a blackhole, unreachable or prohibit route, or it puts packets into
    /// other packets, which the programs cannot do.
    Refuse,
}

/// What the programs know about an ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniRow {
    /// MAC address. The counters belong to it, so an ENI that is unplugged and comes back keeps
    /// its counters.
    pub mac: Mac,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// What the egress program does with a mismatch, a packet that is leaving by this ENI although
    /// another one owns its source.
    pub mode: Mode,
    /// Whether the ENI is up. The programs steer no packets to one that is down.
    pub up: bool,
}

/// Settings of the programs on all ENIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `(mark, mask)`: the programs never steer a packet with this mark.
    pub exempt_mark: Option<(u32, u32)>,
    /// The programs count remote IPv4 sources by prefix of this length (32: each address on its
    /// own).
    pub source_length4: u8,
    /// The same for IPv6 (128: each address on its own).
    pub source_length6: u8,
    /// How many mismatch events each CPU may send per second.
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

/// Everything in the programs' maps, and the attached programs, as read from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datapath {
    /// Settings of the programs; `None`: the maps do not exist.
    pub settings: Option<Settings>,
    /// The ENIs that the programs know.
    pub enis: BTreeMap<IfIndex, EniRow>,
    /// eni-steer's attached programs. If an ENI lacks one of its two, the plan attaches it.
    #[serde(with = "pairs")]
    pub attachments: BTreeMap<Hook, Attachment>,
    /// Owners of addresses (as /32 or /128 prefixes) and of delegated prefixes.
    pub owners: BTreeMap<IpNet, Owner>,
    /// Copy of each ENI's routing table, by ENI and destination.
    #[serde(with = "pairs")]
    pub next_hops: BTreeMap<(IfIndex, IpNet), NextHop>,
    /// Destinations whose packets the programs never steer.
    pub exempt: BTreeSet<IpNet>,
}

/// Serializes maps with composite keys as lists of pairs, because JSON keys can only be strings.
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
