//! Egress: finds the owner of the source address, counts the packet, and decides what to do if
//! the owner is another ENI.

use aya_ebpf::programs::TcContext;
use eni_steer_common::{Class, Count, Direction, Fate, Mode, NO_ENI, Owner, Settings};

use crate::{
    clock, config,
    counters::{self, Stray},
    events,
    ip::{self, Header, Ip, Packet},
    opaque, owners,
    packet::{self, Frame},
    skb, sources, steer, wire,
};

const OUT: Direction = Direction::Egress;

/// What the egress program decided about a packet.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// The packet leaves by the ENI that owns its source. This is the common case; nothing else
    /// is recorded about it.
    Home,
    /// Anything else. The fate says what happens and why.
    Fate(Fate),
}

/// Counts the packet and decides what happens to it.
///
/// The common packet is finished after one hash look-up, by `home`. Everything else goes through
/// `elsewhere`.
#[inline(always)]
pub fn egress(ctx: &TcContext) -> Outcome {
    let count = wire::egress(ctx);
    let (packet, owner) = match packet::frame(ctx) {
        Frame::V4(header) => match home(&header, count) {
            Ok(()) => return Outcome::Home,
            Err(owner) => (Packet::new(&header, count), owner),
        },
        Frame::V6(header) => match home(&header, count) {
            Ok(()) => return Outcome::Home,
            Err(owner) => (Packet::new(&header, count), owner),
        },
        Frame::Malformed(class) => return leaves(class, Fate::Malformed, count),
        Frame::Tagged => return leaves(Class::Other, Fate::Vlan, count),
        Frame::Other => return leaves(Class::Other, Fate::NotIp, count),
    };
    // From here on the same code serves both families, so it is compiled and verified once.
    match config::settings() {
        Some(settings) => elsewhere(ctx, &packet, owner, settings),
        None => leaves(packet.class(), Fate::HelperFailed, count),
    }
}

/// Handles the common packet: this ENI owns its source, so the function counts it and is done.
///
/// Otherwise it counts nothing and returns the owner that the exact table names, if any.
#[inline(always)]
fn home<A: Ip>(header: &Header<A>, count: Count) -> Result<(), Option<&'static Owner>> {
    let owner = header.source.owner();
    match owner {
        Some(owner) if owner.eni == config::own_slot() => {
            counters::home(OUT, owner.address, count);
            counters::total(OUT, A::CLASS, count);
            Ok(())
        }
        owner => Err(owner),
    }
}

/// Counts a packet that nobody owns or that eni-steer does not handle, and lets it leave by this
/// ENI. `fate` says why.
#[inline(always)]
fn leaves(class: Class, fate: Fate, count: Count) -> Outcome {
    counters::total(OUT, class, count);
    counters::fate(fate, count);
    Outcome::Fate(fate)
}

/// Handles a packet whose source the exact table does not give to this ENI.
///
/// A delegated prefix may still give it to this ENI. If nobody owns the source, the packet leaves
/// as it is. If another ENI owns it, or two ENIs have it, [`decide`] chooses.
///
/// A packet that is steered or dropped does not leave by this ENI, so it is neither in this ENI's
/// totals nor in its source table.
#[inline(always)]
fn elsewhere(
    ctx: &TcContext,
    packet: &Packet,
    owner: Option<&Owner>,
    settings: &Settings,
) -> Outcome {
    let Packet {
        family,
        source,
        count,
        ..
    } = *packet;
    // A source without an exact entry has no cell of its own, so the source table lists it. An
    // unspecified source belongs to nobody, even if a delegated prefix covers it.
    let listed = owner.is_none();
    let owner = match owner {
        None if settings.prefixes != 0 && !ip::is_unspecified(source) => {
            owners::by_prefix(family, source)
        }
        owner => owner,
    };
    let Some(&Owner { address, eni, .. }) = owner else {
        sources::count(OUT, family, source, false, count);
        return leaves(packet.class(), unowned(packet), count);
    };
    if eni == config::own_slot() {
        counters::home(OUT, address, count);
        sources::count(OUT, family, source, false, count);
        counters::total(OUT, packet.class(), count);
        return Outcome::Home;
    }
    let now = clock::now();
    let fate = opaque::fate(ctx.skb.skb, decide(ctx, packet, eni, settings));
    let (way, reported) = match fate {
        Fate::Steered => (Stray::Steered, true),
        Fate::Dropped => (Stray::Dropped, true),
        Fate::LinkLocal | Fate::Multicast | Fate::ExemptMark | Fate::ExemptDestination => {
            (Stray::Exempt, false)
        }
        Fate::Ambiguous => (Stray::Passed, false),
        Fate::CountOnly
        | Fate::OwnerAbsent
        | Fate::NoNextHop
        | Fate::Refused
        | Fate::Mtu
        | Fate::HelperFailed
        | Fate::NotIp
        | Fate::Vlan
        | Fate::Malformed
        | Fate::Unspecified
        | Fate::NoOwner => (Stray::Passed, true),
    };
    counters::stray(OUT, address, way, count, now);
    counters::fate(fate, count);
    if matches!(way, Stray::Passed | Stray::Exempt) {
        counters::total(OUT, packet.class(), count);
        if listed {
            sources::count(OUT, family, source, eni != NO_ENI, count);
        }
    }
    if reported {
        events::send(ctx, packet, settings, OUT, eni, fate as u8, now);
    }
    Outcome::Fate(fate)
}

/// Returns why no ENI owns the source of `packet`.
#[inline(always)]
fn unowned(packet: &Packet) -> Fate {
    if ip::is_unspecified(packet.source) {
        Fate::Unspecified
    } else if ip::is_link_local(packet.family, packet.source) {
        Fate::LinkLocal
    } else {
        Fate::NoOwner
    }
}

/// Decides what happens to a packet whose source the ENI at slot `eni` owns, or two ENIs have
/// ([`NO_ENI`]).
///
/// The reasons are checked in this order: first what the packet is, then what the configuration
/// exempts, then the mode of the ENI that the packet is leaving by. The first that applies is the
/// fate.
#[inline(always)]
fn decide(ctx: &TcContext, packet: &Packet, eni: u16, settings: &Settings) -> Fate {
    let Packet {
        family,
        source,
        destination,
        ..
    } = *packet;
    if eni == NO_ENI {
        return Fate::Ambiguous;
    }
    if ip::is_link_local(family, source) || ip::is_link_local(family, destination) {
        return Fate::LinkLocal;
    }
    if ip::is_multicast(family, destination) || packet::to_a_group(ctx) {
        return Fate::Multicast;
    }
    if settings.exempt_mask != 0 && skb::mark(ctx) & settings.exempt_mask == settings.exempt_mark {
        return Fate::ExemptMark;
    }
    if settings.exempt.may_hold(family, destination) && owners::is_exempt(family, destination) {
        return Fate::ExemptDestination;
    }
    let Some(row) = config::eni(config::own_slot()) else {
        return Fate::CountOnly;
    };
    match Mode::from_u8(row.mode) {
        Mode::Count => Fate::CountOnly,
        Mode::Drop => Fate::Dropped,
        Mode::Steer => steer::steer(ctx, packet, eni),
    }
}
