//! The TC programs as they are, each run on one packet after another by BPF_PROG_TEST_RUN:
//! what is decided, and which counters change. Whatever a test does not list did not change.

#[path = "programs/bench.rs"]
mod bench;
#[path = "programs/decisions.rs"]
mod decisions;
#[path = "programs/extensions.rs"]
mod extensions;
#[path = "programs/home.rs"]
mod home;
#[path = "programs/hooks.rs"]
mod hooks;
#[path = "programs/layers.rs"]
mod layers;
#[path = "programs/malformed.rs"]
mod malformed;
#[path = "programs/model/mod.rs"]
mod model;
#[path = "programs/pins.rs"]
mod pins;
#[path = "programs/prefixes.rs"]
mod prefixes;
#[path = "programs/reports.rs"]
mod reports;
#[path = "programs/segments.rs"]
mod segments;
#[path = "programs/sources.rs"]
mod sources;
#[path = "programs/sums.rs"]
mod sums;
#[path = "programs/untouched.rs"]
mod untouched;
