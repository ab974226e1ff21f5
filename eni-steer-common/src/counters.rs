use crate::{EventBudget, Fate, Loss};

/// Direction of a packet as seen from the host.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Direction {
    /// The packet comes into the host.
    Ingress = 0,
    /// The packet leaves the host.
    Egress = 1,
}

impl Direction {
    /// Both directions, in the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// What a frame carries, judged by its EtherType. A frame with a VLAN tag is [`Class::Other`]
/// whatever follows the tag, because it belongs to a VLAN interface and not to the ENI.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// EtherType 0x0800, without a VLAN tag.
    Ipv4 = 0,
    /// EtherType 0x86dd, without a VLAN tag.
    Ipv6 = 1,
    /// Everything else: ARP, LLDP, frames with a VLAN tag, ...
    Other = 2,
}

/// Packets and bytes as they are on the wire.
///
/// A GSO or GRO super-packet counts as its segments, each with its own headers. Bytes include the
/// Ethernet header and a VLAN tag that the driver keeps in the packet's metadata, and exclude the
/// frame check sequence.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

/// The counters of one ENI on one CPU, in map [`crate::names::COUNTERS`] at the ENI's slot. They
/// are exact, whatever overflows in other maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EniCounters {
    /// Packets that came in, indexed by [`Class`].
    pub ingress: [Count; 3],
    /// Packets that left, indexed by [`Class`]. A packet that was steered away or dropped did not
    /// leave.
    pub egress: [Count; 3],
    /// Egress packets by [`Fate`], for all but those that simply left by the owner of their
    /// source.
    pub fates: [Count; Fate::COUNT],
    /// What the programs could not record, by [`Loss`], in events or packets.
    pub losses: [u64; Loss::COUNT],
    /// How many events this CPU has sent in the current second.
    pub budget: EventBudget,
}

/// The counters of one owned address (or delegated prefix) on one CPU, in map
/// [`crate::names::CELLS`] at the slot of the address. They are exact and never evicted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressCell {
    /// Packets to this address that its owner received.
    pub ingress: Count,
    /// Packets from this address that left by its owner.
    pub egress: Count,
    /// Counts of the first place where this CPU saw the address other than at its owner.
    pub first: FirstStray,
}

/// The counts of one [`StrayKey`], stored in the cell of the address. Nearly every address that
/// appears on a wrong ENI appears on one only, so this saves the programs a look-up. The counts
/// of further places are in [`crate::names::STRAYS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstStray {
    /// [`StrayKey::place`] of the key that is counted here; 0: none yet. On one CPU it never
    /// changes, unless user space gives the slot to another address.
    pub place: u32,
    /// Always zero.
    pub zero: u32,
    /// The counts at that place.
    pub value: StrayValue,
}

/// One owned address seen on an ENI that does not own it, in one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrayKey {
    /// Slot of the address, as in [`crate::Owner::address`].
    pub address: u32,
    /// Slot of the ENI on which the packet was seen.
    pub eni: u16,
    /// [`Direction`] as a number.
    pub direction: u8,
    /// Always zero.
    pub zero: u8,
}

/// The counts of a [`StrayKey`] on one CPU. They are exact and never evicted. Every packet of the
/// key is in exactly one of the four counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StrayValue {
    /// Went on through the wrong ENI. These packets are the asymmetry.
    pub passed: Count,
    /// Redirected to the owner (egress only). The [`AddressCell`] then counts the packet as sent,
    /// when it leaves there.
    pub steered: Count,
    /// Dropped, because the mode is [`crate::Mode::Drop`] (egress only).
    pub dropped: Count,
    /// Went on through the wrong ENI because the configuration or the protocol wants it so:
    /// exempt mark, exempt destination, multicast, broadcast or a link-local address.
    pub exempt: Count,
    /// Time of the first packet on this CPU in nanoseconds of CLOCK_MONOTONIC; 0: none yet.
    pub first_seen: u64,
    /// Time of the last packet on this CPU in nanoseconds of CLOCK_MONOTONIC, as exact as a timer
    /// tick.
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
    /// Returns ENI and direction as one number, which is never 0.
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        (self.eni as u32) << 8 | self.direction as u32 | 0x80
    }

    /// Returns the key of the address slot `address` at a [`StrayKey::place`]; `None` for 0.
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

    /// Makes the key of a packet with the address slot `address`, seen on the ENI at slot `eni`.
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
    /// Adds `other`. The sums wrap around as the kernel's own counters do.
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
