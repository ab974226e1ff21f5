//! `apply --probe`: other hosts decide whether a change stays. Each must answer, and the question
//! must leave by the ENI that owns its source.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use eni_steer_core::{
    desired::Desired,
    model::{Flow, Host, IfIndex, Reachability, RouteLookup},
    verify::gateways_to_ask,
};
use eni_steer_linux::{netlink::Netlink, reach};

use crate::cli::plan::connection;

/// How long one target may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host that must answer: `[ENI=]ADDRESS[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Target {
    /// The gateway of each ENI, and the peer of the SSH session that runs this command.
    Usual,
    /// One host.
    Host {
        /// The ENI whose address asks; `None`: the kernel chooses the source.
        eni: Option<String>,
        /// The address.
        address: IpAddr,
        /// The TCP port; `None`: an ICMP echo request.
        port: Option<u16>,
    },
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (eni, place) = match text.split_once('=') {
            Some((eni, place)) => (Some(eni.to_owned()), place),
            None => (None, text),
        };
        let host = |address, port| Self::Host {
            eni: eni.clone(),
            address,
            port,
        };
        if let Ok(address) = place.parse() {
            return Ok(host(address, None));
        }
        if let Ok(socket) = place.parse::<SocketAddr>() {
            return Ok(host(socket.ip(), Some(socket.port())));
        }
        match text {
            "usual" => Ok(Self::Usual),
            _ => Err(
                "expected [ENI=]ADDRESS or [ENI=]ADDRESS:PORT (IPv6: [ADDRESS]:PORT), or nothing"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => f.write_str("gateways"),
            Self::Host { eni, address, port } => {
                if let Some(eni) = eni {
                    write!(f, "{eni}=")?;
                }
                match port {
                    Some(port) => write!(f, "{}", SocketAddr::new(*address, *port)),
                    None => write!(f, "{address}"),
                }
            }
        }
    }
}

/// Asks all targets. Returns why the change must not stay; `None`: all answered.
pub(super) fn failing(
    netlink: &Netlink,
    host: &Host,
    desired: &Desired,
    targets: &[Target],
) -> Option<String> {
    targets.iter().find_map(|target| match target {
        Target::Usual => {
            gateways(netlink, host, desired).or_else(|| session(netlink, host, desired))
        }
        Target::Host { eni, address, port } => {
            let source = match eni {
                None => None,
                Some(name) => match source_of(desired, name, *address) {
                    Some(source) => Some(source),
                    None => {
                        return Some(format!(
                            "{target} cannot be asked: {name} is not an ENI with an address of \
                             this IP version"
                        ));
                    }
                },
            };
            routed_wrong(netlink, host, desired, source, *address)
                .or_else(|| silent(target, source, *address, *port))
        }
    })
}

/// The ENIs that a target names and that are not managed.
pub(super) fn unknown_eni<'a>(desired: &Desired, targets: &'a [Target]) -> Option<&'a str> {
    targets.iter().find_map(|target| match target {
        Target::Host {
            eni: Some(name), ..
        } => {
            let is_known = desired.enis.iter().any(|eni| eni.name == *name);
            (!is_known).then_some(name.as_str())
        }
        _ => None,
    })
}

/// The first address of an ENI, of the IP version of the destination.
fn source_of(desired: &Desired, name: &str, to: IpAddr) -> Option<IpAddr> {
    let eni = desired.enis.iter().find(|eni| eni.name == name)?;
    let mut addresses = eni.addresses.iter().map(|address| address.ip());
    addresses.find(|ip| ip.is_ipv4() == to.is_ipv4())
}

/// The gateways that do not answer ARP or neighbour discovery.
fn gateways(netlink: &Netlink, host: &Host, desired: &Desired) -> Option<String> {
    let asked = gateways_to_ask(desired);
    let states = match netlink.probe_neighbours(&asked, PATIENCE) {
        Ok(states) => states,
        Err(error) => return Some(format!("the gateways could not be asked: {error}")),
    };
    let mut silent = asked.iter().zip(states);
    silent
        .find(|(_, state)| *state == Reachability::Failed)
        .map(|((index, gateway), _)| {
            format!(
                "the gateway {gateway} of {} did not answer",
                host.name(*index)
            )
        })
}

/// Whether the packets of the SSH session that runs this command leave by another ENI than the one
/// that owns the address it came to.
fn session(netlink: &Netlink, host: &Host, desired: &Desired) -> Option<String> {
    let session = connection()?;
    routed_wrong(netlink, host, desired, Some(session.server), session.client)
}

/// Whether the kernel would send the question by another ENI than the owner of its source.
fn routed_wrong(
    netlink: &Netlink,
    host: &Host,
    desired: &Desired,
    source: Option<IpAddr>,
    to: IpAddr,
) -> Option<String> {
    let flow = Flow {
        from: source,
        ..Flow::to(to)
    };
    let shown = source.map_or_else(|| to.to_string(), |source| format!("{source} to {to}"));
    match netlink.lookup(&flow) {
        Err(error) => Some(format!("the way to {to} could not be looked up: {error}")),
        Ok(RouteLookup::Refused { errno }) => {
            let why = nix::errno::Errno::from_raw(errno).desc();
            Some(format!("the kernel refuses packets from {shown}: {why}"))
        }
        Ok(RouteLookup::Leaves {
            by, source: chosen, ..
        }) => {
            let owner = owner(desired, source.or(chosen)?)?;
            (owner != by).then(|| {
                format!(
                    "packets from {shown} leave by {} and not by {}",
                    host.name(by),
                    host.name(owner)
                )
            })
        }
    }
}

fn owner(desired: &Desired, source: IpAddr) -> Option<IfIndex> {
    let owns = |eni: &&eni_steer_core::desired::Eni| {
        eni.addresses.iter().any(|address| address.ip() == source)
    };
    desired.enis.iter().find(owns).map(|eni| eni.index)
}

fn silent(
    target: &Target,
    source: Option<IpAddr>,
    address: IpAddr,
    port: Option<u16>,
) -> Option<String> {
    let answered = match port {
        Some(port) => reach::accepts_tcp(source, SocketAddr::new(address, port), PATIENCE),
        None => reach::answers_echo(source, address, PATIENCE),
    };
    match answered {
        Ok(true) => None,
        Ok(false) => Some(format!("the probe of {target} was not answered")),
        Err(error) => Some(format!("the probe of {target} could not be sent: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_with_an_eni_and_a_port_if_it_names_them() {
        for text in [
            "203.0.113.9",
            "203.0.113.9:22",
            "eth1=203.0.113.9",
            "eth1=203.0.113.9:443",
            "fd00::9",
            "eth1=[fd00::9]:443",
        ] {
            let target: Target = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(target.to_string(), text);
        }
        for wrong in [
            "",
            "example.org",
            "eth1=",
            "203.0.113.9:0x1",
            "203.0.113.9:99999",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
