//! Units and nouns of routing, without any I/O.
//!
//! A number is parsed into its unit at the edge and printed by `Display` as `ip` or `tc`
//! would print it.

mod flow;
mod knob;
mod link;
mod route;
mod rule;
mod steering;
pub(crate) use steering::pairs;
mod units;

pub use flow::Flow;
pub use knob::{Knob, KnobKind, Memory};
pub use link::{Address, Link};
pub(crate) use route::destination_text;
pub use route::{Hop, Route, RouteKind};
pub use rule::{PortRange, Rule, RuleAction, UidRange};
pub use steering::{AttachKind, Attachment, Datapath, EniRow, NextHop, Owner, Position, Settings};
pub use units::{
    Family, Group, IfIndex, Mac, Priority, Protocol, TableId, any, covers, host, link_local,
};

pub use eni_steer_common::{Direction, Mode};
