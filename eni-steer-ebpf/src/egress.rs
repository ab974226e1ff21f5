//! Egress: whose address is the source, and what to do if it is another ENI's.

use aya_ebpf::programs::TcContext;
use eni_steer_common::{Class, Count, Direction, Fate, Mode, NO_ENI, Owner, Settings};

use crate::{
    config,
    counters::{self, Stray},
    events,
    ip::{Header, Ip},
    opaque, owners,
    packet::{self, Frame},
    skb, steer, wire,
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
    match packet::frame(ctx) {
        Frame::V4(header) => ip(ctx, header, count),
        Frame::V6(header) => ip(ctx, header, count),
        Frame::Malformed(class) => foreign(class, Fate::Malformed, count),
        Frame::Tagged => foreign(Class::Other, Fate::Vlan, count),
        Frame::Other => foreign(Class::Other, Fate::NotIp, count),
    }
}

/// A packet without a source of ours: it leaves.
#[inline(always)]
fn foreign(class: Class, fate: Fate, count: Count) -> Outcome {
    counters::total(OUT, class, count);
    counters::fate(fate, count);
    Outcome::Fate(fate)
}

#[inline(always)]
fn ip<A: Ip>(ctx: &TcContext, header: Header<A>, count: Count) -> Outcome {
    let own = config::own_slot();
    if let Some(owner) = header.source.owner() {
        // The common packet: two additions and it is gone.
        if owner.eni == own {
            counters::home(OUT, owner.address, count);
            counters::total(OUT, A::CLASS, count);
            return Outcome::Home;
        }
        return match config::settings() {
            Some(settings) => stray(ctx, &header, owner, settings, false, count),
            None => foreign(A::CLASS, Fate::HelperFailed, count),
        };
    }
    if let Some(settings) = config::settings()
        && settings.prefixes != 0
        && let Some(owner) = owners::by_prefix(&header.source)
    {
        if owner.eni == own {
            counters::home(OUT, owner.address, count);
            counters::source::<A>(OUT, header.source.address(), false, count);
            counters::total(OUT, A::CLASS, count);
            return Outcome::Home;
        }
        return stray(ctx, &header, owner, settings, true, count);
    }
    let fate = if header.source.is_unspecified() {
        Fate::Unspecified
    } else if header.source.is_link_local() {
        Fate::LinkLocal
    } else {
        Fate::NoOwner
    };
    counters::source::<A>(OUT, header.source.address(), false, count);
    foreign(A::CLASS, fate, count)
}

/// A packet whose source has an owner, but not this ENI. `listed`: its source is counted by
/// itself, beside the prefix that it lies in.
#[inline(always)]
fn stray<A: Ip>(
    ctx: &TcContext,
    header: &Header<A>,
    owner: &Owner,
    settings: &Settings,
    listed: bool,
    count: Count,
) -> Outcome {
    let (eni, address) = (owner.eni, owner.address);
    let fate = opaque::fate(decide(ctx, header, eni, settings));
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
    counters::stray(OUT, address, way, count);
    counters::fate(fate, count);
    if matches!(way, Stray::Passed | Stray::Exempt) {
        counters::total(OUT, A::CLASS, count);
        if listed {
            counters::source::<A>(OUT, header.source.address(), eni != NO_ENI, count);
        }
    }
    if told {
        events::egress(ctx, header, eni, fate, count);
    }
    Outcome::Fate(fate)
}

/// The order of the reasons: first what the packet is, then what the configuration exempts,
/// then the mode of the ENI it is leaving by.
#[inline(always)]
fn decide<A: Ip>(ctx: &TcContext, header: &Header<A>, eni: u16, settings: &Settings) -> Fate {
    if eni == NO_ENI {
        return Fate::Ambiguous;
    }
    if header.source.is_link_local() || header.destination.is_link_local() {
        return Fate::LinkLocal;
    }
    if header.destination.is_multicast() || packet::to_a_group(ctx) {
        return Fate::Multicast;
    }
    if settings.exempt_mask != 0 && skb::mark(ctx) & settings.exempt_mask == settings.exempt_mark {
        return Fate::ExemptMark;
    }
    if settings.exempt != 0 && owners::is_exempt(&header.destination) {
        return Fate::ExemptDestination;
    }
    let Some(row) = config::eni(config::own_slot()) else {
        return Fate::CountOnly;
    };
    match Mode::from_u8(row.mode) {
        Mode::Count => Fate::CountOnly,
        Mode::Drop => Fate::Dropped,
        Mode::Steer => steer::steer(ctx, header, eni),
    }
}
