//! Our filter on the clsact qdisc, for kernels without TCX.
//!
//! A filter outlives the process that made it, and a second one would pile up beside it. So ours
//! has a fixed priority and a fixed handle, is replaced in its place, and is known again by
//! priority, handle and name together: what another tool put there is never touched.

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

use super::{error::BpfError, load};
use crate::netlink::{Netlink, Request};
use eni_steer_core::model::{Direction, IfIndex};

/// Priority of our filter: the number by which our routes and rules are known as well.
pub const FILTER_PRIORITY: u16 = 229;
/// Handle of our filter.
pub const FILTER_HANDLE: u32 = 0x229;

/// `ETH_P_ALL` in network byte order, as `tcm_info` wants it.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();
const CLSACT: &str = "clsact";
const INGRESS: &str = "ingress";

/// One filter on a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub priority: u16,
    pub handle: u32,
    pub kind: String,
    /// Name and kernel id of its program, if it is a BPF filter.
    pub name: Option<String>,
    pub program: Option<u32>,
}

impl Filter {
    fn in_our_place(&self) -> bool {
        self.priority == FILTER_PRIORITY && self.handle == FILTER_HANDLE
    }

    pub fn is_ours(&self, direction: Direction) -> bool {
        self.in_our_place() && self.name.as_deref() == Some(load::name(direction))
    }
}

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

/// The qdiscs that stand where clsact would, `clsact` or `ingress`, of all interfaces that have
/// one.
pub(super) fn qdiscs(netlink: &Netlink) -> Result<BTreeMap<IfIndex, String>, BpfError> {
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

/// The one of an interface.
pub fn qdisc(netlink: &Netlink, ifindex: IfIndex) -> Result<Option<String>, BpfError> {
    Ok(qdiscs(netlink)?.remove(&ifindex))
}

/// The filters of a hook, in the order in which they run. Without a qdisc there are none.
pub(super) fn filters(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
) -> Result<Vec<Filter>, BpfError> {
    let mut header = header(ifindex);
    header.parent = parent(direction);
    let request = RouteNetlinkMessage::GetTrafficFilter(TcMessage::from_parts(header, Vec::new()));
    let filters = netlink.dump("list filters", request, |message| {
        match message.parse()? {
            // A header without a handle announces a priority, not a filter.
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
            TcAttribute::Kind(kind) => filter.kind = kind,
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => {
                            filter.name = Some(name);
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

/// Puts the program into our filter, which is made if it is missing; in one step, so that no
/// packet is missed. Returns whether the qdisc had to be made.
pub(super) fn put(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
    program: BorrowedFd<'_>,
) -> Result<bool, BpfError> {
    let added = ensure_qdisc(netlink, ifindex)?;
    let there = filters(netlink, ifindex, direction)?;
    if let Some(other) = there
        .iter()
        .find(|filter| filter.in_our_place() && !filter.is_ours(direction))
    {
        return Err(BpfError::Taken {
            what: "the place of our filter (priority 229, handle 0x229)",
            ifindex: ifindex.get(),
            by: format!(
                "{} {}",
                other.kind,
                other.name.as_deref().unwrap_or_default()
            ),
        });
    }
    let message = TcMessage::from_parts(
        our_place(ifindex, direction),
        vec![
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(
                    program.as_raw_fd().cast_unsigned(),
                )),
                TcOption::Bpf(TcFilterBpfOption::ProgName(
                    load::name(direction).to_owned(),
                )),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ],
    );
    let what = format!("attach {} to interface {ifindex}", load::name(direction));
    let message = RouteNetlinkMessage::NewTrafficFilter(message);
    netlink.change(&what, Request::new(message, NLM_F_CREATE))?;
    Ok(added)
}

/// Removes our filter, if it is there.
pub(super) fn remove(
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
) -> Result<(), BpfError> {
    let there = filters(netlink, ifindex, direction)?;
    if !there.iter().any(|filter| filter.is_ours(direction)) {
        return Ok(());
    }
    let message = TcMessage::from_parts(
        our_place(ifindex, direction),
        vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())],
    );
    let what = format!("detach {} from interface {ifindex}", load::name(direction));
    let request = RouteNetlinkMessage::DelTrafficFilter(message);
    match netlink.change(&what, Request::new(request, 0)) {
        Err(error) if error.is_gone() => Ok(()),
        other => Ok(other?),
    }
}

/// Removes the clsact qdisc if no filter is left on it. Only for one that we have made.
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

fn ensure_qdisc(netlink: &Netlink, ifindex: IfIndex) -> Result<bool, BpfError> {
    match qdisc(netlink, ifindex)?.as_deref() {
        Some(CLSACT) => return Ok(false),
        // It has no egress, and replacing it would throw away the filters on it.
        Some(INGRESS) => {
            return Err(BpfError::Taken {
                what: "the place of the clsact qdisc",
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
        // Somebody was faster: it is theirs.
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

fn our_place(ifindex: IfIndex, direction: Direction) -> TcHeader {
    let mut header = header(ifindex);
    header.parent = parent(direction);
    header.handle = FILTER_HANDLE.into();
    header.info = u32::from(TcHandle {
        major: FILTER_PRIORITY,
        minor: ALL_PROTOCOLS,
    });
    header
}

const _: () = assert!(names::INGRESS.len() <= 15 && names::EGRESS.len() <= 15);
