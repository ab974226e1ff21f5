//! Tests that do not depend on the kernel: any user can run them.

mod parsers;
mod words;
