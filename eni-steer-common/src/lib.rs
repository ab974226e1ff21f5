//! The contract between the TC programs and user space: what the maps contain.
//!
//! Every type here is `repr(C)` without padding, and its size is asserted at compile time,
//! because the kernel hashes and copies raw bytes. Addresses are in network byte order, as they
//! are in the packet, in private arrays. All other numbers are in host byte order, since both
//! sides run on one host.
//!
//! A change of any size, field or meaning needs a new [`names::LAYOUT`]: pinned maps outlive the
//! program that made them, and a newer version must not read them wrongly.
//!
//! Two words occur everywhere. A *slot* is the number of an ENI, or of an address, in the maps.
//! The *owner* of an address is the ENI that it belongs to.
#![no_std]

mod address;
mod counters;
mod eni;
mod event;
mod fate;
mod lookup;
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
pub use lookup::{LookupKey, Offsets};
pub use nexthop::{DestinationKey, NextHop, NextHopKind, SHORT, ShortRoute, ShortTable};
pub use owner::{AddressRow, Owner, PrefixKey};
pub use settings::{ExemptFilter, Settings};
pub use source::{
    MARKED, SourceEntry, SourceHash, SourceKey, SourceSecret, SourceSet, SourceValue, WAYS,
};
