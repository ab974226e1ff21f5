//! Routing symmetry for Linux hosts with several cloud network interfaces (ENIs): a packet
//! leaves by the ENI that owns its source.
//!
//! ```text
//! links, addresses, routes, rules, sysctls, programs      policy
//!                        |  observe   reads only; whole or an error
//!                        v
//!                     desired         pure: what this host should have
//!                        v
//!                      plan           pure: desired minus observed, as printable steps
//!                        v
//!                      apply          writes; a failed step undoes the ones before it
//!                        v
//!                     verify          observe again, plan again, nothing left; do the counters agree?
//! ```
//!
//! The modules stand in the order of the arrow. The pure ones (`model`, `policy`, `desired`,
//! `plan`, `explain`, `symmetry`, `render`) do no I/O; `netlink` and `bpf` are the edges.

pub mod model;
pub mod ownership;
pub mod policy;

pub mod observe;

pub mod desired;
pub mod plan;

pub mod apply;

pub mod counters;
pub mod explain;
pub mod neighbours;
pub mod symmetry;
pub mod verify;

pub mod render;

pub mod bpf;
pub mod netlink;
mod process;

pub mod daemon;

pub mod cli;

#[doc(hidden)]
pub mod parsers;

#[cfg(test)]
mod testing;
