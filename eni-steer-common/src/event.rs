use crate::Address;

/// One mismatched packet, as the ring buffer carries it. Events are samples: the number per
/// second is limited.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the program saw the packet, in nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Source address of the packet.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// The packet's mark, `skb->mark`.
    pub mark: u32,
    /// Bytes as in [`crate::Count`], of all segments together.
    pub bytes: u32,
    /// Slot of the ENI on which the program saw the packet.
    pub eni: u16,
    /// Slot of the ENI that owns the local address, or [`crate::NO_ENI`].
    pub owner: u16,
    /// Source port in host byte order; 0 if the protocol has no ports or the packet does not
    /// contain them.
    pub source_port: u16,
    /// Destination port, with the same meaning of 0.
    pub destination_port: u16,
    /// [`crate::Family`] as a number.
    pub family: u8,
    /// IP protocol number of the upper layer, or of the last header that could be read.
    pub protocol: u8,
    /// [`crate::Direction`] as a number.
    pub direction: u8,
    /// [`crate::Fate`] as a number on egress; always 0 on ingress.
    pub fate: u8,
    /// Always zero.
    pub zero: [u8; 4],
}

/// How much of the limit on events one ENI has used on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventBudget {
    /// Start of the current second, in nanoseconds of CLOCK_MONOTONIC.
    pub since: u64,
    /// Events sent since then.
    pub sent: u64,
}

const _: () = assert!(size_of::<Event>() == 64);
const _: () = assert!(size_of::<EventBudget>() == 16);
