//! Everything the datapath is told, and what really is attached, read back.

use eni_steer_core::model::Hook;
use std::collections::{BTreeMap, BTreeSet};

use eni_steer_common::{Family, names};

use super::{
    addresses::names_eni,
    clsact, convert,
    error::BpfError,
    maps::{Maps, trie_entries},
    pin::PinRoot,
    sys,
};
use crate::netlink::Netlink;
use eni_steer_core::model::{
    AttachKind, Attachment, Datapath, Direction, EniRow, ForeignProgram, IfIndex, Mac, Mode, Owner,
    Settings,
};

/// Other people's programs, by hook.
pub type ForeignPrograms = BTreeMap<Hook, Vec<ForeignProgram>>;

/// Reads the maps and the hooks; `None`: nothing of ours is pinned. Whole or an error.
///
/// Attached is what the kernel says is attached: a link whose interface is gone is not, a filter
/// that somebody removed is not.
pub fn observe(root: &PinRoot, netlink: &Netlink) -> Result<Option<Datapath>, BpfError> {
    let maps = match Maps::open(root) {
        Ok(Some(maps)) => maps,
        Ok(None) => return Ok(None),
        // Some pins without the foreign: cut off while they were made, or taken away by hand.
        // That is nothing to go on; making the maps completes them.
        Err(BpfError::LayoutMismatch { pin, .. }) if !pin.exists() => return Ok(None),
        Err(error) => return Err(error),
    };
    let homes: BTreeMap<u16, IfIndex> = maps
        .eni_rows()?
        .iter()
        .filter(|(_, row)| row.taken != 0)
        .filter_map(|(slot, row)| Some((*slot, IfIndex::new(row.home)?)))
        .collect();
    let mut datapath = Datapath {
        settings: Some(settings(&maps)?),
        ..Datapath::default()
    };
    let links = root.links()?;
    let qdiscs = clsact::qdiscs(netlink)?;
    for (slot, row) in maps.eni_rows()? {
        let Some(ifindex) = homes.get(&slot).copied() else {
            continue;
        };
        let eni = EniRow {
            mac: Mac(row.mac),
            mtu: row.mtu,
            mode: Mode::from_u8(row.mode),
            up: row.ifindex != 0,
        };
        datapath.enis.insert(ifindex, eni);
        for direction in Direction::BOTH {
            let kind = if links.iter().any(|link| link.is_on(ifindex, direction)) {
                AttachKind::Tcx
            } else if qdiscs.contains_key(&ifindex) && filtered(netlink, ifindex, direction)? {
                AttachKind::Clsact
            } else {
                continue;
            };
            let attachment = Attachment {
                kind,
                build: row.build[direction as usize],
                log_level: row.log_level[direction as usize].into(),
            };
            datapath
                .attachments
                .insert(Hook::tc(ifindex, direction), attachment);
        }
    }
    for (net, owner) in maps.all_owners()? {
        let owner = if names_eni(owner) {
            homes.get(&owner.eni).copied().map(Owner::Eni)
        } else {
            Some(Owner::Ambiguous)
        };
        if let Some(owner) = owner {
            datapath.owners.insert(net, owner);
        }
    }
    let read = |name: &'static str| move |cause| BpfError::map(format!("read {name}"), cause);
    for (key, hop) in trie_entries(&maps.next_hops).map_err(read(names::NEXTHOPS))? {
        if let Some((slot, net)) = convert::destination(&key)
            && let Some(ifindex) = homes.get(&slot)
        {
            datapath
                .next_hops
                .insert((*ifindex, net), convert::model_next_hop(hop));
        }
    }
    for (key, _) in trie_entries(&maps.exempt).map_err(read(names::EXEMPT))? {
        datapath.exempt.extend(convert::prefix(&key));
    }
    Ok(Some(datapath))
}

fn settings(maps: &Maps) -> Result<Settings, BpfError> {
    let raw = maps.raw_settings()?;
    Ok(Settings {
        exempt_mark: (raw.exempt_mask != 0).then_some((raw.exempt_mark, raw.exempt_mask)),
        source_length4: convert::length(Family::V4, raw.source_mask4),
        source_length6: convert::length(Family::V6, raw.source_mask6),
        events_per_second: raw.events_per_second,
    })
}

fn filtered(netlink: &Netlink, ifindex: IfIndex, direction: Direction) -> Result<bool, BpfError> {
    let filters = clsact::filters(netlink, ifindex, direction)?;
    Ok(filters.iter().any(|filter| filter.is_ours(direction)))
}

/// Other people's programs and filters on the hooks of some interfaces, in the order in which
/// they run, and whether that is before ours. On a hook without ours, all of them count as
/// before: they would be asked first by clsact, and come after by TCX.
pub fn foreign_programs(
    root: &PinRoot,
    netlink: &Netlink,
    interfaces: &BTreeSet<IfIndex>,
) -> Result<ForeignPrograms, BpfError> {
    let links = root.links()?;
    let qdiscs = clsact::qdiscs(netlink)?;
    let mut foreign = ForeignPrograms::new();
    for ifindex in interfaces.iter().copied() {
        for direction in Direction::BOTH {
            let mut programs_here = Vec::new();
            // TCX programs run before the filters of clsact.
            let mut before_ours = true;
            let ours = links
                .iter()
                .find(|link| link.is_on(ifindex, direction))
                .map(|link| link.tcx.program);
            let programs = sys::tcx_programs(ifindex, direction).map_err(|cause| {
                BpfError::io(format!("list programs of interface {ifindex}"), cause)
            })?;
            for id in programs.unwrap_or_default() {
                if Some(id) == ours {
                    before_ours = false;
                    continue;
                }
                programs_here.push(ForeignProgram {
                    id,
                    name: sys::program_name(id).unwrap_or_default(),
                    kind: AttachKind::Tcx,
                    before_ours,
                });
            }
            let filters = match qdiscs.get(&ifindex) {
                Some(_) => clsact::filters(netlink, ifindex, direction)?,
                None => Vec::new(),
            };
            for filter in filters {
                if filter.is_ours(direction) {
                    before_ours = false;
                    continue;
                }
                programs_here.push(ForeignProgram {
                    id: filter.program.unwrap_or_default(),
                    name: filter.name.unwrap_or(filter.kind),
                    kind: AttachKind::Clsact,
                    before_ours,
                });
            }
            if !programs_here.is_empty() {
                foreign.insert(Hook::tc(ifindex, direction), programs_here);
            }
        }
    }
    Ok(foreign)
}
