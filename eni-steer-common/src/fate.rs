macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All variants, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The number of variants.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the short name that tables, JSON and metrics show. It stays the same
            /// across versions.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

numbered! {
    /// Why an egress packet was not simply sent by the owner of its source, and what happened to
    /// it.
    ///
    /// Each such packet has exactly one fate. [`crate::EniCounters`] counts them. A mismatch is a
    /// packet that is leaving by an ENI although another one owns its source.
    Fate {
        /// The packet is neither IPv4 nor IPv6. It leaves as it is.
        NotIp = "not-ip",
        /// The frame has a VLAN tag, so it belongs to a VLAN interface. It leaves as it is.
        Vlan = "vlan",
        /// The EtherType says IP, but the header is cut off, or its version or its length is
        /// wrong. The packet leaves as it is.
        Malformed = "malformed",
        /// The source is 0.0.0.0 or ::, which belongs to nobody. The packet leaves as it is.
        Unspecified = "unspecified-source",
        /// The source is link-local (169.254.0.0/16, fe80::/10), or the packet is a mismatch and
        /// its destination is link-local. It leaves as it is.
        LinkLocal = "link-local",
        /// No ENI owns the source: the packet is forwarded, or the address is on an interface
        /// that eni-steer does not manage. It leaves as it is.
        NoOwner = "no-owner",
        /// Two ENIs have the source address, so it has no owner. The packet leaves as it is.
        Ambiguous = "ambiguous-owner",
        /// A mismatch whose destination is multicast or broadcast. It leaves as it is.
        Multicast = "multicast",
        /// A mismatch that carries the exempt mark. It leaves as it is.
        ExemptMark = "exempt-mark",
        /// A mismatch whose destination is exempt: a metadata service, or one from the
        /// configuration. It leaves as it is.
        ExemptDestination = "exempt-destination",
        /// A mismatch on an ENI whose mode is [`crate::Mode::Count`]. It leaves as it is.
        CountOnly = "count-only",
        /// A mismatch that can not be steered because the owner is absent or down. It leaves as
        /// it is.
        OwnerAbsent = "owner-absent",
        /// A mismatch that can not be steered because the owner's table has no route to the
        /// destination. It leaves as it is.
        NoNextHop = "no-next-hop",
        /// A mismatch that is not steered because the owner's table refuses the destination (a
        /// blackhole, unreachable or prohibit route). It leaves as it is.
        Refused = "refused-by-route",
        /// A mismatch that can not be steered because it is larger than the MTU of the owner or
        /// of its route. It leaves as it is.
        Mtu = "mtu",
        /// A mismatch that was not steered because a helper of the kernel failed. It leaves as it
        /// is.
        HelperFailed = "helper-failed",
        /// A mismatch that was redirected to the owner.
        Steered = "steered",
        /// A mismatch that was dropped, because the mode is [`crate::Mode::Drop`].
        Dropped = "dropped",
    }
}

numbered! {
    /// What the programs could not record. [`crate::EniCounters`] counts it.
    Loss {
        /// A packet on the wrong ENI for which [`crate::names::STRAYS`] had no room. The counts
        /// by address are then incomplete; the totals are not.
        Stray = "stray-uncounted",
        /// A packet whose source could not be entered in the table of sources.
        Source = "source-uncounted",
        /// A source that lost its entry to another source. The packets that it had counted there
        /// remain in the totals only.
        SourceEvicted = "source-evicted",
        /// An event that was not sent because of the limit per second.
        EventLimited = "event-rate-limited",
        /// An event that was not sent because the ring buffer was full.
        EventDropped = "event-ring-full",
    }
}
