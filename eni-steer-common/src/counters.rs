use crate::{EventBudget, Fate, Loss};

/// Direction as seen from the host.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Direction {
    /// Into the host.
    Ingress = 0,
    /// Out of the host.
    Egress = 1,
}

impl Direction {
    /// Both directions, in the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// What a frame carries, by its EtherType. A frame with a VLAN tag is [`Class::Other`]
/// whatever stands behind the tag: it belongs to another link.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// EtherType 0x0800, untagged.
    Ipv4 = 0,
    /// EtherType 0x86dd, untagged.
    Ipv6 = 1,
    /// Everything else: ARP, VLAN-tagged, LLDP, ...
    Other = 2,
}

/// Packets and bytes as they are on the wire: a GSO or GRO super-packet counts as its
/// segments, each with its headers; bytes include the Ethernet header and a VLAN tag
/// that the driver keeps beside the packet, and exclude the FCS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Wire packets.
    pub packets: u64,
    /// Wire bytes.
    pub bytes: u64,
}

/// What is counted of one ENI, in map [`crate::names::COUNTERS`] at its slot: exact, whatever
/// overflows elsewhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EniCounters {
    /// Came in, by [`Class`].
    pub ingress: [Count; 3],
    /// Left, by [`Class`]. A packet that was steered away or dropped did not leave.
    pub egress: [Count; 3],
    /// By [`Fate`].
    pub fates: [Count; Fate::COUNT],
    /// By [`Loss`].
    pub losses: [u64; Loss::COUNT],
    /// Of events.
    pub budget: EventBudget,
}

/// What is counted of one owned address (or delegated prefix), in map [`crate::names::CELLS`]
/// at its slot: exact, never evicted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressCell {
    /// Received on the owner with this destination.
    pub ingress: Count,
    /// Sent by the owner with this source.
    pub egress: Count,
    /// The first place that is not its own where it was seen on this CPU.
    pub first: FirstStray,
}

/// Counts of one [`StrayKey`], kept beside the address: nearly always there is only one, and a
/// look-up is saved. The others are in [`crate::names::STRAYS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstStray {
    /// [`StrayKey::place`] of the key; 0: none yet. Never changes on a CPU, unless the slot of
    /// the address is given to another one.
    pub place: u32,
    /// Always zero.
    pub zero: u32,
    /// Its counts.
    pub value: StrayValue,
}

/// One owned address seen on an ENI that does not own it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrayKey {
    /// Address slot, as in [`crate::Owner::address`].
    pub address: u32,
    /// Slot of the ENI the packet was seen on.
    pub eni: u16,
    /// [`Direction`] as a number.
    pub direction: u8,
    /// Always zero.
    pub zero: u8,
}

/// Counts of a [`StrayKey`]: exact, never evicted; together they are every packet of the
/// key, each in exactly one of the four.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StrayValue {
    /// Went its way by the wrong ENI: the asymmetry.
    pub passed: Count,
    /// Redirected to the owner (egress only). It then counts in the [`AddressCell`] as sent.
    pub steered: Count,
    /// Dropped (egress only, [`crate::Mode::Drop`]).
    pub dropped: Count,
    /// Went its way by the wrong ENI because the configuration or the protocol says so
    /// (exempt mark or destination, multicast, broadcast, link-local destination).
    pub exempt: Count,
    /// Nanoseconds of CLOCK_MONOTONIC at the first packet on this CPU; 0: none yet.
    pub first_seen: u64,
    /// Nanoseconds of CLOCK_MONOTONIC at the last packet on this CPU (tick resolution).
    pub last_seen: u64,
}

impl Default for EniCounters {
    fn default() -> Self {
        Self {
            ingress: [Count::default(); 3],
            egress: [Count::default(); 3],
            fates: [Count::default(); Fate::COUNT],
            losses: [0; Loss::COUNT],
            budget: EventBudget::default(),
        }
    }
}

impl StrayKey {
    /// ENI and direction as a number, never 0.
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        (self.eni as u32) << 8 | self.direction as u32 | 0x80
    }

    /// The key of an address at a [`StrayKey::place`]; `None` for 0.
    pub const fn at(address: u32, place: u32) -> Option<Self> {
        if place == 0 {
            return None;
        }
        Some(Self {
            address,
            eni: (place >> 8) as u16,
            direction: place as u8 & 0x7f,
            zero: 0,
        })
    }

    /// The key of a packet of `address` seen on `eni`.
    #[inline(always)]
    pub const fn new(address: u32, eni: u16, direction: Direction) -> Self {
        Self {
            address,
            eni,
            direction: direction as u8,
            zero: 0,
        }
    }
}

impl Count {
    /// Adds `other`, wrapping like the kernel's own counters.
    #[inline(always)]
    pub fn add(&mut self, other: Count) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

const _: () = assert!(size_of::<Count>() == 16);
const _: () = assert!(size_of::<EniCounters>() == 440);
const _: () = assert!(size_of::<AddressCell>() == 120);
const _: () = assert!(size_of::<StrayKey>() == 8);
const _: () = assert!(size_of::<StrayValue>() == 80);
