//! Loads the eBPF programs, attaches them, and reads and writes their maps.
//!
//! Everything that outlives a process is pinned in bpffs, in a directory of the network namespace
//! ([`PinRoot`]): the maps, and the TCX links that attach the programs to their hooks. Reading
//! needs only the pins. Writing changes one item at a time, and writing an item twice changes
//! nothing.
//!
//! ```text
//! layout   type and size of each map            pin      paths of the pins
//! handles  the open maps, typed                 maps     creates, opens, checks and removes them
//! load     loads the programs of this binary    hooks    attaches them with TCX or clsact
//!
//! settings, enis, owners, addresses, routes     write the maps, from the model's values
//! observe                                       reads all of it back as the model's values
//! read, sources, strays                         read the counters as a Snapshot
//! reset                                         clears counters
//! memory                                        how much memory the maps need
//! events                                        mismatches one by one, as the programs report them
//! btf, lookups                                  route lookups of the kernel, for `explain --live`
//! ```

mod addresses;
mod batch;
mod btf;
mod clear;
mod convert;
mod eni_rows;
mod enis;
mod error;
mod events;
mod handles;
mod hooks;
mod layout;
mod load;
mod lookups;
mod maps;
mod memory;
mod observe;
mod owners;
mod pin;
mod read;
mod reset;
mod routes;
mod secret;
mod settings;
mod sources;
mod strays;
mod sys;
mod values;
mod writer;

pub use error::BpfError;
pub use events::{Events, Mismatch};
pub use handles::Maps;
pub use hooks::{
    Attached, attach,
    clsact::{FILTER_HANDLE, FILTER_PRIORITY},
    detach,
};
pub use layout::Limits;
pub use load::{BUILD, LoadedProgram, load};
pub use lookups::watch_lookups;
pub use observe::{foreign_programs, observe};
pub use pin::{PinRoot, ensure_bpffs};

pub(crate) use clear::{clear_unreadable, sweep};
pub(crate) use events::decode as decode_event;
pub(crate) use hooks::{attach_loaded, clsact::qdisc as clsact_qdisc, tcx::remove_stale_links};
pub(crate) use load::{Wanted, load_all};
