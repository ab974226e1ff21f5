//! Fates and losses in words, once: texts for people read this.

use eni_steer_common::{Fate, Loss};

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
    fn labels_are_unique_and_fit_for_metrics() {
        let mut seen = BTreeSet::new();
        let labels = Fate::ALL.iter().map(|fate| fate.label());
        let labels = labels.chain(Loss::ALL.iter().map(|loss| loss.label()));
        for name in labels {
            assert!(seen.insert(name), "{name} twice");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-'),
                "{name}"
            );
        }
    }
}
