//! The counters at one moment, as plain values. `eni-steer-linux` reads them from the programs'
//! maps.
//!
//! What the counters promise (`eni_steer_common` describes the maps behind them):
//!
//! - [`EniCounters::totals`] are exact: they count every packet that came in or left by the ENI.
//! - [`AddressCounters`] are exact: there is one cell for each owned address (or delegated prefix),
//!   each ENI that saw it, and each direction.
//! - [`Source`]s come from a table of bounded size, which may have evicted some.
//!
//! Therefore, for each ENI, direction and IP family,
//!
//! ```text
//! totals = listed sources + other
//! ```
//!
//! The *listed sources* are
//!
//! - for packets that came in: the entries of [`Snapshot::sources`];
//! - for packets that left: those entries (they are the sources that no ENI owns as a single
//!   address), and the cells of owned addresses, of which the packets that left by this ENI (passed
//!   and exempt, not steered or dropped). The cell of a delegated prefix is not a source: the
//!   entries hold each address of the prefix.
//!
//! *Other* ([`Snapshot::other`]) is what no entry shows: evicted sources, and packets whose IP
//! header was cut off or wrong. Packets that are not IP have no sources, so all of them count as
//! other.
//!
//! For example, eth1 sent 1000 IPv4 packets: 900 from its own address 172.16.20.177 (a cell), 60
//! from a container whose address no ENI owns (an entry), and 40 from a container whose entry was
//! evicted. Listed are 960, and other is 40.

pub mod describe;
mod since;
mod snapshot;

pub use snapshot::{
    AddressCounters, ByClass, Count, EniCounters, EniId, MapMemory, Snapshot, Source, Timestamp,
    Totals,
};
