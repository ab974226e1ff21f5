//! Everything that eni-steer reads from a Linux host and everything it changes on it.
//!
//! ```text
//! observe    reads the host: links, addresses, routes, rules, sysctls, programs, leases
//! explain    reads what `explain` needs, and goes on where a part cannot be read
//! doctor     reads what `doctor` judges beside the host: limits, devices, other software
//! executor   executes the steps of a plan through netlink, BPF, sysctls and the state file
//! netlink    links, addresses, routes and rules; route lookups; notifications of changes
//! bpf        the eBPF programs and their pinned maps
//! state      the values that eni-steer needs to undo its changes, saved in /run
//! lock       one process at a time changes the host; one daemon runs
//! files      who may have written a file that is believed, and how one is replaced
//! own_dir    checks that directories belong to root before it uses them
//! namespace  the name of a network namespace's directories
//! leases     gateways from the lease files of DHCP clients
//! reach      does another host answer?
//! file_watch notices leases and the file `off`
//! off        the emergency brake
//! sysctl     sysctls of the network namespace
//! ```
//!
//! Everything here is a sequence of system calls, and therefore synchronous. Only
//! [`netlink::Watch`], [`file_watch::FileWatch`] and [`bpf::Events`] are asynchronous, because they wait for the kernel.

pub mod bpf;
pub mod configuration;
pub mod daemon_report;
pub mod doctor;
pub mod epoch;
mod ethtool;
pub mod executor;
pub mod explain;
pub mod file_watch;
pub mod files;
mod leases;
pub mod lock;
pub mod namespace;
mod netfilter;
pub mod netlink;
pub mod observe;
pub mod off;
pub mod own_dir;
#[doc(hidden)]
pub mod parsers;
pub mod paths;
pub mod process;
pub mod reach;
pub mod run_files;
pub mod state;
mod sysctl;
