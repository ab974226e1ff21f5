//! The TC programs as they are, each run on one packet after another by BPF_PROG_TEST_RUN: what
//! they decide, and which counters change. A counter that a test does not list must not change.

mod bench;
mod decisions;
mod extensions;
mod home;
mod hooks;
mod layers;
mod malformed;
mod model;
mod pins;
mod prefixes;
mod reports;
mod segments;
mod sources;
mod sums;
mod untouched;
