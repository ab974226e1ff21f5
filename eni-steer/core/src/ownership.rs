//! What is ours: the numbers by which objects are made and recognised. Only here.
//!
//! There are two mistakes to make: to leave something of ours behind, and to take
//! something of somebody else's for ours. The second is far worse, since what is ours may
//! be deleted; so recognition asks for the protocol number, which nobody else writes, and
//! never goes by place (table, priority) or content.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::{Group, Priority, Protocol, Route, Rule, TableId};

/// Default protocol number of our routes and rules. Free in iproute2's rt_protos and in
/// every tool surveyed.
pub const PROTOCOL: Protocol = Protocol(229);

/// Default priority band of our rules: behind CNIs and VPNs, before nm-cloud-setup (30200)
/// and main (32766).
pub const BAND: RangeInclusive<u32> = 20000..=20999;

/// Default base of our tables: free in every tool surveyed.
pub const TABLE_BASE: TableId = TableId(21000);

/// Default interface group of managed ENIs.
pub const GROUP: Group = Group(20229);

// Paths in the band, as offsets. What refuses comes before what chooses a way out; what
// belongs to an owner goes its owner's way before anything else may choose one:
//
//     0          what main sends elsewhere than through an ENI stays as main says
//     10 - 299   access rules that refuse, in their order
//     300 - 428  source rules, the longest prefix first
//     500 - 789  access rules that lead to an ENI, in their order
//     900        balance

/// The rule that lets main decide for what leaves by no ENI.
const MAIN_OFFSET: u32 = 0;
/// The first access rule that refuses.
const REFUSAL_OFFSET: u32 = 10;
/// Source rules; a rule of a longer prefix comes before one of a shorter one, as in a
/// routing table.
const SOURCE_OFFSET: u32 = 300;
/// The first access rule that leads to an ENI.
const STEER_OFFSET: u32 = 500;
/// The balance rule.
const BALANCE_OFFSET: u32 = 900;
/// How many access rules of each kind there is room for.
pub const ACCESS_RULES: u32 = 290;
/// The smallest band that holds them all.
pub const MIN_BAND: u32 = BALANCE_OFFSET + 1;

/// How many tables from the base on are ours to number: 0 to 499 after the number in an
/// ENI's name, then after interface indexes, the last for balance.
pub const TABLES: u32 = 1000;

/// The numbers in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ownership {
    /// Protocol of routes and rules.
    pub protocol: Protocol,
    /// First priority of the band.
    pub first: Priority,
    /// Last priority of the band.
    pub last: Priority,
    /// Group of managed ENIs.
    pub group: Group,
}

impl Default for Ownership {
    fn default() -> Self {
        Self {
            protocol: PROTOCOL,
            first: Priority(*BAND.start()),
            last: Priority(*BAND.end()),
            group: GROUP,
        }
    }
}

impl Ownership {
    /// Whether a rule is ours, wherever it stands.
    pub fn rule(&self, rule: &Rule) -> bool {
        rule.protocol == self.protocol
    }

    /// Whether a route is ours, in whatever table.
    pub fn route(&self, route: &Route) -> bool {
        route.protocol == self.protocol
    }

    /// Whether a priority lies in our band.
    pub fn in_band(&self, priority: Priority) -> bool {
        (self.first..=self.last).contains(&priority)
    }

    /// Priority of the `suppress_ifgroup` rule.
    pub fn main_priority(&self) -> Priority {
        Priority(self.first.0 + MAIN_OFFSET)
    }

    /// Priority of the n-th access rule that refuses.
    pub fn refusal_priority(&self, n: u32) -> Priority {
        Priority(self.first.0 + REFUSAL_OFFSET + n)
    }

    /// Priority of the n-th access rule that leads to an ENI.
    pub fn steer_rule_priority(&self, n: u32) -> Priority {
        Priority(self.first.0 + STEER_OFFSET + n)
    }

    /// Priority of the balance rule.
    pub fn balance_priority(&self) -> Priority {
        Priority(self.first.0 + BALANCE_OFFSET)
    }

    /// Priority of the source rule of a prefix: the longer, the earlier. It depends on
    /// nothing else, so that a new address never moves the rule of another one.
    pub fn source_priority(&self, prefix: ipnet::IpNet) -> Priority {
        let shorter = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
        Priority(self.first.0 + SOURCE_OFFSET + shorter)
    }
}
