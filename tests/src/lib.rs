//! The lab: network namespaces that play a cloud host with several ENIs, the VPC router in front
//! of it and a remote client; optionally also a container on the host and a neighbour in the ENIs'
//! subnets.
//!
//! ```text
//!  client                 router: the VPC                       host: the machine under test
//!  ──────                 ───────────────                       ────────────────────────────
//!  c0 192.0.2.10 ──── rc 192.0.2.1
//!  2001:db8:1::10        2001:db8:1::1
//!                        vpc 172.16.20.253 ┬─ r0 ── source ──── eth0 172.16.20.176
//!                            fd00:20::253  │       check 0           fd00:20::176   (default route)
//!                                          ├─ r1 ── source ──── eth1 172.16.20.177
//!                                          │       check 1           fd00:20::177   (none)
//!  peer (option)                           │
//!  p0 172.16.20.50 ────────────────── rp0 ─┘                    docker0 172.17.0.1/16 (option)
//!     fd00:20::50                                                  │    fd00:17::1/64
//!                                                               container: eth0 172.17.0.2
//!                                                                               fd00:17::2
//! ```
//!
//! This is [`Shape::SameSubnet`]. In [`Shape::DifferentSubnets`] ENI `i` is in 172.16.(20+i).0/24
//! and fd00:(20+i)::/64, and the router has one bridge `vpc<i>` with a gateway (.253) per subnet:
//! eth1 is 172.16.21.177.
//!
//! The router behaves like a VPC and not like a LAN. It knows which ENI owns which address and
//! never asks (permanent neighbours, static forwarding entries, ENI ports isolated from each
//! other). On each ENI's port a *source check* counts packets whose source is not one of that
//! ENI's addresses, and can drop them ([`Builder::drop_wrong_source`]).
//!
//! ```no_run
//! use eni_steer_tests::{Lab, Shape, ping};
//! use std::time::Duration;
//!
//! let lab = Lab::builder(Shape::SameSubnet).build();
//! let eth1 = lab.eni(1).v4();
//! let answers = ping(&lab.client, None, eth1.into(), 3, Duration::from_millis(10));
//! assert_eq!(answers.received, 3);
//! assert_eq!(lab.router_seen(0).wrong.packets, 3); // replies of eth1's address, on eth0
//! ```
//!
//! What tests can rely on:
//!
//! - only the network namespace differs from the test's own surroundings. Mounts, users and process
//!   ids are the same, so all namespaces see the pins in a bpffs;
//! - no namespace has a name in /run/netns. Everything disappears with the last file descriptor,
//!   that is with the [`Lab`], also when a test panics;
//! - if a tool that the lab calls fails, the lab panics with the command and its output. The tools
//!   are `ip`, `bridge`, `tc`, `nft` and `ethtool`.

mod advertise;
mod bpf;
mod bpffs;
mod capture;
mod command;
mod counters;
mod device;
mod diff;
mod dump;
mod failure;
mod frame;
mod inject;
mod kept;
mod lab;
mod live_frames;
mod neighbour;
mod netns;
pub mod packets;
mod privilege;
mod requires;
mod source_check;
mod steer;
mod sysctl;
mod talk;
mod tcx;
mod topology;
mod traffic;
mod tunnel;

pub use advertise::advertise;
pub use bpf::{TcxProgram, pin_some_map};
pub use bpffs::Bpffs;
pub use capture::Capture;
pub use command::{Background, Call, Output, ip, run, run_ok};
pub use counters::{AddressCell, Counters, Way};
pub use device::DeviceCounters;
pub use diff::diff;
pub use dump::{assert_unchanged, dump};
pub use failure::FailureReport;
pub use frame::{Frame, PacketType, VlanTag};
pub use inject::{Injector, inject};
pub use kept::{Kept, SOON, all_ours, ours, proc_number};
pub use lab::{Builder, DefaultRoute, Lab};
pub use live_frames::{LiveFrames, receive_queue};
pub use neighbour::{Neighbour, flush_neighbours, neighbours};
pub use netns::NetNs;
pub use privilege::require_root;
pub use requires::{Feature, requires};
pub use source_check::{Count, Seen, nft};
pub use steer::{Steer, binary, expect_error};
pub use sysctl::{read_sysctl, write_sysctl};
pub use talk::{expect_symmetry, talk};
pub use tcx::{attach_kinds, kernel_has_tcx};
pub use topology::{Eni, Mac, Shape};
pub use traffic::attempt::{Attempt, Sent};
pub use traffic::icmp::{Ping, ping};
pub use traffic::tcp::{TcpTransfer, Transfer, tcp_transfer};
pub use traffic::udp::{Blast, UdpServer, Until, udp_blast, udp_exchange};
pub use traffic::{Exchange, eventually};
pub use tunnel::Tunnel;
