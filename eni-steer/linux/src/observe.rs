//! Reads the host: links, addresses, routes, rules, sysctls, programs, leases, and the values that
//! eni-steer saved before it changed them. Changes nothing, and returns an error rather than an
//! incomplete host.

use std::path::PathBuf;

use eni_steer_core::model::{Host, Protocol, Tunable, TunableKind};

use crate::{
    bpf, leases,
    netlink::{Netlink, NetlinkError, Routes},
    paths::Paths,
    state::{State, StateError},
    sysctl::{self, SysctlError},
};

/// Which part of the host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Links, addresses, routes, rules, qdiscs or filters.
    #[error("cannot read the host's routing")]
    Netlink(#[from] NetlinkError),
    /// The pinned maps or the attached programs.
    #[error("cannot read eni-steer's programs and maps")]
    Bpf(#[from] bpf::BpfError),
    /// The state file, which holds the values from before eni-steer changed them.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sysctl of an interface or of all interfaces.
    #[error("cannot read {path}")]
    Sysctl {
        /// The file of the sysctl in /proc/sys.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        cause: std::io::Error,
    },
}

impl From<SysctlError> for ObserveError {
    fn from(SysctlError { path, cause }: SysctlError) -> Self {
        Self::Sysctl { path, cause }
    }
}

/// Reads everything about the host that a plan needs.
///
/// # Errors
/// Names the first part that could not be read. An incomplete host is never returned, so eni-steer
/// never plans on one.
pub fn observe(netlink: &Netlink, paths: &Paths) -> Result<Host, ObserveError> {
    let (host, unread) = observe_despite_programs(netlink, paths)?;
    match unread {
        None => Ok(host),
        Some(error) => Err(error.into()),
    }
}

/// The same as [`observe`], but if only the programs and maps cannot be read, the host without them,
/// and why. For reports, which must answer also then.
///
/// # Errors
/// The same as for [`observe`], except those about the programs and maps.
pub fn observe_despite_programs(
    netlink: &Netlink,
    paths: &Paths,
) -> Result<(Host, Option<bpf::BpfError>), ObserveError> {
    let (mut host, mut unread) = read_changeable(netlink, paths, Routes::Forwarding)?;
    host.addresses = netlink.addresses()?;
    host.local_routes = netlink.routes(Routes::AddedLocal)?;
    for kind in TunableKind::SYSCTLS {
        let value = sysctl::read("all", kind)?;
        host.all.extend(value.map(|value| (kind, value)));
    }
    let ethernet = host
        .links
        .values()
        .filter(|link| link.is_ethernet())
        .map(|link| link.index)
        .collect();
    let foreign = bpf::PinRoot::here(&paths.bpffs)
        .and_then(|pins| bpf::foreign_programs(&pins, netlink, &ethernet));
    match foreign {
        Ok(foreign) => host.foreign_programs = foreign,
        Err(error) => unread = unread.or(Some(error)),
    }
    let leases = leases::read(&paths.root, &host);
    host.leases = leases.accepted;
    host.rejected_leases = leases.rejected;
    host.unavailable = leases.unavailable;
    Ok((host, unread))
}

/// Reads only what the steps of a plan can change, and of the routes only those with this protocol
/// number. That is enough to see which steps of a plan are still missing. The result lacks
/// addresses and leases, which decide what a host should have.
///
/// # Errors
/// The same as for [`observe`].
pub fn observe_changes(
    netlink: &Netlink,
    paths: &Paths,
    ours: Protocol,
) -> Result<Host, ObserveError> {
    match read_changeable(netlink, paths, Routes::Of(ours))? {
        (host, None) => Ok(host),
        (_, Some(error)) => Err(error.into()),
    }
}

/// Reads what the steps of a plan can change, and why the programs could not be read.
fn read_changeable(
    netlink: &Netlink,
    paths: &Paths,
    routes: Routes,
) -> Result<(Host, Option<bpf::BpfError>), ObserveError> {
    let mut host = Host::default();
    for (link, sysctls) in netlink.interfaces()? {
        if link.mac.is_some() {
            let index = link.index;
            let group = (TunableKind::Group, link.group.0);
            let values = sysctls.into_iter().chain([group]);
            host.tunables
                .extend(values.map(|(kind, value)| (Tunable { index, kind }, value)));
        }
        host.links.insert(link.index, link);
    }
    host.routes = netlink.routes(routes)?;
    host.rules = netlink.rules()?;
    let (state, damaged) = State::read_to_report(paths)?;
    host.saved = state.saved;
    host.damaged_state = damaged.map(|error| error.to_string());
    let programs = bpf::PinRoot::here(&paths.bpffs)
        .and_then(|pins| Ok((bpf::observe(&pins, netlink)?, pins.other_layouts()?)));
    match programs {
        Ok((datapath, layouts)) => {
            host.datapath = datapath.unwrap_or_default();
            host.other_layouts = layouts;
            Ok((host, None))
        }
        Err(error) => Ok((host, Some(error))),
    }
}
