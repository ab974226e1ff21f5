//! Every parser of what this program has not written itself, as a function of bytes: what
//! fuzzing (`cargo xtask fuzz`) and the test `parsers` feed. None may panic, whatever the bytes.
//!
//! No metadata service is asked yet. The parser of its answers belongs here once there is one.

use std::{hint::black_box, path::PathBuf};

use crate::{bpf, leases, netlink, state::State};
use eni_steer_core::policy::config::{Configured, SourceFile};

/// A parser: its name, which is that of its fuzz target and of its corpus, and itself.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: [Parser; 5] = [
    ("config", config),
    ("event", event),
    ("lease", lease),
    ("netlink", netlink),
    ("state", state),
];

/// `config.toml`; where the bytes hold a zero, what follows it is a file of `conf.d`. An error is
/// written out as the user would see it.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let files: Vec<SourceFile> = text
        .split('\0')
        .enumerate()
        .map(|(number, text)| SourceFile {
            path: PathBuf::from(format!("{number}.toml")),
            text: text.to_owned(),
        })
        .collect();
    if let Err(error) = Configured::from_files(&files) {
        black_box(error.to_string());
    }
}

/// A record of the ring buffer of mismatches.
pub fn event(bytes: &[u8]) {
    black_box(bpf::read_event(bytes));
}

/// A DHCP client's file of leases.
pub fn lease(bytes: &[u8]) {
    black_box(leases::read_text(&String::from_utf8_lossy(bytes)));
}

/// A datagram of rtnetlink.
pub fn netlink(bytes: &[u8]) {
    black_box(netlink::decode_with_every_parser(bytes));
}

/// The file in /run that remembers what was there before us.
pub fn state(bytes: &[u8]) {
    if let Err(error) = State::parse(bytes) {
        black_box(error.to_string());
    }
}
