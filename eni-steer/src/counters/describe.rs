//! Every counter, described once: table heads, metric names and help texts read this.

use eni_steer_common::{Fate, Loss};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Wire packets.
    Packets,
    /// Wire bytes.
    Bytes,
    /// Things that happened.
    Times,
    /// Entries of a table.
    Entries,
    /// Bytes of memory.
    Memory,
}

/// Whether it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Stable name, as in metrics: without prefix and unit.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// Whether it only grows.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $unit:ident, $kind:ident, $help:literal;)*) => {
        impl Counter {
            $(
                #[doc = $help]
                pub const $id: Self = Self {
                    name: $name,
                    unit: Unit::$unit,
                    kind: Kind::$kind,
                    help: $help,
                };
            )*

            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];
        }
    };
}

counters! {
    TOTAL_PACKETS = "total_packets", Packets, Counter,
        "Packets on the wire of an ENI, by direction and class (exact).";
    TOTAL_BYTES = "total_bytes", Bytes, Counter,
        "Bytes on the wire of an ENI with Ethernet headers, by direction and class (exact).";
    ADDRESS_PACKETS = "address_packets", Packets, Counter,
        "Packets of an owned address, by the ENI they were seen on, direction and way (exact).";
    ADDRESS_BYTES = "address_bytes", Bytes, Counter,
        "Bytes of an owned address, by the ENI they were seen on, direction and way (exact).";
    FATE_PACKETS = "fate_packets", Packets, Counter,
        "Egress packets that did not simply leave by the owner of their source, by what became of them.";
    FATE_BYTES = "fate_bytes", Bytes, Counter,
        "Egress bytes that did not simply leave by the owner of their source, by what became of them.";
    LOSSES = "losses", Times, Counter,
        "What could not be written down: entries without room, events beyond the limit.";
    SOURCE_PACKETS = "source_packets", Packets, Counter,
        "Packets of a source IP on an ENI, by direction; the table is bounded, see other.";
    SOURCE_BYTES = "source_bytes", Bytes, Counter,
        "Bytes of a source IP on an ENI, by direction; the table is bounded, see other.";
    SOURCE_MISMATCHED = "source_mismatched_packets", Packets, Counter,
        "Packets of a source IP whose local address belongs to another ENI.";
    OTHER_PACKETS = "other_packets", Packets, Counter,
        "Packets of an ENI that no listed source accounts for.";
    OTHER_BYTES = "other_bytes", Bytes, Counter,
        "Bytes of an ENI that no listed source accounts for.";
    MAP_ENTRIES = "map_entries", Entries, Gauge,
        "Entries in use of a table.";
    MAP_CAPACITY = "map_capacity", Entries, Gauge,
        "Entries a table can hold.";
    MAP_MEMORY = "map_memory_bytes", Memory, Gauge,
        "Memory a table takes, an estimate.";
}

/// What a fate means, as a sentence.
pub const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::NotIp => "neither IPv4 nor IPv6",
        Fate::Vlan => "VLAN-tagged: belongs to another link",
        Fate::Malformed => "the IP header is cut off or wrong",
        Fate::Unspecified => "the source is 0.0.0.0 or ::",
        Fate::LinkLocal => "source or destination is link-local",
        Fate::NoOwner => "nobody owns the source: forwarded, or not under management",
        Fate::Ambiguous => "two ENIs have the source address",
        Fate::Multicast => "mismatch, but to a multicast or broadcast address",
        Fate::ExemptMark => "mismatch, but the packet carries the exempt mark",
        Fate::ExemptDestination => "mismatch, but the destination is exempt",
        Fate::CountOnly => "mismatch, left alone: the mode is count",
        Fate::OwnerAbsent => "mismatch, not steered: the owner is absent or down",
        Fate::NoNextHop => "mismatch, not steered: the owner's table has no route",
        Fate::Refused => "mismatch, not steered: the owner's table refuses the destination",
        Fate::Mtu => "mismatch, not steered: larger than the owner's MTU",
        Fate::HelperFailed => "mismatch, not steered: the kernel refused",
        Fate::Steered => "mismatch, redirected to the owner",
        Fate::Dropped => "mismatch, dropped",
    }
}

/// What a loss means, as a sentence.
pub const fn loss(loss: Loss) -> &'static str {
    match loss {
        Loss::Stray => "an address on a wrong ENI could not be entered: its cells are not complete",
        Loss::Source => "a source could not be entered: it counts as other",
        Loss::SourceEvicted => "a source made room for another one: it counts as other",
        Loss::EventLimited => "an event beyond the limit of events per second",
        Loss::EventDropped => "an event for which the ring buffer had no room",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_labels_are_unique_and_fit_for_metrics() {
        let mut seen = BTreeSet::new();
        let labels = Fate::ALL.iter().map(|fate| fate.label());
        let labels = labels.chain(Loss::ALL.iter().map(|loss| loss.label()));
        for name in Counter::ALL
            .iter()
            .map(|counter| counter.name)
            .chain(labels)
        {
            assert!(seen.insert(name), "{name} twice");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-'),
                "{name}"
            );
        }
    }
}
