//! The decisions of eni-steer, without any I/O.
//!
//! eni-steer makes replies leave by the interface their request arrived on, on Linux hosts with
//! several cloud network interfaces (ENIs).
//!
//! ```text
//! links, addresses, routes, rules, sysctls, programs      policy
//!                        |  observe   eni-steer-linux: reads only; whole or an error
//!                        v
//!                     desired         what this host should have
//!                        v
//!                      plan           desired minus observed, as steps that can be printed
//!                        v
//!                      apply          does the steps by an Executor; undoes them if one fails
//!                        v
//!                     verify          observe again, plan again, nothing left; then: do the
//!                                     kernel's lookups and the counters agree?
//! ```
//!
//! The modules are listed in the order of the arrow. This crate depends on no runtime, no libc and
//! no BPF library, so a decision cannot read the host: the compiler forbids it. `eni-steer-linux`
//! reads and changes the host, `eni-steer` (the command) prints and keeps.

pub mod model;
pub mod ownership;
pub mod policy;

pub mod desired;
pub mod plan;

pub mod apply;

pub mod counters;
pub mod epoch;
mod explain;
pub mod findings;
pub mod known_tools;
pub mod symmetry;
pub mod verify;

pub mod report;

#[cfg(any(test, feature = "testing"))]
pub mod fake;
