//! Every parser of input from outside eni-steer, as a function of bytes. Fuzzing
//! (`cargo xtask fuzz`) and the test `parsers` call them. No input may make one panic.
//!
//! eni-steer does not query metadata services yet. The parser of their answers belongs here.

use std::{hint::black_box, path::PathBuf};

use crate::{bpf, leases, netlink, state::State};
use eni_steer_core::policy::config::{LoadedConfig, SourceFile};

/// A parser and its name, which is also the name of its fuzz target and of its corpus.
pub type Parser = (&'static str, fn(&[u8]));

/// All parsers of input from outside.
pub const PARSERS: [Parser; 5] = [
    ("config", config),
    ("event", event),
    ("lease", lease),
    ("netlink", netlink),
    ("state", state),
];

/// Parses `config.toml`. A zero byte ends a file, and what follows is the next file, as in
/// `conf.d`. An error is formatted as the user would see it.
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
    if let Err(error) = LoadedConfig::from_files(&files) {
        black_box(error.to_string());
    }
}

/// Decodes a record of the ring buffer in which the programs report mismatches.
pub fn event(bytes: &[u8]) {
    black_box(bpf::decode_event(bytes));
}

/// Parses a DHCP client's lease file.
pub fn lease(bytes: &[u8]) {
    black_box(leases::parse_in_all_formats(bytes));
}

/// Decodes a datagram of the kernel's rtnetlink.
pub fn netlink(bytes: &[u8]) {
    black_box(netlink::decode_with_every_parser(bytes));
}

/// Parses the state file, which holds the values from before eni-steer changed them.
pub fn state(bytes: &[u8]) {
    if let Err(error) = State::parse(bytes) {
        black_box(error.to_string());
    }
}
