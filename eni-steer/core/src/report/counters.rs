//! What `counters` says.

use eni_steer_common::Class;
use serde::Serialize;

use crate::{
    counters::{Count, EniId, Snapshot},
    model::Direction,
};

/// The counters, and how much of them is shown.
#[derive(Debug, Serialize)]
pub struct CountersReport<'a> {
    /// The counters.
    #[serde(flatten)]
    pub counters: &'a Snapshot,
    /// What no listed source accounts for, by ENI and direction.
    pub other: Vec<Unlisted>,
    /// Sources shown of each ENI and direction; the others are added up in one row.
    #[serde(skip)]
    pub top: usize,
    /// Only these ENIs; empty: all.
    #[serde(skip)]
    pub enis: Vec<String>,
}

/// What no listed source accounts for.
#[derive(Clone, Debug, Serialize)]
pub struct Unlisted {
    /// The ENI.
    pub eni: EniId,
    /// Which way.
    pub direction: Direction,
    /// IPv4.
    pub ipv4: Count,
    /// IPv6.
    pub ipv6: Count,
    /// Not IP, or tagged: there are no sources.
    pub other: Count,
}

impl<'a> CountersReport<'a> {
    /// The report of a snapshot; `None` for `top`: all sources.
    pub fn new(counters: &'a Snapshot, top: Option<usize>, enis: Vec<String>) -> Self {
        let of = |eni, direction, class| counters.other(eni, direction, class).unwrap_or_default();
        let other = counters
            .enis
            .iter()
            .flat_map(|eni| Direction::BOTH.map(|direction| (eni.id, direction)))
            .map(|(eni, direction)| Unlisted {
                eni,
                direction,
                ipv4: of(eni, direction, Class::Ipv4),
                ipv6: of(eni, direction, Class::Ipv6),
                other: of(eni, direction, Class::Other),
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
