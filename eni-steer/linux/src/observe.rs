//! Reads the host: links, addresses, routes, rules, sysctls, programs, leases, and the values
//! that eni-steer saved before it changed them. The result is whole or an error; nothing is
//! changed.

use std::path::PathBuf;

use eni_steer_core::model::{Host, Protocol, Tunable, TunableKind};

use crate::{
    bpf, leases,
    netlink::{Netlink, NetlinkError, Routes},
    paths::Paths,
    state::{State, StateError},
    sysctl,
};

/// Why the host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Routing.
    #[error("cannot read the host's routing")]
    Netlink(#[from] NetlinkError),
    /// Programs and maps.
    #[error("cannot read eni-steer's programs and maps")]
    Bpf(#[from] bpf::BpfError),
    /// The file of previous values.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sysctl.
    #[error("cannot read {path}")]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Reads the host.
///
/// # Errors
/// The first thing that could not be read; what was read before it is dropped, so that nothing is
/// planned on half a host.
pub fn observe(netlink: &Netlink, paths: &Paths) -> Result<Host, ObserveError> {
    let mut host = changeable(netlink, paths, Routes::Forwarding)?;
    host.addresses = netlink.addresses()?;
    for kind in TunableKind::SYSCTLS {
        let value = sysctl::read("all", kind)?;
        host.all.extend(value.map(|value| (kind, value)));
    }
    let ethernet = host.links.values().filter(|link| link.is_ethernet());
    let ethernet = ethernet.map(|link| link.index).collect();
    let pins = bpf::PinRoot::here(&paths.bpffs)?;
    host.foreign_programs = bpf::foreign_programs(&pins, netlink, &ethernet)?;
    (host.leases, host.unavailable) = leases::read(&paths.root, &host.links, &host.addresses);
    Ok(host)
}

/// Reads again only what a step can change, and of the routes only those with this protocol
/// number: what is left of a plan shows in it. Addresses and leases, which decide what a host
/// should have, are not in it.
///
/// # Errors
/// As [`observe`].
pub fn observe_changes(
    netlink: &Netlink,
    paths: &Paths,
    ours: Protocol,
) -> Result<Host, ObserveError> {
    changeable(netlink, paths, Routes::Of(ours))
}

fn changeable(netlink: &Netlink, paths: &Paths, routes: Routes) -> Result<Host, ObserveError> {
    let mut host = Host::default();
    for (link, sysctls) in netlink.interfaces()? {
        if link.mac.is_some() {
            let index = link.index;
            let group = (TunableKind::Group, link.group.0);
            let tunables = sysctls.into_iter().chain([group]);
            let tunables = tunables.map(|(kind, value)| (Tunable { index, kind }, value));
            host.tunables.extend(tunables);
        }
        host.links.insert(link.index, link);
    }
    host.routes = netlink.routes(routes)?;
    host.rules = netlink.rules()?;
    host.saved = State::read(paths)?.saved;
    let pins = bpf::PinRoot::here(&paths.bpffs)?;
    host.datapath = bpf::observe(&pins, netlink)?.unwrap_or_default();
    host.other_layouts = pins.other_layouts()?;
    Ok(host)
}
