//! Frames that a device receives as fast as the kernel can process them. An XDP program makes
//! them; BPF_PROG_TEST_RUN runs it with BPF_F_TEST_XDP_LIVE_FRAMES (5.18 and later, see the
//! kernel's Documentation/bpf/bpf_prog_run.rst). The calling thread does all the work for a frame
//! until it is received or dropped.

use std::os::fd::OwnedFd;

use nix::net::if_::if_nametoindex;

use crate::NetNs;
use crate::bpf::{attach_xdp, load_xdp, run_live};
use crate::packets::checksum;

/// Frames for one device.
#[derive(Debug)]
pub struct LiveFrames {
    ns: NetNs,
    index: u32,
    program: OwnedFd,
    frame: Vec<u8>,
    // The kernel demands a receive queue, which a veth device has while a program is attached.
    _queue: OwnedFd,
}

impl LiveFrames {
    /// Prepares copies of an Ethernet frame with an IPv4 header without options. The source of
    /// each is 10.x.y.z with `bits` random bits (0 to 20); with 0 it is always the same. The
    /// header's checksum is right.
    #[track_caller]
    pub fn new(ns: &NetNs, device: &str, frame: &[u8], bits: u32) -> Self {
        assert!(bits <= 20 && frame.len() >= 34, "{bits} bits, {frame:02x?}");
        let index = ns
            .run(|| if_nametoindex(device))
            .unwrap_or_else(|e| panic!("{device} of {}: {e}", ns.name()));
        Self {
            ns: ns.clone(),
            index,
            program: load_xdp(&with_random_source(frame, bits)),
            frame: frame.to_vec(),
            _queue: receive_queue(ns, device),
        }
    }

    /// Makes the device receive `count` frames. Returns the nanoseconds per frame, as the kernel
    /// measures them, without the start and the end of the run.
    #[track_caller]
    pub fn receive(&self, count: u32) -> u32 {
        self.ns
            .run(|| run_live(&self.program, self.index, &self.frame, count))
    }
}

/// Gives a veth device a receive queue for as long as the returned value lives; with GRO the
/// queue makes super-packets of what arrives. From 5.13 on, switching on GRO is enough; before,
/// the device needs an XDP program.
#[track_caller]
pub fn receive_queue(ns: &NetNs, device: &str) -> OwnedFd {
    let pass = load_xdp(&[R0_IS_PASS, EXIT]);
    ns.run(|| if_nametoindex(device).map(|index| attach_xdp(&pass, index)))
        .unwrap_or_else(|e| panic!("{device} of {}: {e}", ns.name()))
}

const EXIT: u64 = 0x95;
const R0_IS_PASS: u64 = 0x0000_0002_0000_00b7;

/// Encodes a `struct bpf_insn`: opcode, destination and source register, offset, immediate value.
const fn insn(code: u8, to: u8, from: u8, offset: u16, value: u32) -> u64 {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset as u64) << 16
        | (value as u64) << 32
}

/// Opcodes from linux/bpf.h and linux/bpf_common.h.
mod code {
    pub const MOV_REG: u8 = 0xbf;
    pub const ADD: u8 = 0x07;
    pub const ADD_REG: u8 = 0x0f;
    pub const AND: u8 = 0x57;
    pub const OR: u8 = 0x47;
    pub const XOR: u8 = 0xa7;
    pub const SHIFT_LEFT: u8 = 0x67;
    pub const SHIFT_RIGHT: u8 = 0x77;
    pub const LOAD_WORD: u8 = 0x61;
    pub const STORE_WORD: u8 = 0x63;
    pub const STORE_HALF: u8 = 0x6b;
    pub const IF_GREATER: u8 = 0x2d;
    pub const CALL: u8 = 0x85;
}

/// Offsets in the frame.
const CHECKSUM: u16 = 14 + 10;
const SOURCE: u16 = 14 + 12;
const HEADER_END: u32 = 14 + 20;

/// Returns instructions that write a source into the frame and the checksum that goes with it.
/// The sum of 16-bit words is the same in either byte order, if all of it uses the same one (RFC
/// 1071); registers hold words in the order of a little-endian machine.
fn with_random_source(frame: &[u8], bits: u32) -> Vec<u64> {
    const GET_PRANDOM_U32: u32 = 7;
    let mut rest = frame[14..34].to_vec();
    rest[10..16].fill(0);
    let rest = u32::from((!checksum(&rest)).swap_bytes());
    let fold = [
        insn(code::MOV_REG, 3, 2, 0, 0),
        insn(code::SHIFT_RIGHT, 3, 0, 0, 16),
        insn(code::AND, 2, 0, 0, 0xffff),
        insn(code::ADD_REG, 2, 3, 0, 0),
    ];
    let mut program = vec![
        insn(code::MOV_REG, 6, 1, 0, 0),
        insn(code::CALL, 0, 0, 0, GET_PRANDOM_U32),
        insn(code::LOAD_WORD, 7, 6, 0, 0), // data
        insn(code::LOAD_WORD, 8, 6, 4, 0), // data_end
        insn(code::MOV_REG, 2, 7, 0, 0),
        insn(code::ADD, 2, 0, 0, HEADER_END),
        insn(code::IF_GREATER, 2, 8, 20, 0), // to the end
        // The source as it is in memory: 10, then the random bits, and one bit that is always
        // set.
        insn(code::AND, 0, 0, 0, (1 << bits) - 1),
        insn(code::OR, 0, 0, 0, 1 << 20),
        insn(code::SHIFT_LEFT, 0, 0, 0, 8),
        insn(code::OR, 0, 0, 0, 10),
        insn(code::STORE_WORD, 7, 0, SOURCE, 0),
        // Add its two halves and the rest of the header.
        insn(code::MOV_REG, 2, 0, 0, 0),
        insn(code::SHIFT_RIGHT, 2, 0, 0, 16),
        insn(code::AND, 0, 0, 0, 0xffff),
        insn(code::ADD_REG, 2, 0, 0, 0),
        insn(code::ADD, 2, 0, 0, rest),
    ];
    program.extend(fold);
    program.extend(fold);
    program.extend([
        insn(code::XOR, 2, 0, 0, 0xffff),
        insn(code::STORE_HALF, 7, 2, CHECKSUM, 0),
        R0_IS_PASS,
        EXIT,
    ]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::Packet;
    use crate::{Capture, run_ok};

    #[test]
    fn live_frames_have_their_own_sources_and_right_checksums() {
        let ns = NetNs::new("host");
        run_ok(
            &ns,
            "ip",
            "link add e0 type veth peer e1".split_whitespace(),
        );
        for device in ["e0", "e1"] {
            run_ok(&ns, "ip", ["link", "set", device, "up"]);
        }
        let address = |text: &str| text.parse().expect("an address");
        let packet = Packet::udp(address("10.0.0.1"), address("192.0.2.1"), 4).bytes();
        let frames = LiveFrames::new(&ns, "e0", &packet, 20);
        let capture = Capture::start(&ns, "e0");
        frames.receive(200);
        let seen: Vec<_> = capture
            .stop()
            .into_iter()
            .filter(|frame| frame.data.len() == packet.len())
            .collect();
        assert_eq!(seen.len(), 200);
        let mut sources: Vec<_> = seen.iter().filter_map(|frame| frame.source()).collect();
        sources.sort();
        sources.dedup();
        assert!(sources.len() > 190, "{sources:?}");
        for frame in &seen {
            assert_eq!(checksum(&frame.data[14..34]), 0, "{frame}");
            assert_eq!(frame.data[26], 10, "{frame}");
        }
    }
}
