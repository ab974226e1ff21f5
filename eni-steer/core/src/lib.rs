//! The decisions of eni-steer, without any I/O.
//!
//! eni-steer makes replies leave by the interface their request arrived on, on Linux hosts with
//! several cloud network interfaces (ENIs).
//!
//! ```text
//! links, addresses, routes, rules, sysctls, programs      policy
//!                        |  observe   eni-steer-linux reads the host: everything, or an error
//!                        v
//!                     desired         what this host should have
//!                        v
//!                      plan           the steps from the host as it is to what it should have
//!                        v
//!                      apply          an Executor carries out the steps; a failure undoes them
//!                        v
//!                     verify          a new plan is empty; the kernel's lookups and the counters
//!                                     agree with the policy
//! ```
//!
//! The modules are listed in the order of the arrow. This crate depends on no runtime, no libc and
//! no BPF library, so a decision cannot read the host: the compiler forbids it. `eni-steer-linux`
//! reads and changes the host; the command `eni-steer` prints reports and contains the daemon.

pub mod model;
pub mod ownership;
pub mod policy;

pub mod desired;
pub mod plan;

pub mod apply;

pub mod counters;
pub mod epoch;
pub mod explain;
pub mod findings;
pub mod known_tools;
pub mod symmetry;
pub mod verify;

pub mod doctor;
pub mod record;
pub mod report;

#[cfg(any(test, feature = "testing"))]
pub mod fake;
