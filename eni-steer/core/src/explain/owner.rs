//! Which ENI owns a source: what the programs have in their maps, or, where there are none, the
//! interface that has the address. No configuration is read, so none can be wrong.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;

use crate::{
    model::{Host, IfIndex, Link, Owner, covers, host_prefix},
    ownership::Ownership,
};

/// Who owns a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceOwner {
    /// This ENI.
    Eni(IfIndex),
    /// Several ENIs have it, so nobody does.
    Ambiguous(Vec<IfIndex>),
    /// An interface that is not an ENI has it.
    Elsewhere(IfIndex),
    /// No interface has it.
    Nobody,
}

/// An owner, and where that is known from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// Who.
    pub owner: SourceOwner,
    /// The maps of the programs say so; else the addresses of the interfaces.
    pub by_programs: bool,
}

/// Owners of sources on a host.
#[derive(Clone, Debug)]
pub struct Owners<'a> {
    host: &'a Host,
    enis: BTreeSet<IfIndex>,
}

impl<'a> Owners<'a> {
    /// The ENIs are those that the programs serve, else those in eni-steer's interface group, else
    /// every Ethernet interface that looks like one.
    pub fn of(host: &'a Host, ownership: &Ownership) -> Self {
        let indexes = |which: &dyn Fn(&&Link) -> bool| -> BTreeSet<IfIndex> {
            let links = host.links.values().filter(which);
            links.map(|link| link.index).collect()
        };
        let enis = [
            host.datapath.enis.keys().copied().collect(),
            indexes(&|link| link.group == ownership.group),
            indexes(&|link| looks_like_an_eni(link)),
        ];
        let enis = enis.into_iter().find(|enis| !enis.is_empty());
        Self {
            host,
            enis: enis.unwrap_or_default(),
        }
    }

    /// Whether an interface counts as an ENI.
    pub fn is_eni(&self, index: IfIndex) -> bool {
        self.enis.contains(&index)
    }

    /// Who owns an address.
    pub fn owner(&self, address: IpAddr) -> Owned {
        let by_programs = |owner| Owned {
            owner,
            by_programs: true,
        };
        // The exact address, else the longest delegated prefix.
        let owners = self.host.datapath.owners.iter();
        let covering = owners.filter(|(net, _)| covers(**net, host_prefix(address)));
        match covering.max_by_key(|(net, _)| net.prefix_len()) {
            Some((_, Owner::Eni(eni))) => return by_programs(SourceOwner::Eni(*eni)),
            Some((_, Owner::Ambiguous)) => {
                return by_programs(SourceOwner::Ambiguous(self.homes(address)));
            }
            None => {}
        }
        let homes = self.homes(address);
        let enis: Vec<IfIndex> = homes
            .iter()
            .copied()
            .filter(|on| self.is_eni(*on))
            .collect();
        let owner = match (enis.as_slice(), homes.first()) {
            ([eni], _) => SourceOwner::Eni(*eni),
            ([_, _, ..], _) => SourceOwner::Ambiguous(enis),
            ([], Some(home)) => SourceOwner::Elsewhere(*home),
            ([], None) => SourceOwner::Nobody,
        };
        Owned {
            owner,
            by_programs: false,
        }
    }

    /// The interfaces that have an address.
    fn homes(&self, address: IpAddr) -> Vec<IfIndex> {
        let addresses = self.host.addresses.iter();
        let homes = addresses.filter(|configured| configured.ip() == address);
        homes.map(|configured| configured.index).collect()
    }
}

/// An Ethernet interface that leads out of this host by itself: no bridge, tunnel or port of
/// another interface.
fn looks_like_an_eni(link: &Link) -> bool {
    link.is_ethernet() && link.master.is_none() && link.leads_out()
}
