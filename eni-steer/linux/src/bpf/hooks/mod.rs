//! Attaches programs to their hooks and detaches them.
//!
//! TCX comes first: the kernel itself removes a TCX link with its interface, and replaces its
//! program atomically. Where the kernel has no TCX, the program is attached with a clsact filter.
//! eni-steer tries instead of asking for the kernel's version, because kernels with backports have
//! features that their version does not suggest.
//!
//! On a TCX hook eni-steer's program runs before the programs that are attached already, in both
//! directions. Behind a program that ends the chain (a firewall, a container network) it would miss
//! packets, and the counters would show less asymmetry than there is.

pub(super) mod clsact;
pub(super) mod tcx;

use super::{
    error::BpfError,
    handles::Maps,
    load::{self, BUILD, LoadedProgram, Wanted, program_name},
    pin::PinRoot,
};
use crate::netlink::Netlink;
use eni_steer_core::model::{AttachKind, Attachment, Direction, IfIndex, Mac};

/// The result of attaching a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// How the program is attached now.
    pub attachment: Attachment,
    /// Whether a clsact qdisc was added for it. Only then may eni-steer remove the qdisc later.
    pub qdisc_added: bool,
}

/// Loads the program of this build and attaches it to a hook of an ENI that the maps have a row for
/// ([`Maps::set_eni`]). If eni-steer's program is attached already, the new one replaces it, and no
/// packet passes in between.
///
/// `kind` says how to attach it; `None` tries TCX first.
///
/// # Errors
/// The verifier or the hook refuses the program, or a privilege is missing.
pub fn attach(
    maps: &mut Maps,
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
    kind: Option<AttachKind>,
    log_level: u8,
) -> Result<Attached, BpfError> {
    let program = load::load(maps, ifindex, direction, log_level)?;
    let wanted = Wanted {
        ifindex,
        direction,
        log_level,
    };
    attach_loaded(maps, netlink, wanted, kind, &program)
}

/// Like [`attach`], for a program that is loaded already.
pub(crate) fn attach_loaded(
    maps: &mut Maps,
    netlink: &Netlink,
    wanted: Wanted,
    kind: Option<AttachKind>,
    program: &LoadedProgram,
) -> Result<Attached, BpfError> {
    let Wanted {
        ifindex,
        direction,
        log_level,
    } = wanted;
    let fd = program.as_fd()?;
    let mac = Mac(maps.require_eni_row(ifindex)?.1.mac);
    let by_tcx = match kind {
        Some(AttachKind::Clsact) => false,
        Some(AttachKind::Tcx) => match tcx::attach(&maps.root, ifindex, mac, direction, fd)? {
            None => true,
            Some(cause) => {
                return Err(BpfError::KernelTooOld {
                    what: format!("attach {} with TCX", program_name(direction)),
                    cause,
                });
            }
        },
        None => tcx::attach(&maps.root, ifindex, mac, direction, fd)?.is_none(),
    };
    // eni-steer's program may still be attached the other way, by an earlier run with another
    // kernel or another configuration. It is removed only after the new one is attached, so that no
    // packet passes in between.
    let qdisc_added = if by_tcx {
        clsact::remove(netlink, ifindex, direction)?;
        false
    } else {
        let added = clsact::attach(netlink, ifindex, direction, fd)?;
        tcx::remove_links(&maps.root, |link| link.is_on(ifindex, direction))?;
        added
    };
    maps.set_program(ifindex, direction, BUILD, log_level)?;
    Ok(Attached {
        attachment: Attachment {
            kind: if by_tcx {
                AttachKind::Tcx
            } else {
                AttachKind::Clsact
            },
            build: BUILD,
            log_level: log_level.into(),
        },
        qdisc_added,
    })
}

/// Detaches eni-steer's program from a hook, whichever way it is attached. `remove_qdisc` says that
/// eni-steer added the clsact qdisc: the qdisc is then removed too, unless it has other filters.
///
/// # Errors
/// The link or the filter cannot be removed.
pub fn detach(
    root: &PinRoot,
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
    remove_qdisc: bool,
) -> Result<(), BpfError> {
    tcx::remove_links(root, |link| link.is_on(ifindex, direction))?;
    clsact::remove(netlink, ifindex, direction)?;
    if remove_qdisc {
        clsact::remove_empty_qdisc(netlink, ifindex)?;
    }
    Ok(())
}
