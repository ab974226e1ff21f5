//! What asks no kernel for anything: any user can run it.

mod parsers;
