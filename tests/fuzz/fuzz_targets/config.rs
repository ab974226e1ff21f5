//! Fuzz target for `eni_steer_linux::parsers::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eni_steer_linux::parsers::config(bytes));
