//! Which routes and rules are eni-steer's own ("ours"): the numbers with which eni-steer creates
//! them and by which it recognises them. No other file decides this.
//!
//! Two mistakes are possible: to leave something of eni-steer's behind, and to mistake another
//! program's object for eni-steer's own. The second is far worse, because eni-steer deletes what is
//! its own. Therefore an object is eni-steer's own if it carries eni-steer's protocol number, which
//! no other program writes. Its table, its priority and its content never matter.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::{Group, Priority, Protocol, Route, Rule, TableId};

/// Default protocol number of eni-steer's routes and rules. iproute2's rt_protos does not list it,
/// and no tool in our survey uses it.
pub(crate) const PROTOCOL: Protocol = Protocol(229);

/// Default band: the range of priorities of eni-steer's rules. It comes after the rules of CNI
/// plugins and VPNs, and before those of nm-cloud-setup (30200) and the main table (32766).
pub(crate) const BAND: RangeInclusive<u32> = 20000..=20999;

/// Default number of the first table of eni-steer. No tool in our survey uses these numbers.
pub(crate) const TABLE_BASE: TableId = TableId(21000);

/// Default interface group that eni-steer puts its ENIs into.
pub(crate) const GROUP: Group = Group(20229);

// Offsets of the rules in the band. Rules that refuse come before rules that choose an interface,
// and packets of an owned source reach their source rule before any other rule can choose for them:
//
//     0          the first rule: specific destinations that do not leave by an ENI stay with the
//                main table
//     10 - 298   access rules that refuse, in the order of the configuration
//     299        rules to a table that has on-link prefixes only
//     300 - 428  source rules, the longest prefix first
//     450        rules for sockets that are bound to an ENI
//     500 - 789  access rules that lead to an ENI, in the order of the configuration
//     899        with balance: default routes of main by other interfaces, such as a VPN
//     900        balance

/// The first access rule that refuses its packets.
const REFUSAL_OFFSET: u32 = 10;
/// The rules for sources that use the main table, except for their own subnets. Their table has no
/// default route, so a packet that it does not serve goes on to the source rules.
const ON_LINK_OFFSET: u32 = 299;
/// The source rules. A rule for a longer prefix comes before a rule for a shorter one, as in a
/// routing table.
const SOURCE_OFFSET: u32 = 300;
/// The rules for sockets that are bound to an ENI. No packet matches two of them, so they share one
/// priority.
const BOUND_OFFSET: u32 = 450;
/// The first access rule that leads to an ENI.
const STEER_OFFSET: u32 = 500;
/// With balance, the rule before it, which leaves what main sends through other interfaces to main.
const BEFORE_BALANCE_OFFSET: u32 = 899;
/// The balance rule.
const BALANCE_OFFSET: u32 = 900;
/// How many access rules of each kind the band has room for.
pub(crate) const ACCESS_RULES: u32 = 289;
/// The smallest band, in priorities, that holds all of eni-steer's rules.
pub(crate) const MIN_BAND: u32 = BALANCE_OFFSET + 1;

/// How many table numbers eni-steer may give out, counted from the base: offsets 0 to 499 by the
/// number in an ENI's name, the following ones by interface index, and the last one for balance.
pub(crate) const TABLES: u32 = 1000;

/// The numbers that mark eni-steer's objects under one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ownership {
    /// Protocol number of routes and rules.
    pub protocol: Protocol,
    /// Lowest priority of the band.
    pub first: Priority,
    /// Highest priority of the band.
    pub last: Priority,
    /// Interface group of the ENIs.
    pub group: Group,
    /// Whether the band stays where it is, although rules without a priority of their own stand
    /// before it. Never in a configuration.
    #[serde(skip)]
    pub stays: bool,
}

impl Default for Ownership {
    fn default() -> Self {
        Self {
            protocol: PROTOCOL,
            first: Priority(*BAND.start()),
            last: Priority(*BAND.end()),
            group: GROUP,
            stays: false,
        }
    }
}

impl Ownership {
    /// These numbers, with a band of the same length that stays where it begins now.
    pub fn staying_at(&self, first: Priority) -> Self {
        let span = self.last.0.saturating_sub(self.first.0);
        Self {
            first,
            last: Priority(first.0.saturating_add(span)),
            stays: true,
            ..self.clone()
        }
    }

    /// Whether a rule is eni-steer's own, whatever its priority.
    pub fn rule(&self, rule: &Rule) -> bool {
        rule.protocol == self.protocol
    }

    /// Whether a route is eni-steer's own, whatever its table.
    pub fn route(&self, route: &Route) -> bool {
        route.protocol == self.protocol
    }

    /// Whether a priority lies in the band.
    pub(crate) fn in_band(&self, priority: Priority) -> bool {
        (self.first..=self.last).contains(&priority)
    }

    /// Priority of the first rule, `lookup main suppress_prefixlength 7 suppress_ifgroup`.
    pub(crate) fn main_priority(&self) -> Priority {
        self.first
    }

    /// Priority of the n-th access rule that refuses its packets.
    pub(crate) fn refusal_priority(&self, n: u32) -> Priority {
        Priority(self.first.0 + REFUSAL_OFFSET + n)
    }

    /// Priority of the n-th access rule that leads to an ENI.
    pub(crate) fn steer_rule_priority(&self, n: u32) -> Priority {
        Priority(self.first.0 + STEER_OFFSET + n)
    }

    /// Priority of the rules to a table that has on-link prefixes only.
    pub(crate) fn on_link_priority(&self) -> Priority {
        Priority(self.first.0 + ON_LINK_OFFSET)
    }

    /// Priority of the rules for sockets that are bound to an ENI.
    pub(crate) fn bound_priority(&self) -> Priority {
        Priority(self.first.0 + BOUND_OFFSET)
    }

    /// Priority of the rule before the balance rule: `lookup main suppress_ifgroup`.
    pub(crate) fn before_balance_priority(&self) -> Priority {
        Priority(self.first.0 + BEFORE_BALANCE_OFFSET)
    }

    /// Priority of the rule that looks up the balance table.
    pub(crate) fn balance_priority(&self) -> Priority {
        Priority(self.first.0 + BALANCE_OFFSET)
    }

    /// Priority of the source rule of a prefix. The longer the prefix, the lower the number, so the
    /// kernel evaluates it earlier. The priority depends on nothing else, so a new address never
    /// moves the rule of another one.
    pub(crate) fn source_priority(&self, prefix: ipnet::IpNet) -> Priority {
        let shorter = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
        Priority(self.first.0 + SOURCE_OFFSET + shorter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_place_counted_from_the_first_priority_of_the_band() {
        let numbers = Ownership {
            first: Priority(5000),
            last: Priority(5999),
            ..Ownership::default()
        };
        let prefix = |text: &str| text.parse().expect("a prefix");
        let places = [
            numbers.main_priority(),
            numbers.refusal_priority(0),
            numbers.refusal_priority(7),
            numbers.source_priority(prefix("10.0.0.1/32")),
            numbers.source_priority(prefix("2001:db8::1/128")),
            numbers.source_priority(prefix("10.0.0.0/28")),
            numbers.source_priority(prefix("2001:db8::/80")),
            numbers.bound_priority(),
            numbers.steer_rule_priority(0),
            numbers.steer_rule_priority(7),
            numbers.balance_priority(),
        ];
        assert_eq!(
            places.map(|place| place.0 - 5000),
            [0, 10, 17, 300, 300, 304, 348, 450, 500, 507, 900]
        );
        assert!(places.iter().all(|place| numbers.in_band(*place)));
        for outside in [4999, 6000] {
            assert!(!numbers.in_band(Priority(outside)));
        }
    }
}
