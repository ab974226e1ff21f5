//! Egress: whose address is the source, and what to do if it is another ENI's.

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

/// What became of an egress packet.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// It leaves by the ENI that owns its source.
    Home,
    /// Something else, and why.
    Fate(Fate),
}

/// Counts the packet and decides about it.
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
    // From here on one code serves both families: compiled and verified once.
    match config::settings() {
        Some(settings) => elsewhere(ctx, &packet, owner, settings),
        None => leaves(packet.class(), Fate::HelperFailed, count),
    }
}

/// The common packet: two additions and it is gone. If it is not one, the owner of its source.
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

/// The packet leaves by this ENI, and why.
#[inline(always)]
fn leaves(class: Class, fate: Fate, count: Count) -> Outcome {
    counters::total(OUT, class, count);
    counters::fate(fate, count);
    Outcome::Fate(fate)
}

/// A packet whose source is not exactly an address of this ENI.
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
    // Sources that have no entry of their own are counted one by one, in or beside the prefix
    // they lie in. Whatever prefix is around it: an unspecified source is nobody's.
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
    let (way, told) = match fate {
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
    if told {
        events::send(ctx, packet, settings, OUT, eni, fate as u8, now);
    }
    Outcome::Fate(fate)
}

/// Why nobody owns the source.
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

/// The order of the reasons: first what the packet is, then what the configuration exempts,
/// then the mode of the ENI it is leaving by.
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
