macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Stable short name, as tables, JSON and metrics show it.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

numbered! {
    /// What became of an egress packet that did not simply leave by the owner of its source,
    /// and why. Each such packet has exactly one fate, counted in [`crate::EniCounters`].
    Fate {
        /// Not IPv4 or IPv6.
        NotIp = "not-ip",
        /// VLAN-tagged: belongs to another link.
        Vlan = "vlan",
        /// The EtherType says IP but the header is cut off or its version or length is wrong.
        Malformed = "malformed",
        /// The source is 0.0.0.0 or ::.
        Unspecified = "unspecified-source",
        /// The source is link-local (169.254.0.0/16, fe80::/10); or it is a mismatch, and the
        /// destination is.
        LinkLocal = "link-local",
        /// Nobody owns the source: forwarded traffic, or an address not under management.
        NoOwner = "no-owner",
        /// The source is configured on two ENIs.
        Ambiguous = "ambiguous-owner",
        /// Mismatch, but the destination is multicast or broadcast.
        Multicast = "multicast",
        /// Mismatch, but the packet carries the exempt mark.
        ExemptMark = "exempt-mark",
        /// Mismatch, but the destination is exempt (metadata services, configured ones).
        ExemptDestination = "exempt-destination",
        /// Mismatch on an ENI whose mode is count.
        CountOnly = "count-only",
        /// Mismatch, to be steered, but the owner is not there or down.
        OwnerAbsent = "owner-absent",
        /// Mismatch, to be steered, but the owner's table has no route to the destination.
        NoNextHop = "no-next-hop",
        /// Mismatch, to be steered, but the owner's table refuses the destination
        /// (blackhole, unreachable or prohibit route).
        Refused = "refused-by-route",
        /// Mismatch, to be steered, but larger than the owner's MTU.
        Mtu = "mtu",
        /// Mismatch, to be steered, but a kernel helper refused.
        HelperFailed = "helper-failed",
        /// Mismatch: redirected to the owner.
        Steered = "steered",
        /// Mismatch: dropped.
        Dropped = "dropped",
    }
}

numbered! {
    /// What the programs could not write down, counted in [`crate::EniCounters`].
    Loss {
        /// A stray packet for which no counter could be made: the matrix is not complete.
        Stray = "stray-uncounted",
        /// A packet whose source could not be entered in the source table.
        Source = "source-uncounted",
        /// An entry of the source table that made room for another source: what it had counted
        /// is part of the totals only.
        SourceEvicted = "source-evicted",
        /// An event beyond the rate limit.
        EventLimited = "event-rate-limited",
        /// An event for which the ring buffer had no room.
        EventDropped = "event-ring-full",
    }
}
