//! The contract between the TC programs and the user side: what the maps hold.
//!
//! Every type here is `repr(C)` without padding, and its size is asserted at
//! compile time, because the kernel hashes and copies raw bytes. Addresses are
//! kept as they stand in the packet (network byte order) in private arrays;
//! all other numbers are in host byte order, since both sides run on one host.
//!
//! A change of any size, field or meaning is a new [`names::LAYOUT`].
#![no_std]

mod address;
mod counters;
mod eni;
mod event;
mod fate;
pub mod names;
mod nexthop;
mod owner;
mod settings;
mod source;
#[cfg(feature = "user")]
mod userspace;

pub use address::{Address, Family};
pub use counters::{
    AddressCell, Class, Count, Direction, EniCounters, FirstStray, StrayKey, StrayValue,
};
pub use eni::{EniRow, MAX_ENIS, Mode, NO_ENI};
pub use event::{Event, EventBudget};
pub use fate::{Fate, Loss};
pub use nexthop::{DestinationKey, NextHop, NextHopKind, SHORT, ShortRoute, ShortTable};
pub use owner::{AddressRow, Owner, PrefixKey};
pub use settings::{ExemptFilter, Settings};
pub use source::{MARKED, SourceEntry, SourceHash, SourceKey, SourceSet, SourceValue, WAYS};
