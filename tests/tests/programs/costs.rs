//! What a packet costs: `cargo test --test programs -- --ignored --nocapture costs`

use std::os::fd::{AsRawFd, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_cmd};
use eni_steer::model::{Direction, Mode};
use eni_steer_tests::packets::Packet;

use crate::bench::*;

/// Runs of one measurement, and measurements of each case, interleaved.
const REPEAT: u32 = 100_000;
const ROUNDS: usize = 40;

/// Nanoseconds of a run of a program that does nothing.
fn empty(program: &OwnedFd, packet: &[u8]) -> u64 {
    // SAFETY: a union of structs of integers, for which zero is a valid value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.test.repeat = REPEAT;
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = packet.len().try_into().expect("a small packet");
    // SAFETY: `attr` is a whole bpf_attr, and its pointer points to what lives longer.
    let result = unsafe {
        let command = bpf_cmd::BPF_PROG_TEST_RUN as u32;
        libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<bpf_attr>())
    };
    assert_eq!(
        result,
        0,
        "BPF_PROG_TEST_RUN: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: the command fills this member of the union.
    u64::from(unsafe { attr.test.duration })
}

#[test]
#[ignore = "a measurement: it says nothing on a machine that does other things"]
fn costs() {
    let bench = Bench::new(Mode::Steer);
    let (inward, out) = (Direction::Ingress, Direction::Egress);
    let cases = [
        ("egress, home, IPv4", out, OWN4, FAR4, 22),
        ("egress, home, IPv6", out, OWN6, FAR6, 2),
        ("ingress, one source, IPv4", inward, FAR4, OWN4, 22),
        ("ingress, one source, IPv6", inward, FAR6, OWN6, 2),
        ("egress, steered, IPv4", out, THEIRS4, FAR4, 22),
        ("egress, steered, IPv6", out, THEIRS6, FAR6, 2),
        ("egress, no owner, IPv4", out, FAR4, OWN4, 22),
    ];
    let nothing = empty_program();
    let mut base = Vec::new();
    let mut costs = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        base.push(empty(
            &nothing,
            &Packet::udp(ip(OWN4), ip(FAR4), 22).bytes(),
        ));
        for (cost, (_, direction, source, far, bytes)) in costs.iter_mut().zip(cases) {
            let packet = Packet::udp(ip(source), ip(far), bytes).bytes();
            cost.push(run(bench.program(direction), &packet, None, REPEAT).1);
        }
    }
    let median = |mut values: Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let base = median(base);
    println!("empty program: {base} ns");
    for (cost, (name, ..)) in costs.into_iter().zip(cases) {
        println!("{name}: {} ns more", median(cost).saturating_sub(base));
    }
}
