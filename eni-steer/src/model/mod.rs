//! Units and nouns of routing, without any I/O.
//!
//! A number is parsed into its unit at the edge and printed by `Display` as `ip` or `tc`
//! would print it.

mod link;
mod route;
mod rule;
mod steering;
mod units;

pub use link::{Address, Link};
pub use route::{Hop, Route, RouteKind};
pub use rule::{PortRange, Rule, RuleAction, UidRange};
pub use steering::{AttachKind, Attachment, Datapath, EniRow, NextHop, Owner, Position, Settings};
pub use units::{
    Family, Group, IfIndex, Mac, Priority, Protocol, TableId, any, covers, host, link_local,
};

pub use eni_steer_common::{Direction, Mode};
