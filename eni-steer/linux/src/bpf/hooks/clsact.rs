//! Attaches programs with filters on the clsact qdisc, for kernels without TCX.
//!
//! A filter outlives the process that adds it, and adding it again would create a second one. So
//! eni-steer's filter has a fixed priority and a fixed handle, and is replaced in place. eni-steer
//! recognises it by priority, handle and program name together, and never touches other filters.
//!
//! aya can add a clsact filter too, but it finds the interface by name, and it lists neither qdiscs
//! nor the filters of other programs.

use eni_steer_common::names;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        tc::{
            TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
            TcOption,
        },
    },
};

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd, BorrowedFd},
};

use crate::{
    bpf::{error::BpfError, load::program_name},
    netlink::{Netlink, Request},
    process::printable,
};
use eni_steer_core::model::{Direction, IfIndex};

/// Priority of eni-steer's filter: the same number as the protocol of its routes and rules.
pub const FILTER_PRIORITY: u16 = 229;
/// Handle of eni-steer's filter, which together with the priority identifies it on a hook.
pub const FILTER_HANDLE: u32 = 0x229;

/// `ETH_P_ALL` in network byte order, as the field `tcm_info` needs it.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();
const CLSACT: &str = "clsact";
const INGRESS: &str = "ingress";

/// A filter on a hook, of eni-steer or of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bpf) struct Filter {
    priority: u16,
    handle: u32,
    /// Type of the filter, for example "bpf" or "u32".
    pub kind: String,
    /// Name of its program, if it is a BPF filter.
    pub name: Option<String>,
    /// Kernel id of its program, if it is a BPF filter.
    pub program: Option<u32>,
}

impl Filter {
    /// Returns whether the filter has the priority and the handle of eni-steer's filter.
    fn has_our_handle(&self) -> bool {
        self.priority == FILTER_PRIORITY && self.handle == FILTER_HANDLE
    }

    /// The filter in words, for an error.
    fn describe(&self) -> String {
        match &self.name {
            Some(name) => format!("a {} filter named {name}", self.kind),
            None => format!("a {} filter", self.kind),
        }
    }

    /// Returns whether eni-steer added this filter.
    pub fn is_ours(&self, direction: Direction) -> bool {
        self.has_our_handle() && self.name.as_deref() == Some(program_name(direction))
    }
}

/// The clsact hook of a direction.
fn parent(direction: Direction) -> TcHandle {
    TcHandle {
        major: TcHandle::CLSACT.major,
        minor: match direction {
            Direction::Ingress => TcHandle::MIN_INGRESS,
            Direction::Egress => TcHandle::MIN_EGRESS,
        },
    }
}

fn header(ifindex: IfIndex) -> TcHeader {
    TcHeader {
        index: ifindex.get().cast_signed(),
        ..TcHeader::default()
    }
}

/// The type of the qdisc in the place of clsact, `clsact` or `ingress`, for each interface that has
/// one.
pub(in crate::bpf) fn qdiscs(netlink: &Netlink) -> Result<BTreeMap<IfIndex, String>, BpfError> {
    let request = TcMessage::from_parts(TcHeader::default(), Vec::new());
    let request = RouteNetlinkMessage::GetQueueDiscipline(request);
    let qdiscs = netlink.dump("list qdiscs", request, |message| match message.parse()? {
        RouteNetlinkMessage::NewQueueDiscipline(message)
            if message.header.parent == TcHandle::CLSACT =>
        {
            let index = IfIndex::new(message.header.index.cast_unsigned())?;
            let mut attributes = message.attributes.into_iter();
            attributes.find_map(|attribute| match attribute {
                TcAttribute::Kind(kind) => Some((index, kind)),
                _ => None,
            })
        }
        _ => None,
    });
    Ok(qdiscs?.into_iter().collect())
}

/// The type of the qdisc in the place of clsact on one interface.
pub(crate) fn qdisc(netlink: &Netlink, ifindex: IfIndex) -> Result<Option<String>, BpfError> {
    Ok(qdiscs(netlink)?.remove(&ifindex))
}

/// The filters of a hook, in the order in which they run. Without a qdisc there are none.
pub(in crate::bpf) fn filters(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
) -> Result<Vec<Filter>, BpfError> {
    let mut header = header(ifindex);
    header.parent = parent(direction);
    let request = RouteNetlinkMessage::GetTrafficFilter(TcMessage::from_parts(header, Vec::new()));
    let filters = netlink.dump("list filters", request, |message| {
        match message.parse()? {
            // A message without a handle describes a priority, not a filter.
            RouteNetlinkMessage::NewTrafficFilter(message)
                if u32::from(message.header.handle) != 0 =>
            {
                Some(filter(message))
            }
            _ => None,
        }
    });
    let mut filters = filters?;
    filters.sort_by_key(|filter| filter.priority);
    Ok(filters)
}

/// Decodes a filter.
fn filter(message: TcMessage) -> Filter {
    let mut filter = Filter {
        priority: (message.header.info >> 16) as u16,
        handle: message.header.handle.into(),
        kind: String::new(),
        name: None,
        program: None,
    };
    for attribute in message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => filter.kind = printable(&kind),
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => {
                            filter.name = Some(printable(&name));
                        }
                        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = Some(id),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    filter
}

/// Attaches a program: adds eni-steer's filter, or replaces it atomically, so that no packet passes
/// in between. Returns whether a qdisc had to be added.
pub(super) fn attach(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
    program: BorrowedFd<'_>,
) -> Result<bool, BpfError> {
    let added = ensure_qdisc(netlink, ifindex)?;
    let existing = filters(netlink, ifindex, direction)?;
    if let Some(other) = existing
        .iter()
        .find(|filter| filter.has_our_handle() && !filter.is_ours(direction))
    {
        return Err(BpfError::Taken {
            what: "the clsact filter with priority 229 and handle 0x229",
            ifindex: ifindex.get(),
            by: other.describe(),
        });
    }
    let message = TcMessage::from_parts(
        our_filter(ifindex, direction),
        vec![
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(
                    program.as_raw_fd().cast_unsigned(),
                )),
                TcOption::Bpf(TcFilterBpfOption::ProgName(
                    program_name(direction).to_owned(),
                )),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ],
    );
    let what = format!("attach {} to interface {ifindex}", program_name(direction));
    let message = RouteNetlinkMessage::NewTrafficFilter(message);
    netlink.change(&what, Request::new(message, NLM_F_CREATE))?;
    Ok(added)
}

/// Deletes eni-steer's filter, if it exists.
pub(super) fn remove(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
) -> Result<(), BpfError> {
    let existing = filters(netlink, ifindex, direction)?;
    if !existing.iter().any(|filter| filter.is_ours(direction)) {
        return Ok(());
    }
    let message = TcMessage::from_parts(
        our_filter(ifindex, direction),
        vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())],
    );
    let what = format!(
        "detach {} from interface {ifindex}",
        program_name(direction)
    );
    let request = RouteNetlinkMessage::DelTrafficFilter(message);
    match netlink.change(&what, Request::new(request, 0)) {
        Err(error) if error.is_gone() => Ok(()),
        other => Ok(other?),
    }
}

/// Deletes the clsact qdisc if it has no filters. Only for a qdisc that eni-steer added.
pub(super) fn remove_empty_qdisc(netlink: &Netlink, ifindex: IfIndex) -> Result<(), BpfError> {
    if qdisc(netlink, ifindex)?.as_deref() != Some(CLSACT) {
        return Ok(());
    }
    for direction in Direction::BOTH {
        if !filters(netlink, ifindex, direction)?.is_empty() {
            return Ok(());
        }
    }
    let request = RouteNetlinkMessage::DelQueueDiscipline(qdisc_message(ifindex));
    let what = format!("remove the clsact qdisc of interface {ifindex}");
    match netlink.change(&what, Request::new(request, 0)) {
        Err(error) if error.is_gone() => Ok(()),
        other => Ok(other?),
    }
}

/// Adds a clsact qdisc if there is none. Returns whether it did.
fn ensure_qdisc(netlink: &Netlink, ifindex: IfIndex) -> Result<bool, BpfError> {
    match qdisc(netlink, ifindex)?.as_deref() {
        Some(CLSACT) => return Ok(false),
        // An ingress qdisc has no egress hook, and replacing it would delete its filters.
        Some(INGRESS) => {
            return Err(BpfError::Taken {
                what: "the place for the clsact qdisc",
                ifindex: ifindex.get(),
                by: "an ingress qdisc".to_owned(),
            });
        }
        _ => {}
    }
    let request = RouteNetlinkMessage::NewQueueDiscipline(qdisc_message(ifindex));
    let what = format!("add a clsact qdisc to interface {ifindex}");
    let request = Request::new(request, NLM_F_CREATE | NLM_F_EXCL);
    match netlink.change(&what, request) {
        Ok(()) => Ok(true),
        // Another program added it at the same time: eni-steer must not remove it later.
        Err(error) if error.exists() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn qdisc_message(ifindex: IfIndex) -> TcMessage {
    let mut header = header(ifindex);
    header.parent = TcHandle::CLSACT;
    header.handle = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    TcMessage::from_parts(header, vec![TcAttribute::Kind(CLSACT.to_owned())])
}

/// The header that identifies eni-steer's filter on a hook.
fn our_filter(ifindex: IfIndex, direction: Direction) -> TcHeader {
    let mut header = header(ifindex);
    header.parent = parent(direction);
    header.handle = FILTER_HANDLE.into();
    header.info = u32::from(TcHandle {
        major: FILTER_PRIORITY,
        minor: ALL_PROTOCOLS,
    });
    header
}

// The kernel cuts program names off after 15 characters, and `is_ours` compares whole names.
const _: () = assert!(names::INGRESS.len() <= 15 && names::EGRESS.len() <= 15);
