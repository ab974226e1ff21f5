//! Reads back the content of the maps, and which programs are attached.

use std::collections::{BTreeMap, BTreeSet};

use eni_steer_common::{Family, NO_ENI, names};

use super::{
    convert,
    error::BpfError,
    handles::Maps,
    hooks::{clsact, tcx},
    pin::PinRoot,
    sys,
    values::trie_entries,
};
use crate::netlink::Netlink;
use eni_steer_core::model::{
    AttachKind, Attachment, Datapath, Direction, EniRow, ForeignProgram, Hook, IfIndex, Mac, Mode,
    Owner, Settings,
};

/// Programs and filters of other programs, by hook.
type ForeignPrograms = BTreeMap<Hook, Vec<ForeignProgram>>;

/// Reads the maps and the hooks. Returns `None` if eni-steer has pinned no maps.
///
/// A program counts as attached only if the kernel lists it on its hook: not through a link whose
/// interface no longer exists, and not through a filter that another program deleted.
///
/// # Errors
/// A map or a hook cannot be read. An incomplete result is never returned.
pub fn observe(root: &PinRoot, netlink: &Netlink) -> Result<Option<Datapath>, BpfError> {
    let maps = match Maps::open(root) {
        Ok(Some(maps)) => maps,
        Ok(None) => return Ok(None),
        // Some maps are not pinned: eni-steer was interrupted while it created them, or somebody
        // deleted pins. The rest is of no use to a plan, and creating the maps completes them.
        Err(BpfError::LayoutMismatch { pin, .. }) if !pin.exists() => return Ok(None),
        Err(error) => return Err(error),
    };
    let ifindex_of_slot: BTreeMap<u16, IfIndex> = maps
        .eni_rows()?
        .iter()
        .filter(|(_, row)| row.taken != 0)
        .filter_map(|(slot, row)| Some((*slot, IfIndex::new(row.home)?)))
        .collect();
    let mut datapath = Datapath {
        settings: Some(read_settings(&maps)?),
        ..Datapath::default()
    };
    let links = tcx::links(root)?;
    let qdiscs = clsact::qdiscs(netlink)?;
    for (slot, row) in maps.eni_rows()? {
        let Some(ifindex) = ifindex_of_slot.get(&slot).copied() else {
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
            } else if qdiscs.contains_key(&ifindex) && has_our_filter(netlink, ifindex, direction)?
            {
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
        let owner = if owner.eni == NO_ENI {
            Some(Owner::Ambiguous)
        } else {
            ifindex_of_slot.get(&owner.eni).copied().map(Owner::Eni)
        };
        if let Some(owner) = owner {
            datapath.owners.insert(net, owner);
        }
    }
    let read = |name: &'static str| move |cause| BpfError::map(format!("read {name}"), cause);
    for (key, hop) in trie_entries(&maps.next_hops).map_err(read(names::NEXTHOPS))? {
        if let Some((slot, net)) = convert::destination(&key)
            && let Some(ifindex) = ifindex_of_slot.get(&slot)
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

fn read_settings(maps: &Maps) -> Result<Settings, BpfError> {
    let raw = maps.settings()?;
    Ok(Settings {
        exempt_mark: (raw.exempt_mask != 0).then_some((raw.exempt_mark, raw.exempt_mask)),
        source_length4: convert::length(Family::V4, raw.source_mask4),
        source_length6: convert::length(Family::V6, raw.source_mask6),
        events_per_second: raw.events_per_second,
    })
}

/// Returns whether eni-steer's clsact filter is on a hook.
fn has_our_filter(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
) -> Result<bool, BpfError> {
    let filters = clsact::filters(netlink, ifindex, direction)?;
    Ok(filters.iter().any(|filter| filter.is_ours(direction)))
}

/// Lists the TCX programs and clsact filters of other programs on the hooks of some interfaces, in
/// the order in which they run, and says of each whether it runs before eni-steer's. On a hook
/// without a program of eni-steer all of them count as before: they would run before a clsact
/// filter of eni-steer, although after a TCX program.
///
/// # Errors
/// The links, the qdiscs or a hook cannot be read.
pub fn foreign_programs(
    root: &PinRoot,
    netlink: &Netlink,
    interfaces: &BTreeSet<IfIndex>,
) -> Result<ForeignPrograms, BpfError> {
    let links = tcx::links(root)?;
    let qdiscs = clsact::qdiscs(netlink)?;
    let mut foreign = ForeignPrograms::new();
    for ifindex in interfaces.iter().copied() {
        for direction in Direction::BOTH {
            let mut on_hook = Vec::new();
            // TCX programs run before the filters of clsact.
            let mut before_ours = true;
            let ours = links
                .iter()
                .find(|link| link.is_on(ifindex, direction))
                .map(tcx::PinnedLink::program);
            let programs = sys::tcx_programs(ifindex, direction).map_err(|cause| {
                BpfError::io(
                    format!("list the TCX programs of interface {ifindex}"),
                    cause,
                )
            })?;
            for id in programs.unwrap_or_default() {
                if Some(id) == ours {
                    before_ours = false;
                    continue;
                }
                on_hook.push(ForeignProgram {
                    id,
                    name: sys::name_of_program(id).unwrap_or_default(),
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
                on_hook.push(ForeignProgram {
                    id: filter.program.unwrap_or_default(),
                    name: filter.name.unwrap_or(filter.kind),
                    kind: AttachKind::Clsact,
                    before_ours,
                });
            }
            if !on_hook.is_empty() {
                foreign.insert(Hook::tc(ifindex, direction), on_hook);
            }
        }
    }
    Ok(foreign)
}
