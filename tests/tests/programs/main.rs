//! The TC programs as they are, each run on one packet after another by BPF_PROG_TEST_RUN:
//! what is decided, and which counters change. Whatever a test does not list did not change.

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
