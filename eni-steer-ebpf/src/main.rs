//! The TC programs of eni-steer: they count every packet of an ENI by who owns its local
//! address, and bring packets that leave by the wrong ENI to the right one.
//!
//! One pair is loaded per ENI, with the ENI's slot patched in; the maps are shared through
//! pins. This file is the table from what was decided to what TC is told.
#![no_std]
#![no_main]
#![allow(
    missing_docs,
    reason = "the macro leaves the doc comments of what it makes out"
)]
// For what the compiler will not say: see the modules `opaque` and `skb`.
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

/// Counts, and never changes what happens to the packet: programs after this one still run.
#[classifier]
#[inline(always)]
pub fn eni_steer_in(ctx: TcContext) -> i32 {
    ingress::ingress(&ctx);
    TC_ACT_UNSPEC
}

/// Counts, and decides about packets whose source another ENI owns.
#[classifier]
#[inline(always)]
pub fn eni_steer_out(ctx: TcContext) -> i32 {
    match egress::egress(&ctx) {
        Outcome::Home => TC_ACT_UNSPEC,
        Outcome::Fate(fate) => match fate {
            // The helper has noted down where the packet goes.
            Fate::Steered => TC_ACT_REDIRECT,
            Fate::Dropped => TC_ACT_SHOT,
            // Not ours to decide: programs after this one still run, then the packet leaves.
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

/// Never reached: nothing in the programs panics, and the verifier would refuse an endless loop.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_ktime_get_coarse_ns` and other helpers we call are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
