//! The programs and their maps, seen from user space.
//!
//! Everything that outlives a process is pinned in bpffs, in a directory of the network
//! namespace ([`PinRoot`]): the maps, and the TCX links that hold the programs to their hooks.
//! Reading needs only the pins; changing is idempotent, one item at a time.
//!
//! ```text
//! load     the object in this binary, with an ENI's slot patched in
//! attach   puts a program on a hook: a TCX link, or a filter of clsact
//! maps     creates, opens, checks and removes the pinned maps
//! write    settings, ENIs, owners, next hops, exemptions: one item at a time
//! observe  all of it read back as the model's values
//! read     the counters, as eni_steer_core::counters::Snapshot
//! events   mismatches one by one, as the programs report them
//! lookups  real route lookups of a source, by the kernel's tracepoint
//! ```

mod addresses;
mod attach;
mod batch;
mod btf;
mod clear;
mod clsact;
mod convert;
mod enis;
mod error;
mod events;
mod limits;
mod load;
mod lookups;
mod maps;
mod observe;
mod pin;
mod read;
mod routes;
mod sources;
mod sys;
mod write;

pub use attach::{Attached, attach, attach_loaded, detach, sweep};
pub use clear::clear_unreadable;
pub use clsact::{FILTER_HANDLE, FILTER_PRIORITY, qdisc as clsact_qdisc};
pub use error::BpfError;
pub(crate) use events::read as read_event;
pub use events::{Events, Mismatch};
pub use limits::Limits;
pub use load::{BUILD, LoadedProgram, Wanted, load, load_all};
pub use lookups::watch_lookups;
pub use maps::Maps;
pub use observe::{ForeignPrograms, foreign_programs, observe};
pub use pin::{PinRoot, bpffs_ready, ensure_bpffs};
