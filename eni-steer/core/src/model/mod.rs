//! Units and nouns of routing, without any I/O.
//!
//! A number is parsed into its unit at the edge and printed by `Display` as `ip` or `tc`
//! would print it.

mod datapath;
mod fetched;
mod flow;
mod hook;
mod host;
mod lease;
mod link;
mod lookup;
mod route;
mod rule;
mod tunable;
mod units;

pub use datapath::{Datapath, EniRow, NextHop, Owner, Settings, pairs};
pub use fetched::Fetched;
pub use flow::Flow;
pub use hook::{AttachKind, Attachment, ForeignProgram, Hook, direction_word};
pub use host::Host;
pub use lease::Lease;
pub use link::{Address, Link};
pub use lookup::RouteLookup;
pub use route::{Hop, Route, RouteKey, RouteKind, destination_text};
pub use rule::{PortRange, RareSelector, Rule, RuleAction, UidRange};
pub use tunable::{SavedValue, Tunable, TunableKind};
pub use units::{
    Family, Group, IfIndex, Mac, Names, Priority, Protocol, TableId, any, covers, host_prefix,
    link_local,
};

pub use eni_steer_common::{Direction, Mode};
