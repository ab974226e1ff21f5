//! What eni-steer's egress program does with a packet on the ENI by which routing sends it: the
//! decisions of `eni-steer-ebpf/src/egress.rs` and `steer.rs`, over the maps as they were read
//! back.

use std::net::IpAddr;

use eni_steer_common::Fate;
use serde::Serialize;

use super::{Owned, SourceOwner};
use crate::model::{
    Direction, Flow, Hook, Host, IfIndex, Mode, NextHop, covers, host_prefix, link_local,
};

/// Where the program redirects the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Steered {
    /// The owner.
    pub by: IfIndex,
    /// The neighbour that gets it: the gateway, or the destination itself.
    pub to: IpAddr,
    /// The largest packet that fits: others are not steered.
    pub mtu: u32,
}

/// What the egress program of an ENI does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Passage {
    /// The ENI.
    pub eni: IfIndex,
    /// Its mode.
    pub mode: Mode,
    /// Whether the program is attached.
    pub attached: bool,
    /// Programs of others that run before it.
    pub behind: Vec<String>,
    /// Why the packet does not simply leave by its owner ([`Fate::label`]); `None`: it does.
    pub fate: Option<&'static str>,
    /// Where it is redirected to.
    pub steered: Option<Steered>,
    /// It is dropped.
    pub dropped: bool,
}

/// What happens to a packet that routing sends by an interface; `None`: no program of ours is
/// there.
pub fn passage(host: &Host, owned: &Owned, flow: &Flow, out: IfIndex) -> Option<Passage> {
    let row = host.datapath.enis.get(&out)?;
    let hook = Hook::tc(out, Direction::Egress);
    let foreign = host.foreign_programs.get(&hook).into_iter().flatten();
    let behind = foreign.filter(|program| program.before_ours);
    let mut steered = None;
    let fate = fate(host, owned, flow, out, row.mode, &mut steered);
    Some(Passage {
        eni: out,
        mode: row.mode,
        attached: host.datapath.attachments.contains_key(&hook),
        behind: behind.map(|program| program.name.clone()).collect(),
        fate: fate.map(Fate::label),
        dropped: fate == Some(Fate::Dropped),
        steered,
    })
}

fn fate(
    host: &Host,
    owned: &Owned,
    flow: &Flow,
    out: IfIndex,
    mode: Mode,
    steered: &mut Option<Steered>,
) -> Option<Fate> {
    let from = flow.from?;
    if from.is_unspecified() {
        return Some(Fate::Unspecified);
    }
    // The programs know owners by their maps alone.
    let owner = match (&owned.owner, owned.by_programs) {
        (SourceOwner::Eni(owner), true) => *owner,
        (SourceOwner::Ambiguous(_), true) => return Some(Fate::Ambiguous),
        _ if link_local(from) => return Some(Fate::LinkLocal),
        _ => return Some(Fate::NoOwner),
    };
    if owner == out {
        return None;
    }
    let broadcast = |to: IpAddr| to == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if link_local(from) || link_local(flow.to) {
        return Some(Fate::LinkLocal);
    }
    if flow.to.is_multicast() || broadcast(flow.to) {
        return Some(Fate::Multicast);
    }
    let exempt_mark = host
        .datapath
        .settings
        .and_then(|settings| settings.exempt_mark);
    if exempt_mark.is_some_and(|(mark, mask)| flow.mark & mask == mark) {
        return Some(Fate::ExemptMark);
    }
    let mut exempt = host.datapath.exempt.iter();
    if exempt.any(|net| covers(*net, host_prefix(flow.to))) {
        return Some(Fate::ExemptDestination);
    }
    match mode {
        Mode::Count => Some(Fate::CountOnly),
        Mode::Drop => Some(Fate::Dropped),
        Mode::Steer => match steer(host, owner, flow.to) {
            Ok(way) => {
                *steered = Some(way);
                Some(Fate::Steered)
            }
            Err(fate) => Some(fate),
        },
    }
}

/// Where the owner's next hops send a packet.
pub(crate) fn steer(host: &Host, owner: IfIndex, to: IpAddr) -> Result<Steered, Fate> {
    let row = host.datapath.enis.get(&owner).filter(|row| row.up);
    let row = row.ok_or(Fate::OwnerAbsent)?;
    let next_hops = host.datapath.next_hops.iter();
    let covering = next_hops
        .filter(|((eni, net), _)| *eni == owner && covers(*net, host_prefix(to)))
        .max_by_key(|((_, net), _)| net.prefix_len());
    let (neighbour, mtu) = match covering.map(|(_, next_hop)| *next_hop) {
        None => return Err(Fate::NoNextHop),
        Some(NextHop::Refuse) => return Err(Fate::Refused),
        Some(NextHop::OnLink { mtu }) => (to, mtu),
        // Neither Linux nor its helper sends IPv6 through an IPv4 gateway.
        Some(NextHop::Via { gateway, .. }) if gateway.is_ipv4() && to.is_ipv6() => {
            return Err(Fate::NoNextHop);
        }
        Some(NextHop::Via { gateway, mtu }) => (gateway, mtu),
    };
    Ok(Steered {
        by: owner,
        to: neighbour,
        mtu: mtu.map_or(row.mtu, |mtu| mtu.min(row.mtu)),
    })
}
