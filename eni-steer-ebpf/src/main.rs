//! The TC programs of eni-steer. They count every packet of an ENI under the local address it
//! belongs to, and they can redirect packets that are leaving by the wrong ENI to the right one.
//!
//! The loader attaches one pair of programs to each ENI and writes the ENI's slot, its number in
//! the maps, into the pair. All pairs share the maps through pins in bpffs. This file maps each
//! decision to the action that TC takes.
//!
//! # The way of a packet
//!
//! The ENI that an address belongs to is its owner. "Pass on" is `TC_ACT_UNSPEC`: the programs
//! behind this one on the hook still run, and then the packet goes on as if this one were not
//! there. The names after "count" are explained below.
//!
//! ```text
//! a packet ARRIVES at ENI X: `eni_steer_in`
//!   |
//!   +- VLAN tag, not IP, bad header -> count total --------------------------> pass on
//!   |
//! owner of the DESTINATION: exact address, else the longest delegated prefix
//!   |
//!   +- X ---------> count total, cell, source -------------------------------> pass on
//!   +- nobody ----> count total, source -------------------------------------> pass on
//!   +- two ENIs --> count total, source, stray ------------------------------> pass on
//!   +- ENI Y -----> count total, source (as mismatched), stray; send event --> pass on
//!
//!
//! a packet LEAVES by ENI X: `eni_steer_out`
//!   |
//!   +- VLAN tag, not IP, bad header -> count total, fate --------------------> pass on
//!   |
//! owner of the SOURCE: exact address
//!   |
//!   +- X ---------> count cell, total    (nearly every packet ends here) ----> pass on
//!   |
//! no exact owner: the longest delegated prefix, unless the source is unspecified
//!   |
//!   +- X ---------> count cell, source, total -------------------------------> pass on
//!   +- nobody ----> count source, total, fate -------------------------------> pass on
//!   |
//! two ENIs, or ENI Y (a mismatch): the first line that applies
//!   |
//!   +- two ENIs --------------------> count stray, fate, total, source* -----> pass on
//!   +- link-local, multicast,
//!   |  broadcast, exempt mark or
//!   |  destination -----------------> count stray, fate, total, source* -----> pass on
//!   +- mode of X is `count` --------> as above, and send event --------------> pass on
//!   +- mode of X is `drop` ---------> count stray, fate; send event ---------> DROP
//!   +- mode of X is `steer`, but Y is
//!   |  down, has no route, refuses the
//!   |  destination or has too small an
//!   |  MTU, or a helper fails ------> as mode `count` -----------------------> pass on
//!   +- mode of X is `steer` --------> count stray, fate; send event ---------> REDIRECT
//!                                                                                |
//!        the packet leaves by Y: Y's `eni_steer_out` finds the owner Y <---------+
//!
//! * if the source has no exact owner
//! ```
//!
//! What is counted, with the type that says more:
//!
//! - total: by ENI and class, the packets that arrived or left
//!   ([`eni_steer_common::EniCounters`]);
//! - cell: by address, the packets on the ENI that owns it ([`eni_steer_common::AddressCell`]);
//! - stray: by address, the packets on an ENI that does not own it
//!   ([`eni_steer_common::StrayValue`]);
//! - source: by source address, in a table of fixed size ([`eni_steer_common::SourceSet`]);
//! - fate: by ENI, why an egress packet is not simply one that left by its owner ([`Fate`]).
#![no_std]
#![no_main]
#![allow(
    missing_docs,
    reason = "the macro leaves the doc comments of what it makes out"
)]
// The modules `opaque` and `skb` need inline assembly, which is not stable for this target.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod clock;
mod config;
mod counters;
mod egress;
mod events;
mod headers;
mod ingress;
mod ip;
mod opaque;
mod owners;
mod packet;
mod skb;
mod sources;
mod steer;
mod wire;

use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};
use eni_steer_common::Fate;

use crate::egress::Outcome;

/// The ingress program. It counts the packet and always passes it on to the programs behind this
/// one.
#[classifier]
#[inline(always)]
pub fn eni_steer_in(ctx: TcContext) -> i32 {
    ingress::ingress(&ctx);
    TC_ACT_UNSPEC
}

/// The egress program. It counts the packet, and it redirects or drops the packet if another ENI
/// owns its source and the mode of this ENI says so.
#[classifier]
#[inline(always)]
pub fn eni_steer_out(ctx: TcContext) -> i32 {
    match egress::egress(&ctx) {
        Outcome::Home => TC_ACT_UNSPEC,
        Outcome::Fate(fate) => match fate {
            // `bpf_redirect_neigh` has recorded the interface and the next hop. The kernel sends
            // the packet there when it sees this action.
            Fate::Steered => TC_ACT_REDIRECT,
            Fate::Dropped => TC_ACT_SHOT,
            // eni-steer leaves these packets alone: programs behind this one still run, then the
            // packet leaves.
            Fate::NotIp
            | Fate::Vlan
            | Fate::Malformed
            | Fate::Unspecified
            | Fate::LinkLocal
            | Fate::NoOwner
            | Fate::Ambiguous
            | Fate::Multicast
            | Fate::ExemptMark
            | Fate::ExemptDestination
            | Fate::CountOnly
            | Fate::OwnerAbsent
            | Fate::NoNextHop
            | Fate::Refused
            | Fate::Mtu
            | Fate::HelperFailed => TC_ACT_UNSPEC,
        },
    }
}

/// Rust demands a panic handler. It is never reached: nothing in the programs panics, and the
/// verifier refuses an endless loop.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The license that the kernel reads when it loads a program. It accepts this string as
/// compatible with the GPL (`license_is_gpl_compatible`, include/linux/license.h), so the
/// programs may call helpers that are reserved for such programs. The helpers they call today are
/// open to every program.
// SAFETY: loaders expect exactly this in the section: a string that ends with a zero byte. No
// other symbol of the object has the name.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
