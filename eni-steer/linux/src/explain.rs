//! Reads what `explain` needs. It explains a host that is broken, so a part that cannot be read is
//! a note and not an error; only routing itself has to be readable.

use std::{fs, net::IpAddr, path::PathBuf};

use eni_steer_core::{
    explain::{Facts, LinkFacts},
    model::{Host, IfIndex, Link, Tunable, TunableKind},
};

use crate::{
    bpf,
    netlink::{Netlink, NetlinkError},
    paths::Paths,
};

/// The host as far as it could be read.
#[derive(Debug)]
pub struct Reading {
    /// Links, addresses, routes of all kinds, rules; programs and maps if they could be read.
    pub host: Host,
    /// What decides beside them.
    pub facts: Facts,
    /// What could not be read, each with the reason.
    pub unreadable: Vec<String>,
}

/// Reads links, addresses, routes, rules, neighbours and the sysctls that routing goes by, of the
/// network namespace that the calling thread is in.
///
/// # Errors
/// Routing could not be read.
pub fn read_routing(netlink: &Netlink) -> Result<(Host, Facts), NetlinkError> {
    let mut host = Host::default();
    let mut facts = Facts::default();
    for (link, sysctls) in netlink.interfaces()? {
        let index = link.index;
        let tunables = sysctls.into_iter();
        host.tunables
            .extend(tunables.map(|(kind, value)| (Tunable { index, kind }, value)));
        host.links.insert(index, link);
    }
    host.addresses = netlink.addresses()?;
    host.routes = netlink.routes_in_order()?;
    host.rules = netlink.rules()?;
    let neighbours = netlink.neighbours()?.into_iter();
    facts.neighbours = neighbours
        .map(|(on, address, state): (IfIndex, IpAddr, _)| ((on, address), state))
        .collect();
    facts.ipv6_forwarding = sysctl("ipv6", "all", "forwarding") != 0;
    let all = of_all();
    for link in host.links.values() {
        let of_link = of_link(link, &all);
        if of_link != LinkFacts::default() {
            facts.links.insert(link.index, of_link);
        }
    }
    if host
        .links
        .values()
        .any(|link| link.kind.as_deref() == Some("vrf"))
    {
        for (vrf, table) in netlink.vrf_tables()? {
            facts.links.entry(vrf).or_default().vrf_table = Some(table);
        }
    }
    Ok((host, facts))
}

/// Reads routing, and eni-steer's programs and maps.
///
/// # Errors
/// Routing could not be read.
pub fn read(netlink: &Netlink, paths: &Paths) -> Result<Reading, NetlinkError> {
    let (mut host, facts) = read_routing(netlink)?;
    let mut unreadable = Vec::new();
    for kind in TunableKind::SYSCTLS {
        if let Ok(Some(value)) = crate::sysctl::read("all", kind) {
            host.all.insert(kind, value);
        }
    }
    let programs = || -> Result<_, bpf::BpfError> {
        let pins = bpf::PinRoot::here(&paths.bpffs)?;
        let datapath = bpf::observe(&pins, netlink)?.unwrap_or_default();
        let ethernet = host.links.values().filter(|link| link.is_ethernet());
        let ethernet = ethernet.map(|link| link.index).collect();
        Ok((datapath, bpf::foreign_programs(&pins, netlink, &ethernet)?))
    };
    match programs() {
        Ok((datapath, foreign)) => (host.datapath, host.foreign_programs) = (datapath, foreign),
        Err(error) => unreadable.push(format!("eni-steer's programs and maps: {}", chain(&error))),
    }
    Ok(Reading {
        host,
        facts,
        unreadable,
    })
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The sysctls of IPv4 that are combined with an interface's own.
struct OfAll {
    rp_filter: u32,
    ignores_linkdown: bool,
    accepts_local: bool,
    source_valid_mark: bool,
}

fn of_all() -> OfAll {
    let is_set = |name| sysctl("ipv4", "all", name) != 0;
    OfAll {
        rp_filter: sysctl("ipv4", "all", "rp_filter"),
        ignores_linkdown: is_set("ignore_routes_with_linkdown"),
        accepts_local: is_set("accept_local"),
        source_valid_mark: is_set("src_valid_mark"),
    }
}

fn of_link(link: &Link, all: &OfAll) -> LinkFacts {
    let is_set = |family, name| sysctl(family, &link.name, name) != 0;
    LinkFacts {
        no_forwarding4: !is_set("ipv4", "forwarding"),
        ignores_linkdown4: all.ignores_linkdown || is_set("ipv4", "ignore_routes_with_linkdown"),
        ignores_linkdown6: is_set("ipv6", "ignore_routes_with_linkdown"),
        rp_filter: all.rp_filter.max(sysctl("ipv4", &link.name, "rp_filter")),
        accepts_local: all.accepts_local || is_set("ipv4", "accept_local"),
        source_valid_mark: all.source_valid_mark || is_set("ipv4", "src_valid_mark"),
        vrf_table: None,
    }
}

/// A sysctl of the network namespace of this thread; one that cannot be read is 0, the kernel's
/// default of all that are read here.
fn sysctl(family: &str, interface: &str, name: &str) -> u32 {
    let path: PathBuf = ["/proc/sys/net", family, "conf", interface, name]
        .iter()
        .collect();
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
