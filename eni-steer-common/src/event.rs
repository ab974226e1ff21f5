use crate::Address;

/// One mismatch, as it goes through the ring buffer: sampled, never complete.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Source address of the packet.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// `skb->mark`.
    pub mark: u32,
    /// Bytes as in [`crate::Count`], of all segments together.
    pub bytes: u32,
    /// Slot of the ENI it was seen on.
    pub eni: u16,
    /// Slot of the ENI that owns the local address, or [`crate::NO_ENI`].
    pub owner: u16,
    /// Source port, host byte order; 0 if the protocol has none or it was not readable.
    pub source_port: u16,
    /// Destination port, likewise.
    pub destination_port: u16,
    /// [`crate::Family`] as a number.
    pub family: u8,
    /// IP protocol of the upper layer, or of the last header that could be read.
    pub protocol: u8,
    /// [`crate::Direction`] as a number.
    pub direction: u8,
    /// [`crate::Fate`] as a number (egress only; 0 on ingress).
    pub fate: u8,
    /// Always zero.
    pub zero: [u8; 4],
}

/// The rate limit of one ENI on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventBudget {
    /// Start of the current second, nanoseconds of CLOCK_MONOTONIC.
    pub since: u64,
    /// Events sent in it.
    pub sent: u64,
}

const _: () = assert!(size_of::<Event>() == 64);
const _: () = assert!(size_of::<EventBudget>() == 16);
