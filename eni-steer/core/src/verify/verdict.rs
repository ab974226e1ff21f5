//! The verdict on routing, as values.

use std::net::IpAddr;

use serde::Serialize;

use super::GatewayCheck;
use crate::model::{Reachability, Rule};

/// Which destination a probe asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The gateway of the ENI.
    Gateway,
    /// A neighbour on the ENI's subnet.
    OnLink,
    /// A destination behind the default route.
    Far,
    /// A destination that the main table does not send through an ENI, such as a container or a
    /// VPN.
    Elsewhere,
}

/// The rule that decides about a packet.
#[derive(Clone, Debug, Serialize)]
pub struct Winner {
    /// The deciding rule; `None`: no rule decides, so the packet has no route.
    pub rule: Option<Rule>,
    /// Whether that rule is eni-steer's own.
    pub rule_is_ours: bool,
    /// The tool that probably installed it; `None`: unknown, or eni-steer.
    pub rule_owner: Option<&'static str>,
}

/// A source whose packets do not leave by the interface that they should leave by.
#[derive(Clone, Debug, Serialize)]
pub struct Misrouted {
    /// Source address of the packet.
    pub source: IpAddr,
    /// Name of the ENI that owns the source.
    pub owner: String,
    /// Kind of destination.
    pub probe: Probe,
    /// Destination address of the packet.
    pub to: IpAddr,
    /// Name of the interface that the packet should leave by: the owner, or the one that the main
    /// table sends the destination through.
    pub wanted: String,
    /// Name of the interface that the packet leaves by; `None`: the kernel refuses the packet.
    pub by: Option<String>,
    /// Whether the owner uses the main table for this destination, because eni-steer gives it no
    /// default route of its own: it is the primary, or has no gateway.
    pub served_by_main: bool,
    /// What to do if eni-steer cannot serve the owner in this family, because it knows no gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unserved: Option<String>,
    /// The rule that decides.
    #[serde(flatten)]
    pub winner: Winner,
}

/// An ENI by which a socket that is bound to it does not reach the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Unbound {
    /// Name of the ENI.
    pub eni: String,
    /// Destination address of the packet.
    pub to: IpAddr,
    /// The gateway that the packet should go to.
    pub wanted: IpAddr,
    /// Name of the interface that the packet leaves by; `None`: the kernel refuses the packet.
    pub by: Option<String>,
    /// The gateway that it goes to instead; `None`: none, so the kernel takes the destination for
    /// a neighbour.
    pub gateway: Option<IpAddr>,
}

/// An access or balance rule of eni-steer whose packets another rule decides about.
#[derive(Clone, Debug, Serialize)]
pub struct Overruled {
    /// The rule that does not get its packets.
    pub overruled: Rule,
    /// A packet that the rule matches, in the words of `ip route get`.
    pub packet: String,
    /// Name of the interface that the packet leaves by; `None`: the kernel refuses the packet.
    pub by: Option<String>,
    /// The rule that decides instead.
    #[serde(flatten)]
    pub winner: Winner,
}

/// Whether the policy is in place, and whether the kernel routes by it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PolicyVerdict {
    /// Every difference between the host and the policy, as plan lines.
    pub drift: Vec<String>,
    /// The same differences folded for people ([`crate::plan::Plan::lines`]).
    #[serde(skip)]
    pub drift_folded: Vec<String>,
    /// The gateways of ENIs, and whether they answer; empty: nobody asked them.
    pub gateways: Vec<GatewayCheck>,
    /// Sources whose packets leave by a wrong interface.
    pub misrouted: Vec<Misrouted>,
    /// ENIs by which sockets that are bound to them do not reach the gateway.
    pub unbound: Vec<Unbound>,
    /// Access and balance rules that do not get their packets.
    pub overruled: Vec<Overruled>,
    /// Number of lookups that the kernel answered.
    pub probes: usize,
    /// Number of those that an access rule refuses, as the configuration wants it.
    pub refused: usize,
    /// Access rules that eni-steer could not test, and those whose packets an earlier rule of the
    /// configuration takes.
    pub notes: Vec<String>,
}

impl PolicyVerdict {
    /// Whether everything is in place, every probe leaves as it should, and no gateway is silent.
    pub fn holds(&self) -> bool {
        let silent = |check: &GatewayCheck| check.state == Reachability::Failed;
        self.drift.is_empty()
            && self.misrouted.is_empty()
            && self.unbound.is_empty()
            && self.overruled.is_empty()
            && !self.gateways.iter().any(silent)
    }
}
