//! Reads and changes the kernel's routing through rtnetlink. Each file encodes and decodes one kind
//! of object.
//!
//! The library rtnetlink encodes every request. What the kernel sends in thousands is decoded by
//! this module (`wire.rs`): links, addresses, routes and rules of a host with 1,500 addresses take
//! 146 µs instead of the library's 1,286 µs (docs/decisions/0001).
//!
//! One socket serves all requests, with strict checking and extended acks. A dump that the kernel
//! marks as interrupted (`NLM_F_DUMP_INTR`) is repeated, so that eni-steer never plans on half a
//! table. This relies on rtnetlink(7), netlink(7), and the kernel's
//! `Documentation/userspace-api/netlink/intro.rst` for extended acks and dump consistency.

mod address;
mod connection;
mod datagram;
mod errno;
pub(crate) mod link;
mod lookup;
mod neighbour;
mod nexthop;
mod probe;
pub(crate) mod route;
pub(crate) mod rule;
mod socket;
mod watch;
pub(crate) mod wire;

pub use connection::Netlink;
pub(crate) use connection::Request;
pub(crate) use datagram::decode_with_every_parser;
pub use errno::NetlinkError;
pub use route::Routes;
pub use watch::{Event, Notification, Watch};
