//! What each fate and each loss means, as text for people. "Mismatch" is a packet that is leaving
//! by one ENI although another ENI, the owner, has its source.

use eni_steer_common::{Fate, Loss};

/// Which packets have this fate, and why.
pub const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::NotIp => "the packet is neither IPv4 nor IPv6",
        Fate::Vlan => "the frame has a VLAN tag, so it belongs to another interface",
        Fate::Malformed => "the IP header is cut off or wrong",
        Fate::Unspecified => "the source is 0.0.0.0 or ::",
        Fate::LinkLocal => "source or destination is link-local",
        Fate::NoOwner => {
            "no ENI owns the source: the packet is forwarded, or eni-steer does not manage its address"
        }
        Fate::Ambiguous => "two ENIs have the source address",
        Fate::Multicast => "mismatch, but the destination is multicast or broadcast",
        Fate::ExemptMark => "mismatch, but the packet carries the exempt mark",
        Fate::ExemptDestination => "mismatch, but the destination is exempt",
        Fate::CountOnly => "mismatch, not steered: the mode is count",
        Fate::OwnerAbsent => "mismatch, not steered: the owner is absent or down",
        Fate::NoNextHop => {
            "mismatch, not steered: the owner's table has no route to the destination"
        }
        Fate::Refused => "mismatch, not steered: the owner's table refuses the destination",
        Fate::Mtu => "mismatch, not steered: the packet is larger than the owner's MTU",
        Fate::HelperFailed => "mismatch, not steered: a kernel function failed",
        Fate::Steered => "mismatch, redirected to the owner",
        Fate::Dropped => "mismatch, dropped: the mode is drop",
    }
}

/// What the programs could not record, and what follows for the reader.
pub const fn loss(loss: Loss) -> &'static str {
    match loss {
        Loss::Stray => {
            "no room for an address on a wrong ENI: the counts by address are not complete"
        }
        Loss::Source => "no room for a source: its packets appear under \"other\"",
        Loss::SourceEvicted => "source evicted: its packets appear under \"other\"",
        Loss::EventLimited => "event not sent: more than the allowed number per second",
        Loss::EventDropped => "event not sent: the ring buffer was full",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_fit_for_metrics() {
        let mut labels = BTreeSet::new();
        let fates = Fate::ALL.iter().map(|fate| fate.label());
        let losses = Loss::ALL.iter().map(|loss| loss.label());
        for name in fates.chain(losses) {
            assert!(labels.insert(name), "{name} twice");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-'),
                "{name}"
            );
        }
    }
}
