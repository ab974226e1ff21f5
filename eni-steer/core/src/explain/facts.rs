//! What decides about a packet beside what a [`Host`] holds. `eni-steer-linux` reads it for
//! `explain`; without it the walk takes the kernel's defaults for granted.
//!
//! [`Host`]: crate::model::Host

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::model::{IfIndex, TableId};

/// Neighbours and sysctls that plans never need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Of interfaces; only of those that have any.
    pub links: BTreeMap<IfIndex, LinkFacts>,
    /// Neighbours that the kernel knows.
    #[serde(with = "crate::model::pairs")]
    pub neighbours: BTreeMap<(IfIndex, IpAddr), NeighbourState>,
    /// `net.ipv6.conf.all.forwarding`. While it is off, the kernel passes over IPv6 gateways that
    /// did not answer (`ip6_pol_route` in net/ipv6/route.c).
    pub ipv6_forwarding: bool,
}

/// Settings of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkFacts {
    /// `net.ipv4.conf.<interface>.forwarding` is 0: IPv4 packets that came in are not forwarded.
    pub no_forwarding4: bool,
    /// `ignore_routes_with_linkdown` of IPv4, of the interface or of all.
    pub ignores_linkdown4: bool,
    /// `ignore_routes_with_linkdown` of IPv6, of the interface alone (`ip6_ignore_linkdown`).
    pub ignores_linkdown6: bool,
    /// `net.ipv4.conf.<interface>.rp_filter`, or that of all interfaces if it is larger.
    pub rp_filter: u32,
    /// `accept_local`, of the interface or of all.
    pub accepts_local: bool,
    /// `src_valid_mark`, of the interface or of all.
    pub source_valid_mark: bool,
    /// The table of the VRF, if the interface is one.
    pub vrf_table: Option<TableId>,
}

/// What the kernel knows of a neighbour (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeighbourState {
    /// It answers, or an administrator entered it by hand.
    Answers,
    /// It answered some time ago; the kernel asks again when it is used.
    Stale,
    /// It was asked, and no answer has come yet.
    Asked,
    /// It does not answer.
    Failed,
}
