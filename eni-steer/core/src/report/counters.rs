//! The report of `counters`.

use eni_steer_common::Class;
use serde::Serialize;

use crate::{
    counters::{Count, EniId, Snapshot},
    model::Direction,
};

/// The counters, and which part of them the command shows.
#[derive(Debug, Serialize)]
pub struct CountersReport<'a> {
    /// The counters as read, or their difference over a window.
    #[serde(flatten)]
    pub counters: &'a Snapshot,
    /// The packets that no listed source accounts for, by ENI and direction.
    pub other: Vec<Unlisted>,
    /// How many sources text shows for each ENI and direction; it adds up the others in one row.
    #[serde(skip)]
    pub top: usize,
    /// Names of the ENIs to show; empty: all.
    #[serde(skip)]
    pub enis: Vec<String>,
}

/// The packets of one ENI and direction that no listed source accounts for.
#[derive(Clone, Debug, Serialize)]
pub struct Unlisted {
    /// Identifier of the ENI.
    pub eni: EniId,
    /// Ingress or egress.
    pub direction: Direction,
    /// IPv4 packets.
    pub ipv4: Count,
    /// IPv6 packets.
    pub ipv6: Count,
    /// Packets that are not IP or have a VLAN tag: all of them, because they have no sources.
    pub other: Count,
}

impl<'a> CountersReport<'a> {
    /// The report of a snapshot. `top` limits the sources shown; `None`: all of them.
    pub fn new(counters: &'a Snapshot, top: Option<usize>, enis: Vec<String>) -> Self {
        let other_of =
            |eni, direction, class| counters.other(eni, direction, class).unwrap_or_default();
        let other = counters
            .enis
            .iter()
            .flat_map(|eni| Direction::BOTH.map(|direction| (eni.id, direction)))
            .map(|(eni, direction)| Unlisted {
                eni,
                direction,
                ipv4: other_of(eni, direction, Class::Ipv4),
                ipv6: other_of(eni, direction, Class::Ipv6),
                other: other_of(eni, direction, Class::Other),
            })
            .collect();
        Self {
            counters,
            other,
            top: top.unwrap_or(usize::MAX),
            enis,
        }
    }

    /// Name of an ENI; its MAC address if the interface is gone.
    pub fn name(&self, id: EniId) -> String {
        let eni = self.counters.eni(id);
        eni.map_or_else(
            || id.0.to_string(),
            |eni| eni.name.clone().unwrap_or_else(|| eni.mac.to_string()),
        )
    }

    /// Whether the report shows this ENI.
    pub fn shows(&self, id: EniId) -> bool {
        self.enis.is_empty() || self.enis.contains(&self.name(id))
    }
}
