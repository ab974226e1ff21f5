//! The nouns of routing (links, addresses, routes, rules, hooks) and the units of their numbers.
//!
//! `eni-steer-linux` and the configuration parse every number into its unit; from there on a
//! priority cannot be mistaken for a table. `Display` prints each as `ip` or `tc` prints it.

mod attributes;
mod datapath;
mod fetched;
mod flow;
mod hook;
mod host;
mod lease;
mod link;
mod lookup;
mod neighbour;
mod route;
mod route_text;
mod rule;
mod tunable;
mod units;

pub use attributes::Attributes;
pub use datapath::{Datapath, EniRow, NextHop, Owner, Settings, pairs};
pub use fetched::Fetched;
pub use flow::Flow;
pub use hook::{AttachKind, Attachment, ForeignProgram, Hook};
pub use host::Host;
pub use lease::{Lease, RejectedLease};
pub use link::{Address, Link};
pub use lookup::RouteLookup;
pub use neighbour::Reachability;
pub(crate) use route::longest_default;
pub use route::{Hop, Route, RouteKind, destination_text, metric, rta};
pub use rule::{PortRange, RareSelector, Rule, RuleAction, UidRange};
pub use tunable::{SavedValue, Tunable, TunableKind};
pub use units::{Family, Group, IfIndex, Mac, Names, Priority, Protocol, TableId, any, link_local};
pub(crate) use units::{covers, host_prefix};

pub use eni_steer_common::{Direction, Mode};
