//! The cloud's source check. On the router's port of each ENI it counts packets by whether their
//! source is an address of that ENI.
//!
//! It uses the netdev ingress hook of the port, before bridge and routing. It ignores neighbour
//! discovery, link-local and unspecified sources, ARP, VLAN-tagged and other non-IP frames.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::topology::Eni;
use crate::{Call, NetNs};

/// Packets and bytes; the bytes are those of the IP packets, without the Ethernet header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Sum of their lengths.
    pub bytes: u64,
}

/// What the VPC router received from an ENI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets from an address of this ENI.
    pub right: Count,
    /// Packets from any other address.
    pub wrong: Count,
}

impl Seen {
    /// Returns what came since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        let less = |a: Count, b: Count| Count {
            packets: a.packets - b.packets,
            bytes: a.bytes - b.bytes,
        };
        Self {
            right: less(self.right, earlier.right),
            wrong: less(self.wrong, earlier.wrong),
        }
    }
}

/// Returns the nftables table of the router, for all ports.
pub(crate) fn ruleset(enis: &[Eni], drop_wrong: bool) -> String {
    let verdict = if drop_wrong { " drop" } else { "" };
    let mut text = String::from("table netdev source_check {\n");
    for eni in enis {
        let i = eni.index;
        let v4s = list(eni.v4s.iter().copied().map(IpAddr::V4));
        let v6s = list(eni.v6s.iter().copied().map(IpAddr::V6));
        write!(
            text,
            "set v4_{i} {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {v4s} }} }}
             set v6_{i} {{ type ipv6_addr; flags interval; auto-merge; elements = {{ {v6s} }} }}
             counter right_{i} {{ }}
             counter wrong_{i} {{ }}
             chain from_{i} {{
                 type filter hook ingress device \"{port}\" priority 0; policy accept;
                 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept
                 ip6 saddr {{ ::, fe80::/10 }} accept
                 ip saddr {{ 0.0.0.0, 169.254.0.0/16 }} accept
                 ip saddr @v4_{i} counter name right_{i} accept
                 ip6 saddr @v6_{i} counter name right_{i} accept
                 meta protocol {{ ip, ip6 }} counter name wrong_{i}{verdict}
             }}\n",
            port = eni.port
        )
        .expect("a string can be written to");
    }
    text + "}\n"
}

fn list(addresses: impl Iterator<Item = IpAddr>) -> String {
    addresses
        .map(|a| a.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Adds an address or prefix to those from which an ENI may send.
#[track_caller]
pub(crate) fn allow(router: &NetNs, eni: &Eni, family_of: IpAddr, source: &str) {
    let family = match family_of {
        IpAddr::V4(_) => "v4",
        IpAddr::V6(_) => "v6",
    };
    let command = format!(
        "add element netdev source_check {family}_{} {{ {source} }}",
        eni.index
    );
    nft(router, &command);
}

/// Reads the counters of an ENI's port.
#[track_caller]
pub(crate) fn read(router: &NetNs, eni: &Eni) -> Seen {
    let listed = Call::new("nft")
        .args(["-j", "list", "counters", "table", "netdev", "source_check"])
        .run(router)
        .expect_success()
        .json();
    let count = |name: String| {
        let counter = listed["nftables"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| &entry["counter"])
            .find(|counter| counter["name"] == name)
            .unwrap_or_else(|| panic!("no counter {name} in {listed}"));
        let number = |key: &str| {
            counter[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key} in {counter}"))
        };
        Count {
            packets: number("packets"),
            bytes: number("bytes"),
        }
    };
    Seen {
        right: count(format!("right_{}", eni.index)),
        wrong: count(format!("wrong_{}", eni.index)),
    }
}

/// Passes a script to nft.
#[track_caller]
pub fn nft(ns: &NetNs, script: &str) {
    let output = Call::new("nft").args(["-f", "-"]).stdin(script).run(ns);
    assert!(output.success(), "{output}\nscript:\n{script}");
}
