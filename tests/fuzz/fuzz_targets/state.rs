//! Fuzz target for `eni_steer::parsers::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eni_steer::parsers::state(bytes));
