//! The edges of eni-steer: everything it reads from a Linux host and everything it changes there.
//!
//! ```text
//! observe    reads the host: links, addresses, routes, rules, sysctls, programs, leases
//! explain    reads what `explain` needs, and goes on where a part cannot be read
//! executor   does the steps of a plan: where a step meets netlink, BPF, sysctls and the state file
//! netlink    rtnetlink, both directions of each object; the kernel's route lookup; notifications
//! bpf        the programs and their pinned maps
//! state      what eni-steer must remember to undo its changes, in /run
//! leases     gateways that DHCP clients have written to their lease files
//! sysctl     sysctls of the network namespace
//! ```
//!
//! Everything here is a sequence of system calls and so it is synchronous. Only
//! [`netlink::Watch`] and [`bpf::Events`], which wait for the kernel, are asynchronous.

pub mod bpf;
pub mod configuration;
pub mod daemon_report;
pub mod executor;
pub mod explain;
mod leases;
pub mod netlink;
pub mod observe;
#[doc(hidden)]
pub mod parsers;
pub mod paths;
pub mod process;
pub mod run_files;
pub mod state;
mod sysctl;
