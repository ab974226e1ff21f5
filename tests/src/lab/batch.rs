//! Collects many lines for one call of a tool. One process per line would take most of the time
//! that a lab takes to build.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::topology::{Eni, Mac};
use crate::{Call, NetNs};

#[track_caller]
pub(super) fn ip_batch(ns: &NetNs, script: &Batch) {
    batch(ns, "ip", &script.0);
}

#[track_caller]
pub(super) fn batch(ns: &NetNs, program: &str, script: &str) {
    let output = Call::new(program)
        .args(["-batch", "-"])
        .stdin(script)
        .run(ns);
    assert!(output.success(), "{output}\nscript:\n{script}");
}

/// Lines for `ip -batch -`, which needs one process where separate commands would need one each.
#[derive(Default)]
pub(super) struct Batch(String);

impl Batch {
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.0 += line.as_ref();
        self.0.push('\n');
    }

    /// Adds a veth pair: the near end in this namespace, the far end in another one.
    pub(super) fn cable(&mut self, near: (&str, Mac), far: (&str, Mac, &NetNs)) {
        self.line(format!(
            "link add {} address {} type veth peer name {} address {} netns {}",
            near.0,
            near.1,
            far.0,
            far.1,
            far.2.path()
        ));
    }

    pub(super) fn addresses(&mut self, device: &str, v4: Ipv4Addr, v4_len: u8, v6: Ipv6Addr) {
        self.line(format!("address add {v4}/{v4_len} brd + dev {device}"));
        self.line(format!("address add {v6}/64 dev {device} nodad"));
    }

    pub(super) fn permanent_neighbours(&mut self, eni: &Eni, device: &str) {
        let v4s = eni.v4s.iter().map(|a| IpAddr::V4(*a));
        let v6s = eni.v6s.iter().map(|a| IpAddr::V6(*a));
        for address in v4s.chain(v6s) {
            self.line(format!(
                "neigh replace {address} lladdr {} dev {device} nud permanent",
                eni.mac
            ));
        }
    }
}
