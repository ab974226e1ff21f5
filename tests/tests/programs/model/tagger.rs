//! Puts a VLAN tag into the packet's metadata, as a driver does that removes the tag from the
//! frame. A test run can not be given such a tag, so a program of the test adds it and ends with
//! a tail call of eni-steer's program.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::{
    maps::{Map, MapData, ProgramArray},
    programs::SchedClassifier,
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY;
use eni_steer_linux::bpf::LoadedProgram;

use crate::bench::{classifier, pinned};

/// A tag: its protocol and its content.
pub type Tag = (u16, u16);

/// The answer if the tail call fails. eni-steer's programs never answer this.
const NOT_CALLED: u32 = 99;

/// The program that runs before one of eni-steer's.
pub struct Tagger {
    /// Runs eni-steer's program on the packet, with the tag that the packet's priority encodes.
    pub program: SchedClassifier,
    // The program to call exists as long as this array.
    _called: ProgramArray<MapData>,
}

impl Tagger {
    /// Makes it for one of eni-steer's programs and pins it at `pin`, in a bpffs.
    pub fn before(ours: &LoadedProgram, pin: &Path) -> Self {
        let array = aya_obj::Map::new_from_params(BPF_MAP_TYPE_PROG_ARRAY as u32, 4, 4, 1, 0);
        let array = MapData::create(array, "tagger", None).expect("an array of programs");
        let map = array.fd().as_fd().as_raw_fd();
        let mut called: ProgramArray<MapData> =
            Map::ProgramArray(array).try_into().expect("it is one");
        let ours = ours.classifier().expect("it is loaded");
        let ours = ours.fd().expect("it is loaded");
        called.set(0, ours, 0).expect("a program to call");
        Self {
            program: pinned(&classifier(&instructions(map.cast_unsigned())), pin),
            _called: called,
        }
    }

    /// Returns the priority of a packet that encodes a tag.
    pub fn priority((protocol, content): Tag) -> u32 {
        u32::from(protocol.to_be()) << 16 | u32::from(content)
    }
}

/// Returns the program `bpf_skb_vlan_push(skb, priority >> 16, priority & 0xffff);
/// bpf_tail_call(skb, map, 0)`.
fn instructions(map: u32) -> [u64; 14] {
    const PRIORITY: u16 = 32;
    const SKB_VLAN_PUSH: u32 = 18;
    const TAIL_CALL: u32 = 12;
    const PSEUDO_MAP_FD: u8 = 1;
    [
        insn(0xbf, 6, 1, 0, 0),        // r6 = skb
        insn(0x61, 2, 1, PRIORITY, 0), // r2 = priority
        insn(0xbf, 3, 2, 0, 0),        // r3 = r2
        insn(0x77, 2, 0, 0, 16),       // r2 >>= 16
        insn(0x57, 3, 0, 0, 0xffff),   // r3 &= 0xffff
        insn(0x85, 0, 0, 0, SKB_VLAN_PUSH),
        insn(0x55, 0, 0, 5, 0), // if it failed: to the end
        insn(0xbf, 1, 6, 0, 0), // r1 = skb
        insn(0x18, 2, PSEUDO_MAP_FD, 0, map),
        0,                      // of 16 bytes
        insn(0xb7, 3, 0, 0, 0), // r3 = 0
        insn(0x85, 0, 0, 0, TAIL_CALL),
        insn(0xb7, 0, 0, 0, NOT_CALLED), // r0 = NOT_CALLED
        insn(0x95, 0, 0, 0, 0),          // exit
    ]
}

/// Encodes a `struct bpf_insn`: opcode, destination and source register, offset, immediate value.
fn insn(code: u8, to: u8, from: u8, offset: u16, value: u32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset) << 16
        | u64::from(value) << 32
}
