//! Walks the rules as the kernel does and says which one decides, and why the ones before it did
//! not.
//!
//! ```text
//! walk      the rules in their order, and what the kernel does before and after it asks them
//! select    whether a rule selects a packet
//! table     which route of a table has the answer
//! facts     what decides beside routes and rules: neighbours, sysctls
//! owner     which ENI owns a source
//! live      what real lookups of a source used
//! datapath  what eni-steer's programs do with the packet on the ENI by which it leaves
//! ```
//!
//! The kernel's own answer stays the judge ([`RouteLookup`]); the walk only gives it a name. Where
//! the two differ, the report says so: then this module is wrong about the kernel. The kernel
//! functions that each part follows stand at its head; all is as in Linux 6.18.

mod datapath;
mod facts;
mod live;
mod owner;
mod select;
mod table;
mod walk;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::model::{
    Family, Flow, Hop, Host, IfIndex, Priority, RareSelector, Route, RouteKind, RouteLookup, Rule,
    TableId,
};

pub(crate) use datapath::steer;
pub use datapath::{Passage, Steered, passage};
pub use facts::{Facts, LinkFacts, NeighbourState};
pub use live::{Live, Lookups};
pub use owner::{Owned, Owners, SourceOwner};
#[cfg(test)]
pub(crate) use table::best_for;
pub(crate) use table::{LegsBy, best, way_out};
pub use walk::{trace, trace_rules};

/// A destination behind the default route: an address for documentation (RFC 5737, RFC 9637). No
/// host has a route for it on purpose.
pub fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 113)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x3fff, 0xfff, 0, 0, 0, 0, 0, 113)),
    }
}

/// Errnos of a lookup, as every architecture that has ENIs numbers them.
pub mod errno {
    /// `EACCES`: prohibit.
    pub const ACCESS: i32 = 13;
    /// `ENODEV`
    pub const NO_DEVICE: i32 = 19;
    /// `EINVAL`: blackhole, and packets that the kernel takes for forged or senseless.
    pub const INVALID: i32 = 22;
    /// `ENETUNREACH`: no route.
    pub const NET_UNREACHABLE: i32 = 101;
    /// `EHOSTUNREACH`: an unreachable route, or forwarding is off.
    pub const HOST_UNREACHABLE: i32 = 113;
}

/// A host and what decides beside its routes and rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    host: &'a Host,
    facts: &'a Facts,
}

impl<'a> View<'a> {
    /// A host with the kernel's defaults.
    fn of(host: &'a Host) -> Self {
        static DEFAULTS: Facts = Facts {
            links: std::collections::BTreeMap::new(),
            neighbours: std::collections::BTreeMap::new(),
            ipv6_forwarding: false,
        };
        Self {
            host,
            facts: &DEFAULTS,
        }
    }

    /// The VRF whose packet this is (`l3mdev_update_flow` in net/l3mdev/l3mdev.c).
    fn vrf(self, flow: &Flow) -> Option<IfIndex> {
        let vrf_of = |index: IfIndex| {
            let is_vrf = |index: &IfIndex| {
                let link = self.host.links.get(index);
                link.is_some_and(|link| link.kind.as_deref() == Some("vrf"))
            };
            let master = self.host.links.get(&index)?.master;
            Some(index).filter(is_vrf).or(master.filter(is_vrf))
        };
        flow.iif.or(flow.oif).and_then(vrf_of)
    }

    /// The interface that legs are compared with: the one that the socket is bound to, unless
    /// that is a VRF, which stands for its table.
    fn bound_to(self, flow: &Flow) -> Option<IfIndex> {
        let bound = flow.oif.filter(|_| flow.iif.is_none())?;
        (self.vrf(flow) != Some(bound)).then_some(bound)
    }
}

/// What a rule did with the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A selector does not match: which.
    NoMatch(&'static str),
    /// The table has no route to the destination.
    NoRoute(TableId),
    /// The table's answer was suppressed by the rule.
    Suppressed(Box<Route>),
    /// The rule may suppress the table's answer: of a multipath route, the packet's hash decides
    /// whether it is a leg of the interface group; of an IPv6 route by nexthop objects, the kernel
    /// may compare the prefix length of another route.
    MaySuppress(Box<Route>),
    /// A throw route sent the packet on.
    Thrown,
    /// The rule jumps.
    Jumps(Priority),
    /// The rule jumps to where no rule stands: it does nothing.
    JumpsNowhere(Priority),
    /// The rule does nothing.
    Nothing,
    /// This route decides.
    Decides(Box<Route>),
    /// The rule itself refuses.
    Refuses,
    /// The route that decides has its next hops in a nexthop object that the kernel did not tell.
    Unresolved(Box<Route>),
    /// It has selectors that cannot be judged here.
    CannotTell {
        /// The selectors.
        selectors: Vec<RareSelector>,
        /// What the rule does if they match. The walk goes on as if they did not.
        then: Box<Outcome>,
    },
    /// The walk ended before.
    NotReached,
}

impl Outcome {
    /// The walk ends here.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Decides(_) | Self::Refuses | Self::Unresolved(_))
    }
}

/// One rule met on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Visit {
    /// The rule.
    pub rule: Rule,
    /// What it did.
    pub outcome: Outcome,
}

/// Where a packet may end up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is sent, or delivered to this host.
    Leaves {
        /// The route's table.
        table: TableId,
        /// The route's kind.
        kind: RouteKind,
        /// The way it takes: one of several of a multipath route.
        legs: Vec<Hop>,
        /// It is an IPv6 route by nexthop objects. The kernel keeps its answer with the object, so
        /// it may name the table of another route by the same object (`rt6_make_pcpu_route`).
        shared: bool,
    },
    /// No route: the kernel takes the destination for a neighbour on the interface that the socket
    /// is bound to.
    OnLink {
        /// The interface.
        by: IfIndex,
    },
    /// It is refused.
    Refused {
        /// Positive errno that a socket would see.
        errno: i32,
    },
    /// A route decides whose next hops cannot be read.
    Unresolved {
        /// The route's table.
        table: TableId,
        /// The nexthop object.
        object: Option<u32>,
    },
}

impl Answer {
    /// Whether the kernel's answer is this one.
    pub fn agrees(&self, lookup: &RouteLookup) -> bool {
        match (self, lookup) {
            (
                Self::Leaves {
                    table,
                    kind,
                    legs,
                    shared,
                },
                RouteLookup::Leaves {
                    by,
                    gateway,
                    table: looked_up,
                    kind: found,
                    ..
                },
            ) => {
                // What stays here leaves by the loopback interface, whatever the route names.
                let stays = *kind == RouteKind::Local;
                let taken = |leg: &Hop| leg.out == *by && leg.gateway == *gateway;
                (table == looked_up || *shared)
                    && kind == found
                    && (stays || legs.iter().any(taken))
            }
            (
                Self::OnLink { by },
                RouteLookup::Leaves {
                    by: found, gateway, ..
                },
            ) => by == found && gateway.is_none(),
            (Self::Refused { errno }, RouteLookup::Refused { errno: found }) => errno == found,
            (
                Self::Unresolved { table, .. },
                RouteLookup::Leaves {
                    table: looked_up, ..
                },
            ) => table == looked_up,
            (Self::Unresolved { .. }, RouteLookup::Refused { .. }) => true,
            _ => false,
        }
    }

    /// The interfaces by which the packet may leave.
    pub fn interfaces(&self) -> Vec<IfIndex> {
        match self {
            Self::Leaves { legs, .. } => legs.iter().map(|leg| leg.out).collect(),
            Self::OnLink { by } => vec![*by],
            Self::Refused { .. } | Self::Unresolved { .. } => Vec::new(),
        }
    }
}

/// Why the kernel did what no rule of the walk explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beside {
    /// The source is none of this host's addresses: the kernel refuses before it asks a rule.
    ForeignSource,
    /// The source or destination makes no sense in a packet.
    Senseless,
    /// The interface is down or gone.
    InterfaceDown,
    /// Multicast and broadcast leave by the interface of their source or of the socket.
    Group,
    /// The socket is bound to an interface and the rules refuse: IPv4 then takes the destination
    /// for a neighbour on that interface (`ip_route_output_key_hash_rcu`).
    BoundAllTheSame,
    /// Forwarding is off on the interface by which the packet came in.
    NotForwarding,
    /// The kernel would not send to the source by the interface by which the packet came in
    /// (`fib_validate_source`, rp_filter).
    ReversePath,
}

/// The rules met on the way, and where the packet may end up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Walk {
    /// The rules met, the deciding one last.
    pub visits: Vec<Visit>,
    /// Where the packet may end up. More than one where a rule cannot be judged, or the packet's
    /// hash decides.
    pub answers: Vec<Answer>,
    /// What else the kernel does with such a packet.
    pub beside: Option<Beside>,
}

impl Walk {
    /// The rule that decides, and its route unless the rule itself refuses.
    pub fn decision(&self) -> Option<(&Rule, Option<&Route>)> {
        decision(&self.visits)
    }

    /// Whether the kernel's answer is one that the walk has found.
    pub fn agrees(&self, lookup: &RouteLookup) -> bool {
        self.answers.iter().any(|answer| answer.agrees(lookup))
    }

    /// Rules that cannot be judged.
    pub fn unknown(&self) -> impl Iterator<Item = &Visit> {
        let visits = self.visits.iter();
        visits.filter(|visit| matches!(visit.outcome, Outcome::CannotTell { .. }))
    }
}

/// The rule that decides, and its route unless the rule itself refuses.
pub fn decision(visits: &[Visit]) -> Option<(&Rule, Option<&Route>)> {
    let last = visits.last()?;
    match &last.outcome {
        Outcome::Decides(route) | Outcome::Unresolved(route) => Some((&last.rule, Some(route))),
        Outcome::Refuses => Some((&last.rule, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
